"""How long generations take, learned as they end: says when asking again is worth a request. Pure.

The times are taken as log-normal. What is learned of one is only that it ended between two polls: that interval counts,
not the age at which its end was noticed, or everything would seem as slow as it was asked after. A prior guess counts
as a few observations. Old ones fade, and are dropped at once when the newest say that the provider is another one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from statistics import NormalDist
from typing import Any, NamedTuple, Self

from lipsync_batch.runner.schedule import best_schedule

LEARNED = "generation times"
"""The name under which an account's runs remember them."""
PRIOR_WEIGHT = 2.0
PRIOR_SPREAD = 0.6
"""Of a guess: how far off it may well be."""
USUAL_SPREAD = 0.3
SPREAD_WEIGHT = 3.0
"""So many observations of the usual spread stand beside the real ones: a few that are alike prove little."""
MEMORY = 200.0
"""About so many of the newest observations decide."""
YOUNG = 100
"""So many are first looked at all together, with those that are still running."""
ROUNDS = 4
MOST_RUNNING = 200
REMEMBERED = 20.0
"""What earlier runs learned counts as so many observations at the most: days may lie between."""
POLL_PRICE = 0.039
"""One request is worth so much waiting, in medians: 3 polls a generation, which is noticed within a tenth of that."""
MANY_SLOTS = 60.0
"""While pairs wait for slots, one that is free and not known to be is lost time. So many are watched no closer than
that: with fewer of them, as many requests a second let each be asked after more often."""
LEAST_PRICE = 0.004
SURPRISE = 8.0
"""CUSUM of the observations' deviations, in sigmas: from here on they are no chance (about once in 10,000)."""
ALLOWANCE = 0.5
MOST_SIGMAS = 3.5
"""A single generation that took ten times as long says little about the others."""
SAYS_NOTHING = 0.9
"""An interval in which so large a share ends anyway; requests were short, and it was asked late."""
MOST = 0.9
"""The share of generations that are most of them."""
NOTICED_LATE = 0.9
"""A generation of which only the notice is known had ended at no less than this share of its age, most likely."""
LONGEST_WAIT = 900.0
SCOUTS = 3
ALWAYS = 7
"""First requests in a row that found the end: from here on the times may be any shorter than is thought."""
IN_TIME = 1.5
"""A request that came later than this many times the age it was due at says nothing of that kind."""
OVERDUE_SECONDS = 3_600.0
OVERDUE_MEDIANS = 20.0
MOVED = 0.1
"""A change of the median by so much makes it worth to schedule anew what is waiting."""
_STEP = 0.02
"""Schedules are made for spreads and floors in steps of so much, in their logarithm."""
_SHORTEST = 0.001
_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """What is known of generation times: mean and variance of the logarithm of seconds, and how many say so."""

    mean: float
    variance: float
    weight: float

    @classmethod
    def read(cls, known: dict[str, Any] | None) -> Self | None:
        """From what was remembered; None where that says nothing that can be."""
        try:
            times = cls(**{name: float(value) for name, value in (known or {}).items()})
        except (TypeError, ValueError):
            return None
        return times if abs(times.mean) < 20.0 and 0.0 <= times.variance < 10.0 and times.weight > 0.0 else None


class Forecast:
    """The distribution of generation times of this account, in seconds."""

    def __init__(
        self, typical_seconds: float, *, floor: float = 1.0, given: bool = False, known: Times | None = None
    ) -> None:
        """`given` says that a person named the typical time; `known` is what earlier runs learned."""
        self.floor = floor
        self.observed = 0
        self.trusted = given or known is not None
        """Whether there is more to go by than a guess."""
        log = math.log(max(typical_seconds, _SHORTEST))
        self._prior = known or Times(mean=log, variance=USUAL_SPREAD**2, weight=PRIOR_WEIGHT)
        self._mean = self._prior.mean
        self._weight = min(self._prior.weight, REMEMBERED)
        self._squares = self._weight * self._prior.variance
        self._doubt = 0.0 if known else PRIOR_SPREAD**2 - USUAL_SPREAD**2
        """Variance besides that of the times: the guess may be a wrong one."""
        self._young: list[tuple[float, float]] | None = []
        """The first observations, as they were learned; None once there are enough of them."""
        self._slower = self._faster = 0.0
        self._found_at_once = 0
        """Generations in a row that had ended when they were asked for the first time, as soon as that was due."""
        self._found_by = math.inf
        """The smallest age of those."""
        self._scheduled_for = self._mean

    @property
    def times(self) -> Times:
        """What is known by now; to be remembered once something was observed."""
        return Times(mean=self._mean, variance=self.spread**2, weight=min(self._weight, REMEMBERED))

    @property
    def median(self) -> float:
        return math.exp(self._mean)

    @property
    def spread(self) -> float:
        """The standard deviation of the logarithm; never so small that a late one is never asked."""
        squares = self._squares + SPREAD_WEIGHT * USUAL_SPREAD**2
        return max(0.05, math.sqrt(squares / (self._weight + SPREAD_WEIGHT) + self._doubt))

    def by(self, share: float) -> float:
        """The age by which this share of generations has ended."""
        return math.exp(self._mean + self.spread * _NORMAL.inv_cdf(share))

    @property
    def most(self) -> float:
        """The age by which most generations have ended."""
        return self.by(MOST)

    @property
    def likely(self) -> float:
        """The age by which a generation has probably ended; while there is nothing but a guess, the guess."""
        return self.most if self.observed or self.trusted else self.median

    def learn(self, after: float, by: float, *, running: Iterable[float] = ()) -> None:
        """A generation ended between the ages at which it was asked last (0: never), and found to have ended.

        `running` are the ages at which those in flight were last known to be running. The first ones that end are the
        quickest; what is known of the others says how much so.
        """
        self._note_first_request(after, by)
        low, high = _sigmas(after, self._mean, self.spread), _sigmas(by, self._mean, self.spread)
        if _NORMAL.cdf(high) - _NORMAL.cdf(low) > SAYS_NOTHING:
            return
        self.observed += 1
        moments = _expected(low, high)
        if self._young is not None:
            self._young.append((after, by))
            self._fit(list(islice(running, MOST_RUNNING)))
        else:
            self._add(moments)
            self._watch(moments.mean)

    def _note_first_request(self, after: float, by: float) -> None:
        if after > 0.0:
            self._found_at_once, self._found_by = 0, math.inf
        elif by <= IN_TIME * self.next_ask(0.0):
            self._found_at_once += 1
            self._found_by = min(self._found_by, by)

    def _fit(self, running: list[float]) -> None:
        """Mean and spread from all observations at once: expectation and maximization in turn, from where they are."""
        assert self._young is not None
        self._doubt /= 2.0
        prior = self._prior
        weight = min(prior.weight, REMEMBERED) * (1.0 if prior.weight > PRIOR_WEIGHT else 0.5 ** len(self._young))
        intervals = [*self._young, *((age, math.inf) for age in running if age > 0.0)]
        for _ in range(ROUNDS):
            mean, spread = self._mean, self.spread
            moments = [_expected(_sigmas(low, mean, spread), _sigmas(high, mean, spread)) for low, high in intervals]
            shift = sum(moment.mean for moment in moments) * spread
            self._weight = weight + len(intervals)
            self._mean = (weight * prior.mean + len(intervals) * mean + shift) / self._weight
            moved = (self._mean - mean) / spread
            squares = sum(moment.square - 2.0 * moment.mean * moved + moved**2 for moment in moments)
            self._squares = squares * spread**2 + weight * prior.variance
        self._weight = weight + len(self._young)
        self._squares *= self._weight / (weight + len(intervals))
        if len(self._young) >= YOUNG:
            self._young = None

    def _add(self, moments: _Moments) -> None:
        """One observation more, while the old ones fade."""
        spread, fade = self.spread, 1.0 - 1.0 / min(MEMORY, self._weight + 1.0)
        shift = spread * moments.mean
        self._weight = self._weight * fade + 1.0
        self._mean += shift / self._weight
        left_over = shift * (shift - shift / self._weight)
        self._squares = self._squares * fade + left_over + spread**2 * (moments.square - moments.mean**2)

    def _watch(self, deviation: float) -> None:
        """Forget what is old where one observation after the other is off to the same side."""
        self._slower = max(0.0, self._slower + deviation - ALLOWANCE)
        self._faster = max(0.0, self._faster - deviation - ALLOWANCE)
        if max(self._slower, self._faster) > SURPRISE:
            self._weight, self._squares = PRIOR_WEIGHT, PRIOR_WEIGHT * USUAL_SPREAD**2
            self._slower = self._faster = 0.0

    def moved(self) -> bool:
        """Whether the median is another one than when this was last true: what is waiting was scheduled for that."""
        if abs(self._mean - self._scheduled_for) < MOVED:
            return False
        self._scheduled_for = self._mean
        return True

    def next_ask(self, age: float, *, scout: bool = False, slots: int | None = None) -> float:
        """The age at which to ask a generation next that was still running at `age`.

        `slots` is how many there are, while pairs wait for one of them; None while none waits.
        Until something was observed, a few scouts are asked early and ever more seldom: a wrong guess of the typical
        time then costs seconds, not the whole guess.
        """
        if scout and not self.observed and not self.trusted:
            return age + max(self.floor, age * 0.6)
        median = self.median
        price = POLL_PRICE if slots is None else max(LEAST_PRICE, POLL_PRICE * min(1.0, slots / MANY_SLOTS) ** 2)
        schedule = best_schedule(_stepped(self.spread), floor=_stepped(self.floor / median), price=price)
        ask_at = schedule.after(age / median) * median
        if age > 0.0:
            return min(max(ask_at, age + self.floor), age + LONGEST_WAIT)
        # Where no request ever comes too early, none says how short the times are: each round halves the age.
        return min(ask_at, self._found_by / 2.0) if self._found_at_once >= ALWAYS else min(ask_at, LONGEST_WAIT)

    def overdue(self, age: float) -> bool:
        """Over an hour and twenty medians: it may never end, and nothing waits for it."""
        return age > OVERDUE_SECONDS and age > OVERDUE_MEDIANS * self.median


def of_history(forecast: Forecast, seconds: Iterable[float]) -> Forecast:
    """The same, after it has learned from generations of which only is known when each was found to have ended."""
    for age in seconds:
        forecast.learn(age * NOTICED_LATE, age)
    return forecast


class _Moments(NamedTuple):
    """Of a standard normal deviate that is known to lie in an interval."""

    mean: float
    square: float


def _expected(low: float, high: float) -> _Moments:
    """The first two moments of a deviate between `low` and `high`, cut to what a single observation may say."""
    if low > MOST_SIGMAS or high < -MOST_SIGMAS:
        far = MOST_SIGMAS if low > 0.0 else -MOST_SIGMAS
        return _Moments(far, far**2)
    inside = _NORMAL.cdf(high) - _NORMAL.cdf(low)
    if inside < 1e-9:
        middle = max(-MOST_SIGMAS, min(MOST_SIGMAS, (low + high) / 2.0))
        return _Moments(middle, middle**2)
    at_low, at_high = _density(low), _density(high)
    mean = (at_low - at_high) / inside
    square = 1.0 + (_times(low, at_low) - _times(high, at_high)) / inside
    return _Moments(mean, max(square, mean**2))


def _sigmas(age: float, mean: float, spread: float) -> float:
    if math.isinf(age):
        return math.inf
    return (math.log(age) - mean) / spread if age > 0.0 else -math.inf


def _density(deviate: float) -> float:
    return 0.0 if math.isinf(deviate) else _NORMAL.pdf(deviate)


def _times(deviate: float, density: float) -> float:
    return 0.0 if math.isinf(deviate) else deviate * density


def _stepped(value: float) -> float:
    """Rounded, so that a schedule serves for many observations."""
    return math.exp(round(math.log(max(value, 1e-6)) / _STEP) * _STEP)
