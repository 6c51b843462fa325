"""What every question to jobs.db has in common."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

PAGE = 1_000
"""Rows that are read at once, where an answer may be long."""

SELECTED = "EXISTS (SELECT 1 FROM temp.selected AS s WHERE s.fingerprint = p.fingerprint)"


class Query:
    """A connection that questions are put to. One thread's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def _rows(self, sql: str, **parameters: object) -> Iterator[sqlite3.Row]:
        return iter(self._connection.execute(sql, parameters))

    def _one(self, sql: str, **parameters: object) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._connection.execute(sql, parameters).fetchone()
        return row
