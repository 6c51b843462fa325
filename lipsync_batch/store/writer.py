"""Durable writes in groups: whatever is put while a commit is running goes into the next one.

Each put is a small transaction of its own inside the group: it holds or fails alone. The caller awaits the commit, so
that what it does next (the paid POST, a rename) rests on something that is on disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, Protocol

from lipsync_batch.errors import DiskError, StalePairError

Parameters = Mapping[str, Any]
P = ParamSpec("P")
MAX_GROUP = 512
GATHER_SECONDS = 0.012
"""How long a group is waited for: what is put at about the same time costs one commit."""


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
                hint="Was jobs.db edited while a run was going on? Leave it alone, and run the same command again: "
                "what was paid for is in run.log, and is not paid for twice.",
            )


@dataclass(frozen=True, slots=True)
class Put:
    """Statements that hold together, and lines for run.log that are durable before the commit."""

    statements: Sequence[Statement]
    lines: Sequence[str] = ()

    def execute(self, connection: sqlite3.Connection) -> None:
        for statement in self.statements:
            statement.execute(connection)


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
    """Gathers puts and commits them together; one connection.

    The statements run on the loop's thread, which has nothing to wait for there; what waits for the disk is on another.
    Were all of it there, the two threads would hand Python's lock to each other at every statement, and that costs more
    than the statements do.
    """

    def __init__(
        self, path: Path, connect: Callable[[Path], sqlite3.Connection], journal: Callable[[Sequence[str]], None]
    ) -> None:
        """DiskError where the database cannot be opened."""
        self._connection = connect(path)
        self._patience = int(self._connection.execute("PRAGMA busy_timeout").fetchone()[0])
        """Milliseconds that a lock which another program holds is waited for; on the loop's thread none."""
        self._connection.execute("PRAGMA busy_timeout = 0")
        self._journal = journal
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="jobs.db")
        self._waiting: list[tuple[Put, asyncio.Future[None]]] = []
        self._at_work: asyncio.Task[None] | None = None

    async def put(self, *statements: Statement, lines: Sequence[str] = ()) -> None:
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((Put(statements, lines), done))
        if self._at_work is None:
            self._at_work = asyncio.ensure_future(self._work())
        # Shielded: a caller that is cancelled must not make the writer drop a row that a paid call rests on.
        await asyncio.shield(done)

    def close(self) -> None:
        """Blocks: what a cancelled caller has put is written, too."""
        self._disk.shutdown()
        group, self._waiting = self._waiting, []
        if group:
            held: list[tuple[Put, asyncio.Future[None]]] = []
            try:
                self._connection.execute(f"PRAGMA busy_timeout = {self._patience}")
                with _transaction(self._connection):
                    held = _held(self._connection, group)
                    self._journal([line for put, _ in held for line in put.lines])
            except DiskError as error:
                _tell(group, error)
            else:
                _tell(held)
        self._connection.close()

    async def _work(self) -> None:
        """Commit group after group, each of what was put while the one before was on its way to the disk."""
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_SECONDS)
                if self._waiting:  # else the writer was closed meanwhile, and has written it
                    await self._commit()
        finally:
            self._at_work = None

    async def _commit(self) -> None:
        try:
            await self._begin()
        except Exception as error:  # noqa: BLE001 - a full disk or a broken one: every caller of the group must hear it
            group, self._waiting = self._waiting, []
            _tell(group, error)
            return
        # Not before: until here, `close` writes what waits, though all else may have been cancelled.
        group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
        if group:
            await self._write(group)

    async def _write(self, group: list[tuple[Put, asyncio.Future[None]]]) -> None:
        try:
            held = _held(self._connection, group)
            await self._on_disk(self._make_durable, [line for put, _ in held for line in put.lines])
        except BaseException as error:
            _undo(self._connection)
            if not isinstance(error, Exception):
                raise
            _tell(group, error)
        else:
            _tell(held)

    async def _begin(self) -> None:
        """Nobody else writes while a run goes on. Where someone does, they are waited for, but not by the loop."""
        if self._connection.in_transaction:
            _undo(self._connection)  # the disk did not even let the last one be undone
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except DiskError:
            await self._on_disk(self._begin_patiently)

    def _begin_patiently(self) -> None:
        self._connection.execute(f"PRAGMA busy_timeout = {self._patience}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        finally:
            self._connection.execute("PRAGMA busy_timeout = 0")

    def _make_durable(self, lines: Sequence[str]) -> None:
        self._journal(lines)
        self._connection.execute("COMMIT")

    async def _on_disk(self, step: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Do a step on the other thread. It is over when this returns, however this ends."""
        doing = self._disk.submit(step, *args, **kwargs)
        try:
            await asyncio.wrap_future(doing)
        finally:
            wait([doing])


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or nothing of it."""
    if connection.in_transaction:
        _undo(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        _undo(connection)
        raise


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    """Within a transaction: do what the block does, or nothing of it."""
    connection.execute("SAVEPOINT put")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO put")
            connection.execute("RELEASE put")
        raise
    connection.execute("RELEASE put")


def _undo(connection: sqlite3.Connection) -> None:
    # What failed first is what is told; a connection that was closed meanwhile has nothing to undo.
    with suppress(DiskError, sqlite3.ProgrammingError):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _tell(group: Sequence[tuple[Put, asyncio.Future[None]]], error: Exception | None = None) -> None:
    """Say to those who wait that their puts are on disk, or why not."""
    for _, done in group:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def _held(
    connection: sqlite3.Connection, group: list[tuple[Put, asyncio.Future[None]]]
) -> list[tuple[Put, asyncio.Future[None]]]:
    """Execute a group's puts; those that hold. Others hear why not.

    Almost always all of them hold: then one savepoint does for all, which saves half of a job's statements.
    """
    try:
        with _savepoint(connection):
            for put, _ in group:
                put.execute(connection)
    except (StalePairError, sqlite3.IntegrityError):
        return [(put, done) for put, done in group if _holds(connection, put, done)]
    return group


def _holds(connection: sqlite3.Connection, put: Put, done: asyncio.Future[None]) -> bool:
    """Execute a put in a savepoint of its own, so that one that fails takes nothing else of its group with it."""
    try:
        with _savepoint(connection):
            put.execute(connection)
    except (StalePairError, sqlite3.IntegrityError) as error:
        if not done.done():
            done.set_exception(error)
        return False
    return True
