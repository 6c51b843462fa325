"""How long pairs will take, and how many of them a night holds. Pure.

The least a pair costs is a submit and a poll. What is slower, the rate of requests or the slots at the provider, says
how long the whole takes; the last generations come on top. The time that downloads take is not known before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import NormalDist

REQUESTS_PER_PAIR = 2.1
"""A little more than the least: some generations are asked once too often."""
MOST = NormalDist().inv_cdf(0.9)
"""By so many sigmas most generations have ended."""


class Origin(StrEnum):
    """Where a figure comes from."""

    GIVEN = "given"  #: a flag, the environment or the manifest's settings
    LEARNED = "learned"  #: by this account's earlier runs on this machine
    BATCH = "batch"  #: this batch's own generations
    DEFAULT = "default"  #: nobody has said anything: the program's own guess
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """What is known of how fast an account works."""

    typical_seconds: float
    """The median of generation times."""
    spread: float
    """The standard deviation of their logarithm."""
    times_from: Origin
    slots: int
    """Generations at once."""
    slots_from: Origin
    per_second: float | None
    """Requests; None where that is not known yet."""
    rate_from: Origin

    @property
    def mean_seconds(self) -> float:
        return self.typical_seconds * math.exp(self.spread**2 / 2.0)

    @property
    def most_seconds(self) -> float:
        """Most generations have ended by then."""
        return self.typical_seconds * math.exp(MOST * self.spread)

    def seconds(self, pairs: int, *, resuming: int = 0) -> float:
        """How long it takes to have so many pairs made, and so many more polled that are at the provider already."""
        if not pairs + resuming:
            return 0.0
        return max(self._requests(pairs, resuming), self._rounds(pairs)) + self.most_seconds

    def _requests(self, pairs: int, resuming: int) -> float:
        return (REQUESTS_PER_PAIR * pairs + resuming) / self.per_second if self.per_second else 0.0

    def _rounds(self, pairs: int) -> float:
        return self.mean_seconds * max(0, pairs - self.slots) / self.slots

    def is_short_of_requests(self, pairs: int) -> bool:
        """Whether it is the rate that makes it last, and not the slots."""
        return self._requests(pairs, 0) > self._rounds(pairs)

    def fits(self, seconds: float) -> int:
        """How many pairs are made in so long."""
        left = seconds - self.most_seconds
        if left < 0.0:
            return 0
        by_slots = self.slots + left * self.slots / self.mean_seconds
        by_requests = left * self.per_second / REQUESTS_PER_PAIR if self.per_second else math.inf
        return math.floor(min(by_slots, by_requests))


@dataclass(frozen=True, kw_only=True, slots=True)
class Night:
    """What a deadline leaves room for."""

    deadline: datetime
    pairs: int
    """How many are made until then."""
    nights: int | None
    """How many of them it takes in all, if each begins at this hour; None where none holds even one pair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """How long a run will take."""

    seconds: float
    short_of_requests: bool
    speed: Speed
    night: Night | None = None
    """None where no deadline is set."""


def estimate(pairs: int, speed: Speed, *, resuming: int, now: datetime, deadline: datetime | None) -> Estimate:
    """How long so many pairs take, and how many nights with the same end."""
    return Estimate(
        seconds=speed.seconds(pairs, resuming=resuming),
        short_of_requests=speed.is_short_of_requests(pairs),
        speed=speed,
        night=None if deadline is None else _night(pairs, speed, now=now, deadline=deadline),
    )


def _night(pairs: int, speed: Speed, *, now: datetime, deadline: datetime) -> Night:
    held = speed.fits((deadline - now).total_seconds())
    if not pairs:
        nights: int | None = 0
    else:
        nights = math.ceil(pairs / held) if held else None
    return Night(deadline=deadline, pairs=min(pairs, held), nights=nights)


def nights_left(pairs: int, *, made: int) -> int | None:
    """How many more runs like one that made so many it takes for those that are left; None where it made none."""
    return math.ceil(pairs / made) if made else None
