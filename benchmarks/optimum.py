"""The best schedule of polls for generation times that are known beforehand: what no learner can beat.

Times are log-normal with median 1. Asking at t1 < t2 < ... until the generation has ended costs `price` for each
question and the time from the end to the question that finds it. Let W(a) be what is still to be paid on average by
those that run on at age a, weighted by how many those are. Then

    W(a) = min over b >= a + floor of  price * S(a) + integral from a to b of (b - t) f(t) dt + W(b)

and, with F the distribution, M(b) the integral of t f(t) up to b, and S = 1 - F,

    W(a) = price * S(a) + M(a) + min over b of  -b * F(a) + [b F(b) - M(b) + W(b)]

For each b that is a line in F(a), so the minimum is the lower envelope of lines that come in order of their slope: the
whole of it takes a few steps for each point of the grid, from the far end backwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

STEP = 0.002
"""Of the grid, in medians."""
DEVIATIONS = 5.5
"""How far out the grid goes: what is beyond, one generation in fifty million, is asked for at its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """When to ask, in medians of the generation time, and what that costs on average."""

    asks: tuple[float, ...]
    lag: float
    """Medians from the end to the question that finds it."""
    polls: float
    """Questions for each generation."""


class LogNormal:
    """Times with median 1."""

    def __init__(self, spread: float) -> None:
        self._normal = NormalDist(0.0, spread)
        self._shifted = NormalDist(spread**2, spread)
        self.mean = math.exp(spread**2 / 2)
        self.spread = spread

    def before(self, t: float) -> float:
        """F: the share that has ended at t."""
        return self._normal.cdf(math.log(t)) if t > 0 else 0.0

    def partial(self, t: float) -> float:
        """M: the integral of t f(t) up to t."""
        return self.mean * self._shifted.cdf(math.log(t)) if t > 0 else 0.0


def cost(asks: Sequence[float], times: LogNormal) -> Schedule:
    """What a schedule costs. It must go on until hardly anything still runs."""
    lag = polls = last = 0.0
    for ask in asks:
        ended, part = times.before(ask) - times.before(last), times.partial(ask) - times.partial(last)
        lag += ask * ended - part
        polls += 1.0 - times.before(last)
        last = ask
    return Schedule(asks=tuple(asks), lag=lag, polls=polls)


def fixed(interval: float, times: LogNormal) -> Schedule:
    """Asking again and again after the same time."""
    end = math.exp(DEVIATIONS * times.spread)
    return cost([interval * n for n in range(1, math.ceil(end / interval) + 1)], times)


def best(price: float, times: LogNormal, *, floor: float, step: float = STEP) -> Schedule:
    """The schedule with the least lag + price * polls of all whose questions are at least `floor` apart."""
    grid = [step * n for n in range(math.ceil(math.exp(DEVIATIONS * times.spread) / step) + 1)]
    ended, partial = [times.before(t) for t in grid], [times.partial(t) for t in grid]
    apart = max(1, math.ceil(floor / step - 1e-9))
    last = len(grid) - 1
    owed = [0.0] * len(grid)
    follows = [last] * len(grid)
    envelope = _Envelope()
    for a in range(last - 1, -1, -1):
        if (b := a + apart) <= last:
            envelope.add(-grid[b], grid[b] * ended[b] - partial[b] + owed[b], b)
        if (lowest := envelope.lowest(ended[a])) is not None:
            value, follows[a] = lowest
            owed[a] = price * (1.0 - ended[a]) + partial[a] + value
    asks, at = [], 0
    while at < last:
        at = follows[at]
        asks.append(grid[at])
    return cost(asks, times)


class _Envelope:
    """The least of many lines. They are added with growing slopes, and asked for at falling places."""

    def __init__(self) -> None:
        self._lines: list[tuple[float, float, int]] = []
        self._front = 0

    def add(self, slope: float, intercept: float, tag: int) -> None:
        lines = self._lines
        while len(lines) - self._front >= 2 and _is_hidden(lines[-2], lines[-1], (slope, intercept)):
            lines.pop()
        lines.append((slope, intercept, tag))

    def lowest(self, x: float) -> tuple[float, int] | None:
        """The least value at x, and the tag of its line."""
        lines = self._lines
        if not lines:
            return None
        while self._front + 1 < len(lines) and _at(lines[self._front + 1], x) <= _at(lines[self._front], x):
            self._front += 1
        return _at(lines[self._front], x), lines[self._front][2]


def _at(line: tuple[float, float, int], x: float) -> float:
    return line[0] * x + line[1]


def _is_hidden(left: tuple[float, float, int], middle: tuple[float, float, int], right: tuple[float, float]) -> bool:
    """Whether the middle line is nowhere the least: its neighbours meet below it."""
    (m1, c1, _), (m2, c2, _), (m3, c3) = left, middle, right
    return (c3 - c1) * (m2 - m1) <= (c2 - c1) * (m3 - m1)


def curve(times: LogNormal, *, floor: float) -> Iterator[Schedule]:
    """The best schedules from few polls to many."""
    for n in range(50):
        yield best(0.4 * 0.9**n, times, floor=floor)


def least_lag(polls: float, schedules: Sequence[Schedule]) -> float:
    """The curve's lag at so many polls, between two of its schedules on a straight line; outside of it, its end."""
    for fewer, more in pairwise(schedules):
        if fewer.polls <= polls <= more.polls and more.polls > fewer.polls:
            return fewer.lag + (more.lag - fewer.lag) * (polls - fewer.polls) / (more.polls - fewer.polls)
    return schedules[0].lag if polls < schedules[0].polls else schedules[-1].lag
