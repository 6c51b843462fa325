"""Opening jobs.db: what every connection to it has in common."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database

from lipsync_batch.errors import BatchError
from lipsync_batch.files import disk_faults, fsync_folder
from lipsync_batch.store.faults import Connection, damaged
from lipsync_batch.store.schema import migrations

BUSY_SECONDS = 30.0


_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    # A lost "submitted" record would mean a second paid submission: FULL, not NORMAL.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = FILE",
)


def connect(path: Path | str) -> Connection:
    """A connection to write with: WAL, and every commit waits for the disk.

    DiskError where the disk, or another program, does not let it be opened.
    """
    connection = Connection(path, busy_seconds=BUSY_SECONDS)
    with _kept(connection):
        for setting in _SETTINGS:
            connection.execute(setting)
    return connection


def open_database(path: Path) -> Database:
    """Open jobs.db for the one process that works on the batch. An older one is copied, then brought up to date.

    DiskError where the disk does not let it, DamagedError where the file is none of ours.
    """
    existed = path.exists()
    with disk_faults(path):
        if not existed:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # result links are in it
    connection = connect(path)
    with _kept(connection), disk_faults(path):
        database = Database(connection)
        _migrate(database, path if existed else None)
    return database


def open_memory() -> Database:
    """An empty store that lives as long as the process: for a plan of a batch that does not exist yet."""
    database = Database(connect(":memory:"))
    migrations.apply(database)
    return database


def open_readonly(path: Path) -> Database:
    """Look without a lock and without writing, while a run may hold the batch.

    What an older version made is looked at in a passing copy, which is brought up to date; the file stays as it is.
    """
    if not path.exists():
        raise BatchError(f"{path}: there is no such batch", hint="Was it run at all? `lipsync-batch run` makes it.")
    connection = Connection(path, busy_seconds=BUSY_SECONDS, read_only=True)
    with _kept(connection):
        database = Database(connection)
        if _names(database, path) - _ours():
            raise _too_new(path)
        if not migrations.pending(database):
            return database
        return _up_to_date_copy(connection)


def _up_to_date_copy(older: Connection) -> Database:
    """A copy in a file without a name, which is gone when it is closed."""
    copy = connect("")
    with _kept(copy), closing(older):
        older.backup(copy)
        database = Database(copy)
        migrations.apply(database)
        return database


@contextmanager
def _kept(connection: Connection) -> Iterator[None]:
    """A connection that is not handed on is closed; a file that SQLite cannot make sense of is told of as such."""
    try:
        yield
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise damaged(connection.path, error) from error
        raise


def _migrate(database: Database, existing: Path | None) -> None:
    if existing is not None and _names(database, existing) - _ours():
        raise _too_new(existing)
    pending = migrations.pending(database)
    if pending and existing is not None and _is_bound(database):
        _keep_copy(database, existing.with_name(f"jobs.before-{pending[0].name}.db"))
    with database.atomic():  # all of them or none: no start, however it ends, leaves a schema that no release had
        migrations.apply(database)


def _is_bound(database: Database) -> bool:
    """Whether the file holds a batch. One whose making was cut short by a kill has nothing worth a copy."""
    return "batch" in database.table_names() and database.execute("SELECT 1 FROM batch").fetchone() is not None


def _keep_copy(database: Database, copy: Path) -> None:
    """The database as it stands, under another name: whole and on disk, or not at all.

    A copy of that name is from a start that got no further: nothing was migrated since, so the newer one is as good.
    """
    part = copy.with_name(f"{copy.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)  # result links are in it
    try:
        database.execute("VACUUM INTO ?", [str(part)])
        with part.open("rb") as file:
            os.fsync(file.fileno())  # SQLite does not sync what it vacuums into
        part.replace(copy)
    finally:
        part.unlink(missing_ok=True)
    fsync_folder(copy.parent)


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
