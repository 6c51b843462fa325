"""The store of a batch, to be read while a run may hold it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from lipsync_batch.clock import Clock
from lipsync_batch.location import Location
from lipsync_batch.store import Store


@contextmanager
def looking(place: Location) -> Iterator[Store]:
    """Opened for reading alone. BatchError where nothing was run yet."""
    with closing(Store.read_only(place.database, Clock())) as store:
        store.reads.base = place.folder.root.joinpath(store.reads.batch().manifest).resolve().parent
        yield store
