"""How long generations take: their spread, and the figures that sum it up."""

from __future__ import annotations

from dataclasses import dataclass

from lipsync_batch.jobs import JobRecord
from lipsync_batch.report.bins import Bins
from lipsync_batch.report.schema import seconds

LADDER = (100, 200, 1_000, 2_000, 10_000, 20_000, 60_000, 120_000, 600_000, 3_600_000)
"""Widths of a step in milliseconds: each divides the next."""
KEPT_STEPS = 4_096
SHOWN_STEPS = 48


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Durations in seconds."""

    width: float
    counts: list[int]
    """How many took from `n * width` up to `(n + 1) * width`; the last one holds all slower ones too."""
    first: int
    """The step that `counts` begins with."""
    total: int
    median: float
    ninety: float
    """Nine in ten took no longer."""
    slowest: float


class GenerationTimes:
    """Gathers generation times in bounded memory."""

    def __init__(self) -> None:
        self._bins = Bins(LADDER, KEPT_STEPS)
        self._slowest = 0.0

    def add(self, job: JobRecord) -> None:
        taken = seconds(job.generation_seconds)
        if taken is not None and taken >= 0:
            self._bins.add(taken * 1000)
            self._slowest = max(self._slowest, taken)

    def spread(self) -> Spread | None:
        """None where no generation has ended."""
        total = sum(self._bins.sums.values())
        if not total:
            return None
        width = self._bins.coarse(SHOWN_STEPS, up_to=self._quantile(0.98) * 1000)
        sums = self._bins.at_width(width)
        first, last = min(sums), int(self._quantile(0.98) * 1000 // width)
        counts = [sums.get(step, 0) for step in range(first, last + 1)]
        counts[-1] += sum(count for step, count in sums.items() if step > last)
        return Spread(
            width=width / 1000,
            counts=counts,
            first=first,
            total=total,
            median=self._quantile(0.5),
            ninety=self._quantile(0.9),
            slowest=self._slowest,
        )

    def _quantile(self, share: float) -> float:
        """In seconds, to the middle of a step."""
        wanted = share * sum(self._bins.sums.values())
        passed = 0
        for step in sorted(self._bins.sums):
            passed += self._bins.sums[step]
            if passed >= wanted:
                break
        return min((step + 0.5) * self._bins.width / 1000, self._slowest)
