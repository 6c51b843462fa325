"""How long generations take, learned as they finish: says when asking again is worth a request. Pure.

The times are taken as log-normal. A prior guess counts as a few observations and fades as real ones come; old ones fade
too, so that a provider that slows down is followed.
"""

from __future__ import annotations

import math
from statistics import NormalDist

PRIOR_WEIGHT = 2.0
PRIOR_SPREAD = 0.6
MEMORY = 40.0
"""About so many of the newest observations decide."""
WORTH_ASKING = 0.35
"""Ask when it is this likely that the generation has finished since it was last asked."""
MOST = 0.9
"""The share of generations that are most of them."""
LONGEST_WAIT = 300.0
SCOUTS = 3
OVERDUE_SECONDS = 3_600.0
OVERDUE_MEDIANS = 20.0


class Forecast:
    """The distribution of generation times of this account, in seconds."""

    def __init__(self, typical_seconds: float, *, floor: float = 1.0, given: bool = False) -> None:
        self.floor = floor
        self.observed = 0
        self._given = given
        log = math.log(max(typical_seconds, 0.05))
        self._weight = PRIOR_WEIGHT
        self._sum = PRIOR_WEIGHT * log
        self._squares = PRIOR_WEIGHT * (log * log + PRIOR_SPREAD**2)

    def learn(self, seconds: float) -> None:
        """A generation took so long."""
        log = math.log(max(seconds, 0.05))
        fade = 1.0 - 1.0 / MEMORY
        self._weight = self._weight * fade + 1.0
        self._sum = self._sum * fade + log
        self._squares = self._squares * fade + log * log
        self.observed += 1

    @property
    def median(self) -> float:
        return math.exp(self._sum / self._weight)

    @property
    def spread(self) -> float:
        """The standard deviation of the logarithm; never so small that a late one is never asked."""
        mean = self._sum / self._weight
        return max(0.05, math.sqrt(max(0.0, self._squares / self._weight - mean * mean)))

    @property
    def most(self) -> float:
        """The age by which most generations have ended."""
        return math.exp(NormalDist(math.log(self.median), self.spread).inv_cdf(MOST))

    def next_ask(self, age: float, *, scout: bool = False) -> float:
        """The age at which to ask a generation next that was still running at `age`.

        Until something was observed, a few scouts are asked early and ever more seldom: a wrong guess of the typical
        time then costs seconds, not the whole guess.
        """
        if scout and not self.observed and not self._given:
            return age + max(2 * self.floor, age * 0.6)
        distribution = NormalDist(math.log(self.median), self.spread)
        finished = distribution.cdf(math.log(age)) if age > 0 else 0.0
        wanted = finished + (1.0 - finished) * WORTH_ASKING
        # Far out in the tail the model says little: ask in proportion to the age.
        ask_at = math.exp(distribution.inv_cdf(wanted)) if wanted < 0.999 else age * 1.25
        return min(max(ask_at, age + self.floor), age + LONGEST_WAIT)

    def overdue(self, age: float) -> bool:
        """Over an hour and twenty medians: it may never end, and nothing waits for it."""
        return age > OVERDUE_SECONDS and age > OVERDUE_MEDIANS * self.median
