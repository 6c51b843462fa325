"""What SQLite says when its disk fails it, in our words: translated once, where it enters.

Every connection to jobs.db is of this kind, so that no caller has to know SQLite's codes. What is not the disk's fault
(a constraint, wrong SQL) stays what it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from lipsync_batch.errors import DamagedError, DiskError
from lipsync_batch.files import REMEDY_FULL, REMEDY_OTHER, REMEDY_READ_ONLY

P = ParamSpec("P")
T = TypeVar("T")

_PRIMARY = 0xFF
"""An extended result code holds the primary one in its lowest byte: https://www.sqlite.org/rescode.html."""
_HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_CLOSED = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BROKEN = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_NOLFS})


def disk_error(error: sqlite3.Error, path: str) -> DiskError | None:
    """What an error of SQLite says of the disk; None where it is about something else."""
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    message = f"{path}: cannot be written or read ({error})"
    if code == sqlite3.SQLITE_FULL:
        return DiskError(message, hint=REMEDY_FULL, full=True)
    if code in _HELD:
        hint = "Another program holds it: close what has jobs.db open, then run the same command again."
        return DiskError(message, hint=hint)
    if code in _CLOSED:
        return DiskError(message, hint=REMEDY_READ_ONLY)
    if code in _DAMAGED:
        return damaged(path, error)
    return DiskError(message, hint=REMEDY_OTHER) if code in _BROKEN else None


def damaged(path: str, error: sqlite3.Error) -> DamagedError:
    """For a jobs.db that SQLite cannot make sense of."""
    return DamagedError(
        f"{path}: not a database that can be used ({error})",
        hint="Have it made again: `lipsync-batch rebuild MANIFEST`. A copy of jobs.db in its place does not know what "
        "was submitted since it was made.",
    )


def _translating(method: Callable[Concatenate[Cursor, P], T]) -> Callable[Concatenate[Cursor, P], T]:
    @wraps(method)
    def call(self: Cursor, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except sqlite3.Error as error:
            if (fault := disk_error(error, self.connection.path)) is None:
                raise
            raise fault from error

    return call


class Cursor(sqlite3.Cursor):
    """A cursor out of which the disk's faults come as DiskError."""

    connection: Connection

    @_translating
    def execute(self, *args: Any) -> Self:
        return super().execute(*args)

    @_translating
    def executemany(self, *args: Any) -> Self:
        return super().executemany(*args)

    @_translating
    def executescript(self, script: str) -> Self:
        super().executescript(script)
        return self

    @_translating
    def fetchone(self) -> Any:
        return super().fetchone()

    @_translating
    def fetchall(self) -> list[Any]:
        return super().fetchall()

    @_translating
    def __next__(self) -> Any:
        return super().__next__()


class Connection(sqlite3.Connection):
    """A connection whose cursors are `Cursor`s, those of its own `execute` included.

    In autocommit mode: transactions are begun by name. It may pass from thread to thread, for one at a time.
    """

    def __init__(self, path: Path | str, *, busy_seconds: float, read_only: bool = False) -> None:
        """DiskError where the file cannot be opened. A lock that another program holds is waited for so long."""
        self.path = str(path)
        target = f"{Path(path).resolve().as_uri()}?mode=ro" if read_only else path
        try:
            super().__init__(target, uri=read_only, isolation_level=None, timeout=busy_seconds, check_same_thread=False)
        except sqlite3.Error as error:
            raise disk_error(error, self.path) or error from error
        self.row_factory = sqlite3.Row

    def close(self) -> None:
        """Let go of the file, and of its lock: a transaction that is still open ends now, not with its last cursor."""
        with suppress(sqlite3.Error):
            self.rollback()
        super().close()

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or Cursor)

    # From Python 3.11 on, the shorthands of sqlite3 make a cursor of their own kind, whatever `cursor` returns.

    def execute(self, *args: Any) -> Any:
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:
        return self.cursor().executemany(*args)

    def executescript(self, script: str) -> Any:
        return self.cursor().executescript(script)
