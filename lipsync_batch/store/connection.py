"""Opening jobs.db: what every connection to it has in common."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from sqlite_utils import Database

from lipsync_batch.errors import BatchError
from lipsync_batch.store.schema import migrations

BUSY_SECONDS = 30.0


def connect(path: Path | str) -> sqlite3.Connection:
    """A connection in autocommit mode: transactions are begun by name. WAL, and every commit waits for the disk."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    # A lost "submitted" record would mean a second paid submission: FULL, not NORMAL.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = FILE")
    return connection


def open_database(path: Path) -> Database:
    """Open jobs.db for the one process that works on the batch. An older one is copied, then brought up to date."""
    existed = path.exists()
    try:
        if not existed:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # result links are in it
        database = Database(connect(path))
        _migrate(database, path if existed else None)
    except sqlite3.DatabaseError as error:
        raise BatchError(
            f"{path}: not a database that can be used ({error})",
            hint="Put a copy of jobs.db back in its place; without it the batch no longer knows what was paid for.",
        ) from error
    return database


def open_memory() -> Database:
    """An empty store that lives as long as the process: for a plan of a batch that does not exist yet."""
    database = Database(connect(":memory:"))
    migrations.apply(database)
    return database


def open_readonly(path: Path) -> Database:
    """Look without a lock and without writing, while a run may hold the batch."""
    if not path.exists():
        raise BatchError(f"{path}: there is no such batch", hint="Was it run at all? `lipsync-batch run` makes it.")
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_SECONDS
    )
    connection.row_factory = sqlite3.Row
    try:
        database = Database(connection)
        if _names(database, path) - _ours():
            raise _too_new(path)
        if migrations.pending(database):
            raise BatchError(f"{path}: made by an older version", hint="`lipsync-batch run` brings it up to date.")
    except sqlite3.DatabaseError as error:
        raise BatchError(f"{path}: not a database that can be used ({error})") from error
    return database


def _migrate(database: Database, existing: Path | None) -> None:
    if existing is not None and _names(database, existing) - _ours():
        raise _too_new(existing)
    pending = migrations.pending(database)
    if pending and existing is not None and migrations.applied(database):
        copy = existing.with_name(f"jobs.before-{pending[0].name}.{int(time.time())}.db")
        database.execute("VACUUM INTO ?", [str(copy)])
        copy.chmod(0o600)
    migrations.apply(database)


def _names(database: Database, path: Path) -> set[str]:
    """The migrations that this file has seen."""
    tables = set(database.table_names())
    if tables and "_sqlite_migrations" not in tables:
        raise BatchError(f"{path}: a database of another program", hint="Choose another batch folder with --out.")
    return {migration.name for migration in migrations.applied(database)}


def _ours() -> set[str]:
    fresh = Database(memory=True)
    return {migration.name for migration in migrations.pending(fresh)}


def _too_new(path: Path) -> BatchError:
    return BatchError(f"{path}: made by a newer version of lipsync-batch", hint="pip install -U lipsync-batch")
