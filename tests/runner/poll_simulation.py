"""Generations that are polled by a forecast, in a world of nothing else: no network, no limit but the slots."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from lipsync_batch.runner.forecast import SCOUTS, Forecast


@dataclass
class Polled:
    """A generation, and what asking after it cost."""

    number: int
    started: float
    seconds: float
    asked_at_age: float = 0.0
    polls: int = 0
    lag: float = 0.0


def log_normal(median: float = 34.0, spread: float = 0.3) -> Callable[[int, Random], float]:
    """Times of the n-th generation to be started."""
    return lambda _, random: median * math.exp(spread * random.gauss(0.0, 1.0))


def simulate(
    forecast: Forecast,
    times: Callable[[int, Random], float],
    *,
    count: int = 600,
    slots: int = 60,
    seed: int = 1,
    short_of_slots: bool = False,
) -> list[Polled]:
    """Keep all slots busy until so many have ended; in the order of their ends."""
    random = Random(seed)
    due: list[tuple[float, int, Polled]] = []
    ended: list[Polled] = []
    started = pushed = 0

    def push(at: float, polled: Polled) -> None:
        nonlocal pushed
        pushed += 1
        heapq.heappush(due, (at, pushed, polled))

    def ask_at(polled: Polled) -> float:
        scout = polled.number < SCOUTS
        return polled.started + forecast.next_ask(
            polled.asked_at_age, scout=scout, slots=slots if short_of_slots else None
        )

    def start(now: float) -> None:
        nonlocal started
        polled = Polled(started, now, times(started, random))
        started += 1
        push(ask_at(polled), polled)

    for _ in range(slots):
        start(0.0)
    while len(ended) < count:
        now, _, polled = heapq.heappop(due)
        age = now - polled.started
        polled.polls += 1
        if age < polled.seconds:
            polled.asked_at_age = age
            push(ask_at(polled), polled)
            continue
        forecast.learn(polled.asked_at_age, age, running=(other.asked_at_age for _, _, other in due))
        polled.lag = age - polled.seconds
        ended.append(polled)
        start(now)
        if forecast.moved():
            waiting = [entry[2] for entry in due]
            due.clear()
            for other in waiting:
                push(max(now, ask_at(other)), other)
    return ended


def costs(polled: list[Polled], median: float) -> tuple[float, float]:
    """(polls a generation, mean lag in medians)"""
    return sum(p.polls for p in polled) / len(polled), sum(p.lag for p in polled) / len(polled) / median


def optimum(spread: float, price: float, *, step: float = 0.01, latest: float = 4.0) -> tuple[float, float]:
    """The least possible (polls, lag in medians) for log-normal times that are known, where a poll has this price.

    Backwards over a fine grid of ages, independent of the program's own way to it.
    """
    ages = [step * n for n in range(int(latest / step) + 1)]
    below = [0.0, *(0.5 * math.erfc(-math.log(age) / spread / math.sqrt(2.0)) for age in ages[1:])]
    lags = [0.0]  # Σ of (age - time) over the times below it, by the trapezoid rule
    for n in range(1, len(ages)):
        lags.append(lags[-1] + step * (below[n] + below[n - 1]) / 2.0)
    polls, lag = [0.0] * len(ages), [0.0] * len(ages)
    for now in range(len(ages) - 2, -1, -1):
        best = math.inf
        for then in range(now + 1, len(ages)):
            waited = lags[then] - lags[now] - below[now] * (ages[then] - ages[now])
            cost = (1.0 - below[now] + polls[then]) * price + waited + lag[then]
            if cost < best:
                best, polls_now, lag_now = cost, 1.0 - below[now] + polls[then], waited + lag[then]
        polls[now], lag[now] = polls_now, lag_now
    return polls[0], lag[0]
