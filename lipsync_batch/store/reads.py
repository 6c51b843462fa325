"""What the program asks of jobs.db: one method a question, in pages where an answer may be long.

Reads need no lock and see only what is committed, so `status` and `report` work while a run goes on. Who asks divides
the rooms: the lanes, what puts files in their places, people, and the verbs that mend things.
"""

from __future__ import annotations

import sqlite3

from lipsync_batch.clock import from_iso
from lipsync_batch.errors import BatchError
from lipsync_batch.jobs import BatchRecord, RunRecord, StopReason
from lipsync_batch.store.intake import IntakeReads
from lipsync_batch.store.lane_reads import LaneReads
from lipsync_batch.store.record_reads import RecordReads
from lipsync_batch.store.remedy_reads import RemedyReads
from lipsync_batch.store.rows import instant


class Reads(LaneReads, RecordReads, RemedyReads, IntakeReads):
    """Questions to jobs.db. One thread's."""

    def bound(self) -> BatchRecord | None:
        """What the folder is bound to; None in a store that no batch was made in yet."""
        row = self._one("SELECT * FROM batch")
        return None if row is None else _batch(row)

    def output_store(self) -> str | None:
        """Where the finished videos go; None where they stay in the batch folder."""
        row = self._one("SELECT url FROM output_store")
        return None if row is None else str(row["url"])

    def batch(self) -> BatchRecord:
        """What the folder is bound to. BatchError where its first run ended before it could say so."""
        record = self.bound()
        if record is None:
            raise BatchError(
                "the first run of this batch ended before it began: nothing was submitted",
                hint="`lipsync-batch run MANIFEST` begins it.",
            )
        return record

    def runs(self) -> list[RunRecord]:
        """Every run of the batch, oldest first."""
        return [
            RunRecord(
                started_at=from_iso(row["started_at"]),
                ended_at=instant(row["ended_at"]),
                stop_reason=StopReason(row["stop_reason"]),
                exit_code=row["exit_code"],
                version=row["version"],
            )
            for row in self._rows("SELECT * FROM runs ORDER BY id")
        ]


def _batch(row: sqlite3.Row) -> BatchRecord:
    return BatchRecord(
        batch_id=row["batch_id"],
        provider=row["provider"],
        origin=row["origin"],
        manifest=row["manifest"],
        created_at=from_iso(row["created_at"]),
    )
