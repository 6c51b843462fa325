"""Durable writes in groups: whatever is put while a commit is running goes into the next one.

Each put is a small transaction of its own inside the group: it holds or fails alone. The caller awaits the commit, so
that what it does next (the paid POST, a rename) rests on something that is on disk.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lipsync_batch.errors import DiskError, StalePairError

Parameters = Mapping[str, Any]
MAX_GROUP = 512


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement. With `expect`, exactly so many rows must change, or the put fails whole."""

    sql: str
    parameters: Parameters
    expect: int | None = None

    def execute(self, connection: sqlite3.Connection) -> None:
        """Run it; StalePairError where other than the expected rows changed."""
        changed = connection.execute(self.sql, self.parameters).rowcount
        if self.expect is not None and changed != self.expect:
            raise StalePairError(
                f"jobs.db: {changed} rows changed instead of {self.expect}, for {dict(self.parameters)}",
                hint="Was jobs.db edited while a run was going on?",
            )


@dataclass(frozen=True, slots=True)
class Put:
    """Statements that hold together, and lines for run.log that are durable before the commit."""

    statements: Sequence[Statement]
    lines: Sequence[str] = ()

    def execute(self, connection: sqlite3.Connection) -> None:
        """Run inside a savepoint: a put that fails takes nothing else of its group with it."""
        connection.execute("SAVEPOINT put")
        try:
            for statement in self.statements:
                statement.execute(connection)
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK TO put")
                connection.execute("RELEASE put")
            raise
        connection.execute("RELEASE put")


class Writer(Protocol):
    """Where the moves of a run are written."""

    async def put(self, *statements: Statement, lines: Sequence[str] = ()) -> None:
        """Write, and return once it is on disk.

        StalePairError where `expect` was not met; DiskError where jobs.db or run.log could not be written: then nothing
        was changed, and the same put may be tried again.
        """

    def close(self) -> None:
        """Write what is waiting, then let go of the database."""


class InlineWriter:
    """Commits at once, on the caller's thread: for virtual time, where no thread may be waited for."""

    def __init__(self, connection: sqlite3.Connection, journal: Callable[[Sequence[str]], None]) -> None:
        self._connection = connection
        self._journal = journal

    async def put(self, *statements: Statement, lines: Sequence[str] = ()) -> None:
        with _transaction(self._connection):
            Put(statements, lines).execute(self._connection)
            self._journal(lines)

    def close(self) -> None:
        """Nothing waits here."""


class GroupWriter:
    """One thread, one connection: gathers puts and commits them together."""

    def __init__(
        self, path: Path, connect: Callable[[Path], sqlite3.Connection], journal: Callable[[Sequence[str]], None]
    ) -> None:
        """DiskError where the database cannot be opened."""
        self._queue: queue.SimpleQueue[tuple[Put, Future[None]] | None] = queue.SimpleQueue()
        self._journal = journal
        opened: Future[None] = Future()
        arguments = (path, connect, opened)
        self._thread = threading.Thread(target=self._work, args=arguments, name="jobs.db writer", daemon=True)
        self._thread.start()
        opened.result()

    async def put(self, *statements: Statement, lines: Sequence[str] = ()) -> None:
        done: Future[None] = Future()
        self._queue.put((Put(statements, lines), done))
        # Shielded: a caller that is cancelled must not make the writer drop a row that a paid call rests on.
        await asyncio.shield(asyncio.wrap_future(done))

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _work(self, path: Path, connect: Callable[[Path], sqlite3.Connection], opened: Future[None]) -> None:
        try:
            connection = connect(path)
        except BaseException as error:  # noqa: BLE001 - whoever made the writer waits to hear it
            opened.set_exception(error)
            return
        opened.set_result(None)
        try:
            while (group := self._gather()) is not None:
                self._commit(connection, group)
        finally:
            connection.close()

    def _gather(self) -> list[tuple[Put, Future[None]]] | None:
        """Wait for one put, then take all that came meanwhile. None when the writer is to end."""
        first = self._queue.get()
        if first is None:
            return None
        group = [first]
        with suppress(queue.Empty):
            while len(group) < MAX_GROUP:
                item = self._queue.get_nowait()
                if item is None:
                    self._queue.put(None)  # end after this group
                    break
                group.append(item)
        return group

    def _commit(self, connection: sqlite3.Connection, group: list[tuple[Put, Future[None]]]) -> None:
        held: list[tuple[Put, Future[None]]] = []
        try:
            with _transaction(connection):
                for put, done in group:
                    if _holds(connection, put, done):
                        held.append((put, done))
                self._journal([line for put, _ in held for line in put.lines])
        except Exception as error:  # noqa: BLE001 - a full disk or a broken one: every caller of the group must hear it
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
            return
        for _, done in held:
            done.set_result(None)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or nothing of it."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")  # the disk did not even let the last one be undone
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(DiskError):  # what failed first is what is told
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _holds(connection: sqlite3.Connection, put: Put, done: Future[None]) -> bool:
    try:
        put.execute(connection)
    except (StalePairError, sqlite3.IntegrityError) as error:
        done.set_exception(error)
        return False
    return True
