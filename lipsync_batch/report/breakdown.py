"""Jobs and their cost by the values of each label."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from lipsync_batch.jobs import Costs, JobRecord, State
from lipsync_batch.report.rows import is_suspect

KEPT_LABELS = 12
KEPT_VALUES = 200
"""A label with more values than these names single jobs, and says nothing by groups."""
KEPT_PAIRS = 50_000
"""Up to so many pairs are remembered, so that a pair wanted by several jobs is charged to the first one only."""


@dataclass(kw_only=True, slots=True)
class Share:
    """The jobs with one value of a label. Money in micro-USD, None where nobody named any."""

    states: Counter[State] = field(default_factory=Counter)
    suspects: int = 0
    estimated: int | None = None
    quoted: int | None = None
    settled: int | None = None

    @property
    def total(self) -> int:
        return self.states.total()

    def add(self, job: JobRecord, cost: Costs) -> None:
        self.states[job.state] += 1
        self.suspects += is_suspect(job)
        self.estimated = _sum(self.estimated, cost.estimated)
        self.quoted = _sum(self.quoted, cost.quoted)
        self.settled = _sum(self.settled, cost.settled)


class Breakdown:
    """Gathers shares by label and value; bounded memory."""

    def __init__(self) -> None:
        self._labels: dict[str, dict[str, Share]] = {}
        self._pairs: set[str] = set()
        self.has_costs = True
        """Whether every pair could be told from the others; else costs by label would count some twice."""

    def add(self, job: JobRecord) -> None:
        cost = self._first_cost(job)
        for name, value in job.labels.items():
            if name not in self._labels and len(self._labels) >= KEPT_LABELS:
                continue
            shares = self._labels.setdefault(name, {})
            if len(shares) <= KEPT_VALUES:
                shares.setdefault(value, Share()).add(job, cost)

    def by_label(self) -> dict[str, dict[str, Share]]:
        """Label → value → share, in manifest order; without labels that have one value or too many."""
        return {name: shares for name, shares in self._labels.items() if 1 < len(shares) <= KEPT_VALUES}

    def _first_cost(self, job: JobRecord) -> Costs:
        if job.fingerprint in self._pairs:
            return Costs()
        if len(self._pairs) < KEPT_PAIRS:
            self._pairs.add(job.fingerprint)
        else:
            self.has_costs = False
        return Costs(estimated=job.estimated, quoted=job.quoted, settled=job.settled)


def _sum(total: int | None, more: int | None) -> int | None:
    return total if more is None else (total or 0) + more
