"""What every question to jobs.db has in common."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from lipsync_batch.jobs import Selection
from lipsync_batch.store.rows import dumps

PAGE = 1_000
"""Rows that are read at once, where an answer may be long."""

SELECTED = """(
    NOT (SELECT narrow FROM temp.selection)
    OR EXISTS (SELECT 1 FROM temp.selected AS s WHERE s.fingerprint = p.fingerprint)
)"""
"""Whether a pair `p` that jobs want is one that the run is for; see `LaneReads.select`."""


def labelled(where: Mapping[str, str], job: str) -> tuple[str, dict[str, object]]:
    """A condition that a job (its alias in SQL) has certain labels, and the condition's parameters."""
    conditions = ["TRUE"]
    parameters: dict[str, object] = {}
    for number, (label, value) in enumerate(where.items()):
        conditions.append(f"json_extract({job}.labels, :label{number}) = :value{number}")
        parameters |= {f"label{number}": f"$.{dumps(label)}", f"value{number}": value}
    return " AND ".join(conditions), parameters


def chosen(selection: Selection, job: str) -> tuple[str, dict[str, object]]:
    """The same for the labels and the key globs of a selection; its limit is not in it."""
    condition, parameters = labelled(selection.where, job)
    if selection.only:
        globs = [f"{job}.key GLOB :only{number}" for number in range(len(selection.only))]
        condition += f" AND ({' OR '.join(globs)})"
        parameters |= {f"only{number}": glob for number, glob in enumerate(selection.only)}
    return condition, parameters


class Query:
    """A connection that questions are put to. One thread's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def _rows(self, sql: str, **parameters: object) -> Iterator[sqlite3.Row]:
        return iter(self._connection.execute(sql, parameters))

    def _one(self, sql: str, **parameters: object) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._connection.execute(sql, parameters).fetchone()
        return row
