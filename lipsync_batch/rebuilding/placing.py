"""Where a new jobs.db is made, and how it comes into the place of the one that is lost."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path

from lipsync_batch import files, location
from lipsync_batch.clock import Clock
from lipsync_batch.errors import BatchError, DamagedError
from lipsync_batch.location import Location
from lipsync_batch.store import Store

BESIDE = f"{location.DATABASE}.rebuild"
"""The new one, until it is whole."""


def must_be_lost(place: Location, clock: Clock) -> None:
    """BatchError where jobs.db is there, whole, and holds a batch. It is read from its beginning to its end."""
    location.must_be_local(place)
    if not place.exists:
        return
    try:
        with closing(Store.read_only(place.database, clock)) as store:
            if not store.is_sound() or store.reads.bound() is None:
                return
    except DamagedError:
        return
    raise BatchError(
        f"{place.database}: it is whole, and there is nothing to rebuild",
        hint=f"`lipsync-batch run {place.named}` goes on with it. To have it made again all the same, move it away.",
    )


def remove(database: Path) -> None:
    """A database that was begun and did not become whole, if there is one."""
    for path in _family(database):
        with suppress(FileNotFoundError):
            path.unlink()


def put_in_place(new: Path, database: Path) -> Path | None:
    """Give the new file its name; where the damaged one is now, if there was one.

    What belonged to the old file goes first: SQLite must not take its log for that of the new one.
    """
    with files.disk_faults(database):
        with new.open("rb") as file:
            os.fsync(file.fileno())
        there = [path for path in _family(database) if path.exists()]
        aside = _free_name(database) if there else None
        if aside is not None:
            for path in there:
                path.rename(aside.with_name(path.name.replace(database.name, aside.name, 1)))
            files.fsync_folder(database.parent)
        new.rename(database)
        files.fsync_folder(database.parent)
    return aside


def _family(database: Path) -> list[Path]:
    """A database file, and the two that SQLite may have beside it."""
    return [database.with_name(f"{database.name}{ending}") for ending in ("", "-wal", "-shm")]


def _free_name(database: Path) -> Path:
    number = 1
    while any(path.exists() for path in _family(database.with_name(f"{database.stem}.damaged-{number}.db"))):
        number += 1
    return database.with_name(f"{database.stem}.damaged-{number}.db")
