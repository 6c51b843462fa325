"""Which workers of a cluster a run can use. Pure: what is found out about them is told to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MARGIN = 1
"""Downloads a worker beyond those that it is at: so that it need not wait for the next."""


@dataclass(kw_only=True, slots=True)
class Member:
    """One worker."""

    threads: int
    problem: str | None = None
    """Why it cannot be used."""
    checked_at: float | None = None
    """None where it is not known yet whether it can be used."""
    silent: bool = False
    """Whether the problem is that it did not answer: it may be about to end, or to begin."""

    @property
    def fit(self) -> bool:
        return self.checked_at is not None and self.problem is None


class Crew:
    """The workers by their addresses."""

    def __init__(self, at_once: int, *, again_after: float, soon: float) -> None:
        """`at_once`: downloads of one worker. What is wrong with one may pass: it is asked again after some seconds.

        One that did not answer is asked again `soon`.
        """
        self._at_once = at_once
        self._again_after = again_after
        self._soon = soon
        self._members: dict[str, Member] = {}

    def __len__(self) -> int:
        return len(self._members)

    def see(self, threads: Mapping[str, int], now: float) -> list[str]:
        """Who is there now; those of them who are to be checked."""
        self._members = {
            address: self._members.get(address) or Member(threads=count) for address, count in threads.items()
        }
        return [address for address, member in self._members.items() if self._is_due(member, now)]

    def _is_due(self, member: Member, now: float) -> bool:
        if member.checked_at is None:
            return True
        pause = self._soon if member.silent else self._again_after
        return member.problem is not None and now >= member.checked_at + pause

    def found(self, address: str, problem: str | None, now: float, *, silent: bool = False) -> bool:
        """What a check, or an errand, brought to light; whether that is news."""
        member = self._members.get(address)
        if member is None:
            return False
        news = member.problem != problem
        member.problem, member.checked_at, member.silent = problem, now, silent
        return news

    def doubt(self, address: str | None = None) -> None:
        """Something went wrong on one of them, or on that one: it is checked anew."""
        for known, member in self._members.items():
            if address in (None, known):
                member.checked_at = None

    @property
    def fit(self) -> list[str]:
        return [address for address, member in self._members.items() if member.fit]

    @property
    def in_doubt(self) -> bool:
        """Whether there is somebody of whom it is not known whether they can be used."""
        return any(member.checked_at is None for member in self._members.values())

    def among(self) -> list[str] | None:
        """Who may be given an errand: None where all may, or where nobody is there yet."""
        fit = self.fit
        return None if not fit or len(fit) == len(self._members) else fit

    @property
    def hopeless(self) -> bool:
        """Whether all of them said why they cannot be used."""
        members = self._members.values()
        return bool(members) and all(m.checked_at is not None and m.problem and not m.silent for m in members)

    def problems(self) -> Sequence[str]:
        return [f"{address}: {member.problem}" for address, member in self._members.items() if member.problem]

    @property
    def room(self) -> int:
        """Downloads that the workers take at once, and a few more.

        Where nobody is there, so many as one would take: some clusters start workers only for work that waits.
        """
        if not self._members:
            return self._at_once
        return sum(min(m.threads, self._at_once) + MARGIN for m in self._members.values() if m.fit)
