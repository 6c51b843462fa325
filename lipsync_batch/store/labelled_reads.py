"""The questions that reports ask, about the jobs that have some labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lipsync_batch.jobs import BatchRecord, Costs, JobRecord, RunRecord, State
from lipsync_batch.store.reads import Reads


class LabelledReads:
    """A part of a batch, as reports see the whole. One thread's."""

    def __init__(self, reads: Reads, where: Mapping[str, str]) -> None:
        """Empty labels mean the whole batch."""
        self._reads = reads
        self._where = where

    def batch(self) -> BatchRecord:
        return self._reads.batch()

    def runs(self) -> list[RunRecord]:
        """Of the whole batch."""
        return self._reads.runs()

    def counts(self) -> dict[State, int]:
        return self._reads.counts(where=self._where)

    def costs(self) -> Costs:
        """Of the pairs that these jobs want, over the whole ledger."""
        return self._reads.costs(where=self._where) if self._where else self._reads.costs()

    def label_names(self) -> list[str]:
        return self._reads.label_names()

    def records(self) -> Iterator[JobRecord]:
        return self._reads.records(where=self._where)

    def videos(self) -> Iterator[tuple[str, str]]:
        """Output and checksum of every finished video."""
        return self._reads.videos()
