"""What the last reading of a manifest found, and what the store itself can say of jobs that have not changed since."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from lipsync_batch.store.query import SELECTED, Query
from lipsync_batch.store.rows import dumps
from lipsync_batch.store.staging import Bill


@dataclass(frozen=True, kw_only=True, slots=True)
class Intake:
    """A manifest that was taken in with nothing wrong."""

    digest: str
    """Of all that its jobs depend on, but for the local files that they name: those are looked at each time."""
    jobs: int
    warnings: tuple[str, ...]
    """The first of them."""
    warning_count: int


class IntakeReads(Query):
    """Questions about the jobs as they stand in the store."""

    def intake(self) -> Intake | None:
        """The reading that the jobs in the store are from; None where that is not known, or something was wrong."""
        row = self._one("SELECT * FROM intake")
        if row is None:
            return None
        return Intake(
            digest=row["digest"],
            jobs=row["jobs"],
            warnings=tuple(json.loads(row["warnings"])),
            warning_count=row["warning_count"],
        )

    def bill(self, *, selected: bool = False) -> Bill:
        """The pairs that are to be paid for, or those of them that the run is for; see `LaneReads.select`."""
        row = self._one(
            f"""
            SELECT count(*) AS n, total(ceil(billable_seconds)) AS seconds, total(upload_bytes) AS bytes
            FROM pairs AS p INDEXED BY pairs_to_pay WHERE state = 'pending' AND wanted = 1
                AND {SELECTED if selected else "TRUE"}
            """
        )
        assert row is not None
        return Bill(pairs=row["n"], billable_seconds=row["seconds"], upload_bytes=int(row["bytes"]))

    def finished_pairs(self) -> int:
        """How many pairs that jobs want are done."""
        row = self._one("SELECT count(*) AS n FROM pairs WHERE state = 'done' AND wanted = 1")
        assert row is not None
        return int(row["n"])

    def is_placed(self) -> bool:
        """Whether finished files were put where the jobs want them, and no job has changed since."""
        return self._one("SELECT 1 FROM placed") is not None


def keep(connection: sqlite3.Connection, intake: Intake | None) -> None:
    """Remember a reading, or that there is none to go by; part of a transaction of the caller's."""
    connection.execute("DELETE FROM intake")
    if intake is not None:
        connection.execute(
            "INSERT INTO intake VALUES (1, :digest, :jobs, :warnings, :warning_count)",
            {
                "digest": intake.digest,
                "jobs": intake.jobs,
                "warnings": dumps(intake.warnings),
                "warning_count": intake.warning_count,
            },
        )
