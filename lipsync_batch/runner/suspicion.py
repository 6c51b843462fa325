"""What a 429 on a submit meant that names no reason: one request too many, or no slot free at the provider. Pure.

The next requests tell. Where polls are taken meanwhile, none is refused, and the next two submits again are, it is no
matter of requests. One such submit alone says nothing: a rate that is met exactly refuses now these and now those.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """How many polls were answered by some moment, and how many requests refused."""

    answers: int
    refusals: int

    def polls_were_taken(self, since: Seen) -> bool:
        """And nothing but submits was refused."""
        return self.answers > since.answers and self.refusals == since.refusals


class Suspicion:
    """Open from a refusal without a reason on, until it is settled what it was."""

    def __init__(self) -> None:
        self._since: Seen | None = None
        self._again = False
        """A second submit was refused likewise."""

    @property
    def is_open(self) -> bool:
        return self._since is not None

    def waits_for_a_poll(self, now: Seen) -> bool:
        """Whether only the answer to a poll can say more."""
        return self._since is not None and self._since.answers == now.answers

    def is_likely_of_slots(self, now: Seen) -> bool:
        """Whether a submit that is refused now is refused for want of a slot, as far as the polls tell."""
        return self._since is not None and now.polls_were_taken(self._since)

    def is_of_slots(self, now: Seen) -> bool:
        """Whether that is so for the second time."""
        return self._again and self.is_likely_of_slots(now)

    def grow(self, now: Seen, *, likely: bool) -> None:
        """A submit was refused without a reason; `likely` of slots, as was known before anything was done about it."""
        self._since, self._again = now, likely

    def settle(self) -> None:
        """It is known what it was."""
        self._since, self._again = None, False
