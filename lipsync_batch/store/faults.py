"""What SQLite says when its disk fails it, in our words: translated once, at the connection.

Every connection to jobs.db is of this kind, so that no caller has to know SQLite's codes. Faults that are not the
disk's (a constraint, wrong SQL) stay what they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from lipsync_batch.errors import DamagedError, DiskError

P = ParamSpec("P")
T = TypeVar("T")

_FULL = sqlite3.SQLITE_FULL
_HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_CLOSED = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY = 0xFF
"""An extended result code holds the primary one in its lowest byte: https://www.sqlite.org/rescode.html."""

COPY = "Put a copy of jobs.db back in its place; without it the batch no longer knows what was paid for."


class Cursor(sqlite3.Cursor):
    """A cursor whose faults of the disk come out as DiskError."""

    @staticmethod
    def _translated(method: Callable[Concatenate[Cursor, P], T]) -> Callable[Concatenate[Cursor, P], T]:
        @wraps(method)
        def call(self: Cursor, /, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return method(self, *args, **kwargs)
            except sqlite3.Error as error:
                raise translated(error, self.connection) from error

        return call

    @_translated
    def execute(self, *args: Any) -> Self:
        return super().execute(*args)
