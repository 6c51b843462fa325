"""When the next API request may leave: the given rate, or one that is found out, and one gate for refusals.

The provider counts requests when they arrive, in a sliding window. We know only that a request arrived between the
moment it left and the moment it was answered. So a request takes its place in the window from the first, and gives it
back a whole window after the second: whatever the network does, the provider never counts more than the limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from lipsync_batch.clock import Clock
from lipsync_batch.settings import Rate

NOTHING = 1e-6
"""Seconds that are no wait: what is left by rounding would be waited for again and again."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


class Limit(Protocol):
    """How many requests may be counted in a window of how many seconds."""

    @property
    def count(self) -> int: ...

    @property
    def seconds(self) -> float: ...

    def refused(self, now: float) -> None:
        """The provider said that it was too many."""

    def answered(self, now: float) -> None:
        """The provider took one."""


@dataclass(frozen=True, slots=True)
class GivenLimit:
    """`--rate`: obeyed as it stands."""

    count: int
    seconds: float

    def refused(self, now: float) -> None: ...

    def answered(self, now: float) -> None: ...


class LearnedLimit:
    """No rate was given: doubled each second until the first refusal, then added to and cut in half.

    Refusals that come within a second of a cut are echoes of the same excess, and cut no further.
    """

    lowest = 0.1
    highest = 1_000.0

    def __init__(self, per_second: float = 4.0) -> None:
        self.per_second = per_second
        self._doubling = True
        self._raised_at = float("-inf")
        self._cut_at = float("-inf")

    @property
    def count(self) -> int:
        return max(1, int(self.per_second))

    @property
    def seconds(self) -> float:
        return max(1.0, 1.0 / self.per_second)

    def refused(self, now: float) -> None:
        if now - self._cut_at >= 1.0:
            self.per_second = max(self.lowest, self.per_second / 2)
            self._cut_at = now
        self._doubling = False

    def answered(self, now: float) -> None:
        if now - max(self._raised_at, self._cut_at) < 1.0:
            return
        self._raised_at = now
        step = self.per_second if self._doubling else max(0.1, self.per_second * 0.05)
        self.per_second = min(self.highest, self.per_second + step)


class Gate:
    """Closed for a while after a refusal, longer each time that it happens again at once."""

    def __init__(self) -> None:
        self.opens_at = float("-inf")
        self._pause = 0.0

    def refuse(self, now: float, retry_after: float | None) -> float:
        """Close; for how many seconds from now. Refusals while closed are answers to requests that had left already."""
        if now >= self.opens_at:
            self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        pause = self._pause if retry_after is None else max(retry_after, FIRST_PAUSE)
        self.opens_at = max(self.opens_at, now + pause)
        return self.opens_at - now

    def accept(self) -> None:
        """A request was taken: the next refusal starts with a short pause again."""
        self._pause = 0.0


class Permit:
    """The right to send one request. Exactly one of `answered` and `unused` must follow."""

    __slots__ = ("_throttle",)

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle

    def answered(self) -> None:
        """The request was sent, and answered or given up."""
        self._throttle.release(sent=True)

    def unused(self) -> None:
        """It was not sent after all."""
        self._throttle.release(sent=False)


class Throttle:
    """The request budget of one run."""

    def __init__(self, limit: Limit, clock: Clock) -> None:
        self.limit = limit
        self.gate = Gate()
        self.refusals = 0
        self._clock = clock
        self._out = 0
        self._answered: deque[float] = deque()
        """When requests were answered that still count."""
        self._changed = asyncio.Event()

    @classmethod
    def of(cls, rate: Rate | None, clock: Clock) -> Throttle:
        """For a rate that was given, or one that is found out."""
        return cls(LearnedLimit() if rate is None else GivenLimit(rate.count, rate.seconds), clock)

    async def acquire(self) -> Permit:
        """Wait until a request may leave."""
        while (wait := self.wait_seconds()) > NOTHING:
            self._changed.clear()
            await self._clock.wait(self._changed, wait if wait < float("inf") else None)
        self._out += 1
        return Permit(self)

    def count_earlier(self, requests: int) -> None:
        """Requests that this process sent before the run, which the provider counts like any other."""
        self._answered.extend([self._clock.now()] * requests)

    def wait_seconds(self) -> float:
        """How long a request must wait, as far as is known now; infinite while only an answer can make room."""
        now = self._clock.now()
        while self._answered and self._answered[0] + self.limit.seconds <= now:
            self._answered.popleft()
        for_gate = self.gate.opens_at - now
        over = len(self._answered) + self._out + 1 - self.limit.count
        if over <= 0:
            return max(0.0, for_gate)
        if over > len(self._answered):
            return float("inf")
        return max(for_gate, self._answered[over - 1] + self.limit.seconds - now)

    def release(self, *, sent: bool) -> None:
        """A request came back."""
        self._out -= 1
        if sent:
            self._answered.append(self._clock.now())
        self._changed.set()

    def refused(self, retry_after: float | None) -> float:
        """429: every lane waits; for how many seconds."""
        now = self._clock.now()
        self.refusals += 1
        self.limit.refused(now)
        return self.gate.refuse(now, retry_after)

    def accepted(self) -> None:
        """A request was taken."""
        self.limit.answered(self._clock.now())
        self.gate.accept()
