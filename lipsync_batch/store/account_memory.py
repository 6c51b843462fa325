"""What the runs of one account on one machine share: which requests the provider may still count, and what was learned.

A small SQLite file in the user's state folder, one an account. It is a memory, not a ledger: a run that cannot have it
goes on with one of its own, and nothing but the pace of its requests suffers. So nothing is synced here, and a lock
that another process holds is not waited for.

Instants are seconds on the machine's monotonic clock, which all processes have in common until it is started again.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from lipsync_batch.errors import DiskError

VERSION = 1
BUSY_SECONDS = 0.02
"""How long a transaction of another process is waited for; on the loop's thread, so hardly at all."""
OPENING_SECONDS = 2.0
"""The same before the loop runs, while the file is opened."""
LONGEST_WINDOW = 3_600.0
"""Requests are forgotten after so many seconds: no limit counts longer."""

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pid INTEGER NOT NULL,
    born REAL NOT NULL,      -- when that process began, for pids come again
    unanswered INTEGER NOT NULL DEFAULT 0,
    limit_count INTEGER,     -- the rate that it was given; NULL: none
    limit_seconds REAL
) STRICT;
CREATE TABLE IF NOT EXISTS answered (at REAL NOT NULL, requests INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS answered_by_time ON answered (at);
CREATE TABLE IF NOT EXISTS learned (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
_NO_TABLES = "DROP TABLE IF EXISTS runs; DROP TABLE IF EXISTS answered; DROP TABLE IF EXISTS learned;"


class BusyError(Exception):
    """Another process holds the memory for longer than is waited for. Nothing was changed."""


class LostError(Exception):
    """The memory cannot be used any more: its disk, or its file, is not what it was."""


class AccountMemory:
    """One run's view of what the runs of its account share. One thread's.

    Reads and writes belong into `exclusive()`, in which no other run changes anything.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._run = 0

    @classmethod
    def open(cls, path: Path) -> AccountMemory:
        """The memory in a file, made where there is none. DiskError where it cannot be used."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            try:
                return cls(_connected(str(path)))
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # damaged: what it knew is learned again
                for ending in ("", "-wal", "-shm"):
                    path.with_name(path.name + ending).unlink(missing_ok=True)
                path.touch(mode=0o600)
                return cls(_connected(str(path)))
        except (OSError, sqlite3.Error) as error:
            raise DiskError(f"{path}: cannot be used ({error})", hint="") from error

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._connection.close()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """A transaction. BusyError where another process is in one: then the block is not entered. LostError."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            held = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            raise (BusyError if held else LostError)(str(error)) from error
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise LostError(str(error)) from error
            raise

    # Who works on the account

    def join(self, *, now: float, limit: tuple[int, float] | None) -> None:
        """Count this run in, with the limit that it was given. What dead runs left is put in order first."""
        self._forget_another_boot(now)
        self.bury_the_dead(now)
        count, seconds = limit or (None, None)
        cursor = self._connection.execute(
            "INSERT INTO runs (pid, born, limit_count, limit_seconds) VALUES (?, ?, ?, ?)",
            (os.getpid(), _born(os.getpid()), count, seconds),
        )
        self._run = int(cursor.lastrowid or 0)

    def leave(self, now: float) -> None:
        """Count this run out; requests that are unanswered still count for a window."""
        self._bury(self._run, now)

    def others(self) -> int:
        """How many other runs there are."""
        return int(self._one("SELECT count(*) AS n FROM runs WHERE id <> ?", self._run)["n"])

    def bury_the_dead(self, now: float) -> None:
        """Runs whose process is gone: their unanswered requests may have arrived up to now."""
        for row in self._connection.execute("SELECT id, pid, born FROM runs WHERE id <> ?", (self._run,)).fetchall():
            if _born(row["pid"]) != row["born"]:
                self._bury(row["id"], now)

    def _bury(self, run: int, now: float) -> None:
        row = self._one("SELECT coalesce(sum(unanswered), 0) AS n FROM runs WHERE id = ?", run)
        if row["n"]:
            self._connection.execute("INSERT INTO answered VALUES (?, ?)", (now, row["n"]))
        self._connection.execute("DELETE FROM runs WHERE id = ?", (run,))

    def _forget_another_boot(self, now: float) -> None:
        """The clock began anew: instants that lie ahead of it are from before."""
        self._connection.execute("DELETE FROM answered WHERE at > ?", (now,))

    def strictest_limit(self) -> tuple[int, float] | None:
        """The limit that any run was given; of several the one that lets the fewest requests through."""
        row = self._connection.execute(
            "SELECT limit_count, limit_seconds FROM runs WHERE limit_count NOT NULL "
            "ORDER BY limit_count / limit_seconds LIMIT 1"
        ).fetchone()
        return None if row is None else (row["limit_count"], row["limit_seconds"])

    # Requests

    def took(self, requests: int) -> None:
        """So many requests are about to leave; less than none were not sent after all."""
        self._connection.execute("UPDATE runs SET unanswered = unanswered + ? WHERE id = ?", (requests, self._run))

    def answered(self, requests: int, *, at: float) -> None:
        """So many were answered, and had arrived by then."""
        self.took(-requests)
        self.count(requests, at=at)

    def count(self, requests: int, *, at: float) -> None:
        """So many requests had arrived by then."""
        self._connection.execute("INSERT INTO answered VALUES (?, ?)", (at, requests))

    def counted_since(self, instant: float, *, now: float) -> int:
        """How many requests the provider may count that arrived later than that; those without an answer are."""
        self._connection.execute("DELETE FROM answered WHERE at < ?", (now - LONGEST_WINDOW,))
        row = self._one(
            """
            SELECT (SELECT coalesce(sum(requests), 0) FROM answered WHERE at > ?)
                + (SELECT coalesce(sum(unanswered), 0) FROM runs) AS n
            """,
            instant,
        )
        return int(row["n"])

    def arrivals_since(self, instant: float) -> Iterator[tuple[float, int]]:
        """By when how many had arrived, oldest first."""
        rows = self._connection.execute("SELECT at, requests FROM answered WHERE at > ? ORDER BY at", (instant,))
        return ((row["at"], row["requests"]) for row in rows)

    # What was learned

    def recall(self, name: str) -> dict[str, Any] | None:
        """What was remembered under a name; None where nothing was, or nothing that can be read."""
        row = self._connection.execute("SELECT value FROM learned WHERE name = ?", (name,)).fetchone()
        with suppress(ValueError):
            value = json.loads(row["value"]) if row is not None else None
            return value if isinstance(value, dict) else None
        return None

    def remember(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep something that was learned, for this run and those that come."""
        self._connection.execute("INSERT OR REPLACE INTO learned VALUES (?, ?)", (name, json.dumps(value)))

    def _one(self, sql: str, *parameters: object) -> sqlite3.Row:
        row: sqlite3.Row = self._connection.execute(sql, parameters).fetchone()
        return row


def learned(path: Path) -> dict[str, dict[str, Any]]:
    """What the account's runs have remembered, by name, without taking part; nothing where it cannot be read now."""
    if not path.is_file():
        return {}
    found: dict[str, dict[str, Any]] = {}
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            return {}
        for name, text in connection.execute("SELECT name, value FROM learned"):
            with suppress(ValueError):
                value = json.loads(text)
                found |= {name: value} if isinstance(value, dict) else {}
    return found


def _connected(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=OPENING_SECONDS)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, VERSION):
            connection.executescript(_NO_TABLES)
        connection.executescript(_TABLES)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    except BaseException:
        connection.close()
        raise
    return connection


def _born(pid: int) -> float:
    """When a process began; 0 where there is none. Field 22 of its stat, in clock ticks since the start of the machine.

    Of a zombie nothing is left but its number.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return 0.0 if fields[0] in ("Z", "X") else float(fields[19])
