"""The store of one batch: who opens it, what it is bound to, which runs worked on it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from lipsync_batch.clock import Clock, iso
from lipsync_batch.jobs import BatchRecord, StopReason
from lipsync_batch.store.connection import connect, open_database, open_memory, open_readonly
from lipsync_batch.store.copied import Copied
from lipsync_batch.store.inputs import InputCache
from lipsync_batch.store.intake import Intake, keep
from lipsync_batch.store.ledger import Ledger
from lipsync_batch.store.objects import ObjectMemory
from lipsync_batch.store.reads import Reads
from lipsync_batch.store.recovery import Recovery
from lipsync_batch.store.staging import Staging
from lipsync_batch.store.writer import GroupWriter, InlineWriter, Writer
from lipsync_batch.version import VERSION

Journal = Callable[[Sequence[str]], None]

_ESTIMATE = "(:per_generation + CAST(ceil(billable_seconds) AS INTEGER) * :per_second)"


def new_batch_id() -> str:
    """An id that no other batch has."""
    return secrets.token_hex(6)


class Store:
    """jobs.db, opened. `reads` answers questions; `writing` gives the ledger of a run."""

    def __init__(self, database: Database, path: Path | None, clock: Clock) -> None:
        self._database = database
        self._path = path
        self._clock = clock
        self.reads = Reads(database.conn)
        self.inputs = InputCache(database.conn)
        self.objects = ObjectMemory(database.conn)

    @classmethod
    def open(cls, path: Path, clock: Clock) -> Store:
        """For the one process that holds the batch. Makes the file, or brings an older one up to date."""
        return cls(open_database(path), path, clock)

    @classmethod
    def in_memory(cls, clock: Clock) -> Store:
        """An empty one, for looking at a manifest whose batch does not exist yet."""
        return cls(open_memory(), None, clock)

    @classmethod
    def read_only(cls, path: Path, clock: Clock) -> Store:
        """For looking while a run may hold the batch. BatchError where there is none."""
        return cls(open_readonly(path), path, clock)

    @classmethod
    def binding(cls, path: Path, clock: Clock) -> BatchRecord:
        """What a batch is bound to. BatchError where its first run ended before it could say so."""
        with closing(cls.read_only(path, clock)) as store:
            return store.reads.batch()

    @classmethod
    def provider_of(cls, path: Path, clock: Clock) -> str | None:
        """The provider that a batch is bound to; None where its first run ended before it could say so."""
        with closing(cls.read_only(path, clock)) as store:
            record = store.reads.bound()
        return None if record is None else record.provider

    def is_sound(self) -> bool:
        """Whether every page of the file can be made sense of. Reads all of it."""
        return bool(next(self._database.query("PRAGMA quick_check(1)"))["quick_check"] == "ok")

    def close(self) -> None:
        self._database.close()

    def staging(self) -> Staging:
        """Empty temporary tables for one manifest."""
        return Staging(self._database.conn)

    def bind(
        self,
        *,
        provider: str,
        origin: str,
        manifest: str,
        batch_id: str | None = None,
        created_at: datetime | None = None,
        output_store: str | None = None,
    ) -> BatchRecord:
        """Say, once and for all, what this new batch belongs to, and where its videos go.

        One that is made again keeps its id.
        """
        record = BatchRecord(
            batch_id=batch_id or new_batch_id(),
            provider=provider,
            origin=origin,
            manifest=manifest,
            created_at=created_at or self._clock.utc(),
        )
        with self._database.atomic():
            self._database.execute(
                "INSERT INTO batch VALUES (1, :batch_id, :provider, :origin, :manifest, :created_at)",
                {
                    "batch_id": record.batch_id,
                    "provider": provider,
                    "origin": origin,
                    "manifest": manifest,
                    "created_at": iso(record.created_at),
                },
            )
            if output_store is not None:
                self._database.execute("INSERT INTO output_store VALUES (1, :url)", {"url": output_store})
        return record

    def recovery(self) -> Recovery:
        """Empty temporary tables for what other records tell of this batch."""
        return Recovery(self._database.conn)

    def as_copy(self) -> Copied:
        """What this file tells, where it is a copy of one that is lost."""
        return Copied(self._database.conn)

    @contextmanager
    def together(self) -> Iterator[str]:
        """All of the block's writes or none of them; yields the instant now, as jobs.db holds it."""
        with self._database.atomic():
            yield iso(self._clock.utc())

    def reconcile(self, staging: Staging, intake: Intake | None = None) -> None:
        """The manifest's jobs take the place of those that were; what was paid for stays.

        `intake` is what the next run may go by, if nothing that it stands for has changed by then.
        """
        with self._database.atomic():
            staging.reconcile(iso(self._clock.utc()))
            self.inputs.persist()
            self.objects.persist()
            keep(self._database.conn, intake)

    def mark_placed(self) -> None:
        """Every finished file stands where the jobs want it."""
        with self._database.atomic():
            self._database.execute("INSERT OR REPLACE INTO placed VALUES (1, :now)", {"now": iso(self._clock.utc())})

    def estimate(self, *, per_generation: int, per_second: int) -> None:
        """Say what each pair that is not submitted yet should cost, in micro-USD."""
        with self._database.atomic():
            self._database.execute(
                f"""
                UPDATE pairs SET estimate = {_ESTIMATE} WHERE rowid IN (
                    SELECT rowid FROM pairs INDEXED BY pairs_to_pay
                    WHERE state = 'pending' AND estimate IS NOT {_ESTIMATE}
                    UNION ALL SELECT rowid FROM pairs WHERE estimate IS NULL
                )
                """,
                {"per_generation": per_generation, "per_second": per_second},
            )

    def forget_links(self) -> None:
        """Result links are dead, for their server has moved: each is asked for anew when it is needed."""
        with self._database.atomic():
            self._database.execute("UPDATE pairs SET link = NULL WHERE link IS NOT NULL")

    def begin_run(self) -> int:
        """Record that a process works on the batch. One that never wrote its end is `crashed`."""
        now = iso(self._clock.utc())
        with self._database.atomic():
            self._database.execute(
                "UPDATE runs SET stop_reason = :crashed WHERE ended_at IS NULL", {"crashed": StopReason.CRASHED}
            )
            self._database.execute(
                "INSERT INTO runs (started_at, pid, version, stop_reason) VALUES (:now, :pid, :version, :running)",
                {"now": now, "pid": os.getpid(), "version": VERSION, "running": StopReason.RUNNING},
            )
            return int(next(self._database.query("SELECT last_insert_rowid() AS id"))["id"])

    def end_run(self, number: int, stop_reason: StopReason, exit_code: int) -> None:
        with self._database.atomic():
            self._database.execute(
                "UPDATE runs SET ended_at = :now, stop_reason = :stop_reason, exit_code = :exit_code WHERE id = :id",
                {"now": iso(self._clock.utc()), "stop_reason": stop_reason, "exit_code": exit_code, "id": number},
            )

    @contextmanager
    def writing(self, journal: Journal) -> Iterator[Ledger]:
        """The ledger of a run. `journal` makes lines of run.log durable before the commit that they belong to."""
        writer: Writer
        if self._clock.virtual or self._path is None:
            writer = InlineWriter(self._database.conn, journal)
        else:
            writer = GroupWriter(self._path, connect, journal)
        try:
            yield Ledger(writer, self._clock)
        finally:
            writer.close()
