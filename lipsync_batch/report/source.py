"""What a report is made of: the questions it asks, which the store answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from lipsync_batch.jobs import BatchRecord, Costs, JobRecord, RunRecord, State


class Source(Protocol):
    """A batch as it stands. Nothing here may hold all jobs in memory."""

    def batch(self) -> BatchRecord: ...

    def runs(self) -> list[RunRecord]:
        """Oldest first."""

    def counts(self) -> Mapping[State, int]:
        """Jobs by state; a state without jobs may be missing."""

    def costs(self) -> Costs:
        """Over the whole ledger, so that a pair made twice counts twice."""

    def label_names(self) -> list[str]:
        """The names of all labels, in order of their first appearance."""

    def records(self) -> Iterator[JobRecord]:
        """All jobs in manifest order, fetched page by page. Each call starts anew."""
