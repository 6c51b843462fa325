"""How well the sandbox is polled: what a client cannot know, when a generation had really ended.

Kept in memory, some bytes a generation: it is about the clients since the start, not about the account.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from lipsync_batch.sandbox.records import Generation


class Notices:
    """The polls of each generation up to the one that was first answered with its end."""

    def __init__(self) -> None:
        self._polls = array("L")
        self._took = array("d")
        self._lags = array("d")
        """By the generations' numbers; seconds, NaN until the end was told."""

    def told(self, generation: Generation, now: float) -> None:
        """A poll was answered with how a generation stands at an instant."""
        missing = generation.n + 1 - len(self._polls)
        if missing > 0:
            self._polls.extend([0] * missing)
            self._took.extend([0.0] * missing)
            self._lags.extend([math.nan] * missing)
        if not math.isnan(self._lags[generation.n]):
            return
        self._polls[generation.n] += 1
        if generation.finished is not None:
            self._lags[generation.n] = now - generation.finished
            self._took[generation.n] = generation.finished - generation.accepted

    def summary(self, *, after: int) -> dict[str, Any]:
        """Of the generations whose end was told, without the first so many that were ever accepted. Seconds."""
        numbers = [n for n in range(after + 1, len(self._lags)) if not math.isnan(self._lags[n])]
        if not numbers:
            return {"noticed": 0}
        lags, took = sorted(self._lags[n] for n in numbers), [self._took[n] for n in numbers]
        return {
            "noticed": len(numbers),
            "polls_mean": fmean(self._polls[n] for n in numbers),
            "lag_mean": fmean(lags),
            "lag_p50": _share(lags, 0.5),
            "lag_p90": _share(lags, 0.9),
            "lag_p99": _share(lags, 0.99),
            "generation_mean": fmean(took),
            "generation_median": median(took),
        }


def _share(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
