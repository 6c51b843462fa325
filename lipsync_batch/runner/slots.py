"""How many generations may be alive at the provider: our own limit, and what its refusals have shown of its own. Pure.

The provider names no number. A refused submit shows that what is alive now is too many; then no more are tried than
that, but for one now and then, with pauses that grow while it is refused: others may use the account as well.
"""

from __future__ import annotations

from typing import Any

LEARNED = "slots"
"""The name under which an account's runs remember what was shown; for plans, since each run finds out anew."""
FIRST_PAUSE = 1.0
SHORTEST_PAUSE = 0.2
FEW, UNNOTICED = 2, 0.1
"""So many, or this share, of those that count as alive may have ended without our knowing."""
LONGEST_PAUSE = 60.0


class Slots:
    """The slots of one run. `alive` counts the generations that hold one, and those that may."""

    def __init__(self, most: int) -> None:
        """`most`: `--max-in-flight`."""
        self._most = most
        self.shown: int | None = None
        """So many the provider has room for, as it has shown; None before its first refusal."""
        self.used = 0
        """So many were alive at once."""
        self._pause = FIRST_PAUSE
        self._tries_at = float("-inf")

    @property
    def count(self) -> int:
        """How many there are, as far as is known."""
        return self._most if self.shown is None else min(self._most, max(1, self.shown))

    def room(self, alive: int, now: float) -> bool:
        """Whether another generation may be tried."""
        if alive >= self._most:
            return False
        return self.shown is None or alive < self.shown or now >= self._tries_at

    def wait(self, alive: int, now: float) -> float | None:
        """Seconds until one more may be tried than there is known to be room for; None where time changes nothing."""
        if alive >= self._most or self.room(alive, now):
            return None
        return self._tries_at - now

    def is_beyond(self, alive: int) -> bool:
        """Whether a submit with so many alive is one more than there is known to be room for."""
        return self.shown is not None and alive >= self.shown

    def take(self, alive: int, now: float) -> None:
        """A submit leaves. One that is more than there is known to be room for goes alone; its answer says the rest."""
        if self.is_beyond(alive):
            self._tries_at = now + LONGEST_PAUSE

    def refused(self, alive: int, now: float, *, typical_seconds: float, retry_after: float | None = None) -> float:
        """No slot was free beside so many; seconds until one more is tried, unless one of ours ends before.

        `typical_seconds` is how long a generation takes: about that often the number of slots may be another one.
        """
        first = max(FIRST_PAUSE, typical_seconds / 10.0)
        self._pause = min(LONGEST_PAUSE, max(first, 2.0 * self._pause if self.is_beyond(alive) else 0.0))
        self.shown = alive if self.shown is None else min(self.shown, alive)
        self._tries_at = now + max(self._pause, retry_after or 0.0)
        return self._tries_at - now

    def accepted(self, alive: int, now: float) -> None:
        """There was room for one more beside so many.

        Where that is news, some that count as alive have ended, and nobody knows yet; only where they would be too
        many are there more slots than was thought.
        """
        self.used = max(self.used, alive + 1)
        if self.shown is None or not self.is_beyond(alive):
            return
        if alive - self.shown >= max(FEW, UNNOTICED * self.shown):
            self.shown += 1
        self._pause = max(SHORTEST_PAUSE, self._pause / 2.0)
        self._tries_at = now + self._pause

    def learned(self, known: int | None) -> int | None:
        """How many the provider has room for, as far as this run and, in `known`, earlier ones have found out."""
        if self.shown is not None:
            return self.shown
        return None if known is None else max(known, self.used)


def read(known: dict[str, Any] | None) -> int | None:
    """From what was remembered; None where that says nothing that can be."""
    count = (known or {}).get("count")
    return count if isinstance(count, int) and count > 0 else None
