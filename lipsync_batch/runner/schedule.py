"""When to ask after a generation, so that it is soon known to be finished and few requests are spent on that. Pure.

Each request has a price, in waiting: it pays if it makes the wait from *finished there* to *noticed here* so much
shorter on average. With the times known as a distribution, the ages to ask at that cost least, requests and waiting
together, follow from the last one backwards (dynamic programming). It is the problem of when to inspect what may have
failed: Barlow, Hunter and Proschan, "Optimum Checking Procedures", 1963.

Everything here is in medians: an age of 1 is the time in which half of the generations end.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

POINTS = 300
"""Ages that are looked at; twice as many change the costs by less than a hundredth."""
EARLIEST_SIGMAS, LATEST_SIGMAS = 4.0, 6.0
LATEST = 8.0
"""The ages that are looked at go at least so far."""
STRAGGLERS = 0.01
"""So many generations take their time by no rule: the log-normal says that nothing is ever very late."""
STRETCH = 1.25
"""Beyond the last age that is looked at, the next request comes at so many times the present age."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Schedule:
    """Ages, ascending from 0, and for each of them the age to ask at next. `floor` is that between two requests."""

    ages: tuple[float, ...]
    asks: tuple[float, ...]
    floor: float

    def after(self, age: float) -> float:
        """The age to ask at next for a generation that was still running at `age`."""
        ask_at = age * STRETCH if age >= self.ages[-1] else self.asks[bisect_right(self.ages, age) - 1]
        return max(ask_at, age + self.floor) if age > 0.0 else ask_at

    def __iter__(self) -> Iterator[float]:
        """The ages at which a generation is asked that never ends."""
        age = 0.0
        while True:
            age = self.after(age)
            yield age


@lru_cache(maxsize=64)
def best_schedule(spread: float, *, floor: float, price: float) -> Schedule:
    """The schedule that costs least, for log-normal times with this standard deviation of their logarithm.

    `price` is the waiting that one request is worth, `floor` the shortest time between two requests; both in medians.
    """
    times = _Times(spread)
    ages = times.ages()
    ended = [times.ended_by(age) for age in ages]
    worth = [times.ended_seconds_by(age) for age in ages]
    last = len(ages) - 1
    costs = [0.0] * (last + 1)
    asks = [ages[-1] * STRETCH] * (last + 1)
    costs[last] = (1.0 - ended[last]) * (3.0 * price + (STRETCH - 1.0) / 2.0 * ages[last])
    for now in range(last - 1, -1, -1):
        request = (1.0 - ended[now]) * price
        best, at = math.inf, last
        earliest = bisect_left(ages, ages[now] + floor) if now else 0  # a first request has none before it
        for then in range(min(last, max(now + 1, earliest)), last + 1):
            waited = ages[then] * (ended[then] - ended[now]) - (worth[then] - worth[now])
            cost = request + waited + costs[then]
            if cost < best:
                best, at = cost, then
            elif waited > best:  # it only grows from here on
                break
        costs[now], asks[now] = best, ages[at]
    return Schedule(tuple(ages), tuple(asks), floor)


@dataclass(frozen=True, slots=True)
class _Times:
    """Log-normal times with a median of 1, and a few stragglers of which half are left at 2 medians, a third at 3."""

    spread: float

    def ages(self) -> list[float]:
        """0, then ages evenly spaced on a logarithmic scale."""
        low, high = -EARLIEST_SIGMAS * self.spread, max(LATEST_SIGMAS * self.spread, math.log(LATEST))
        return [0.0, *(math.exp(low + (high - low) * n / (POINTS - 1)) for n in range(POINTS))]

    def ended_by(self, age: float) -> float:
        """The share that has ended."""
        if age <= 0.0:
            return 0.0
        straggling = 1.0 - 1.0 / age if age > 1.0 else 0.0
        return (1.0 - STRAGGLERS) * _NORMAL.cdf(math.log(age) / self.spread) + STRAGGLERS * straggling

    def ended_seconds_by(self, age: float) -> float:
        """The sum of the times of those that have ended, over all."""
        if age <= 0.0:
            return 0.0
        straggling = math.log(age) if age > 1.0 else 0.0
        ordinary = math.exp(self.spread**2 / 2.0) * _NORMAL.cdf(math.log(age) / self.spread - self.spread)
        return (1.0 - STRAGGLERS) * ordinary + STRAGGLERS * straggling
