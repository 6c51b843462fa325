"""Reads a copy of jobs.db: what it does not know is what was submitted since it was made."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lipsync_batch.clock import Clock
from lipsync_batch.errors import BatchError
from lipsync_batch.jobs import BatchRecord
from lipsync_batch.store import Store
from lipsync_batch.store.hearing import Hearing
from lipsync_batch.store.ledger import Ledger


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """What a copy says beside its generations."""

    path: Path
    record: BatchRecord
    store: str | None
    """The object storage that its videos go to, if they do not stay in the folder."""
    ends: str
    """The instant of the last thing that it knows of."""


def read_copy(path: Path, hearing: Hearing, clock: Clock) -> Copy:
    """Tell all that a copy knows, and leave it as it is. BatchError where it is damaged, or holds no batch."""
    with closing(Store.read_only(path, clock)) as store:
        if not store.is_sound():
            raise BatchError(f"{path}: a copy of jobs.db that is damaged", hint="Name another one, or none.")
        copied = store.as_copy()
        copied.tell(hearing)
        reads = store.reads
        return Copy(path=path, record=reads.batch(), store=reads.output_store(), ends=copied.ends())


async def tell_charges(copy: Copy, ledger: Ledger, clock: Clock) -> None:
    """What the account had said by then, of generations that are in the new ledger."""
    with closing(Store.read_only(copy.path, clock)) as store:
        for charges in store.as_copy().charges():
            await ledger.charged(charges)
