"""Durable writes in groups: SQL on the loop's thread, the disk's wait on another."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lipsync_batch.errors import StalePairError
from lipsync_batch.store.connection import connect
from lipsync_batch.store.writer import GroupWriter, Statement


def insert(text: str) -> Statement:
    return Statement("INSERT INTO notes VALUES (:text)", {"text": text}, expect=1)


NOT_THERE = Statement("UPDATE notes SET text = 'x' WHERE text = :text", {"text": "not there"}, expect=1)


class Disk:
    """What becomes durable, in order; a commit may be held up."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.threads: set[int] = set()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def journal(self, lines) -> None:
        self.may_go_on.wait(10.0)
        self.groups.append(list(lines))
        self.threads.add(threading.get_ident())


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    with sqlite3.connect(path) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE notes (text TEXT UNIQUE)")
    return path


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.may_go_on.set()


def written(path: Path) -> set[str]:
    with sqlite3.connect(path) as look:
        return {text for (text,) in look.execute("SELECT text FROM notes")}


async def test_what_is_put_at_about_the_same_time_costs_one_commit(notes: Path, disk: Disk) -> None:
    """A hundred pairs that move together wait for the disk once; and the loop's thread does not wait at all."""
    writer = GroupWriter(notes, connect, disk.journal)

    await asyncio.gather(*(writer.put(insert(str(n)), lines=[str(n)]) for n in range(100)))
    writer.close()

    assert len(disk.groups) == 1
    assert disk.threads != {threading.get_ident()}
    assert len(written(notes)) == 100


async def test_put_that_fails_takes_nothing_else_with_it(notes: Path, disk: Disk) -> None:
    """One pair that is not in the state it was thought in must not undo what others did."""
    writer = GroupWriter(notes, connect, disk.journal)

    results = await asyncio.gather(
        writer.put(insert("a"), lines=["a"]),
        writer.put(insert("b"), NOT_THERE, lines=["b"]),
        writer.put(insert("a"), lines=["again"]),
        writer.put(insert("c"), lines=["c"]),
        return_exceptions=True,
    )
    writer.close()

    assert [type(result) for result in results] == [type(None), StalePairError, sqlite3.IntegrityError, type(None)]
    assert written(notes) == {"a", "c"}
    assert disk.groups == [["a", "c"]]


async def test_nobody_hears_of_a_put_before_it_is_on_disk(notes: Path, disk: Disk) -> None:
    """The paid call that follows rests on it."""
    writer = GroupWriter(notes, connect, disk.journal)
    disk.may_go_on.clear()
    put = asyncio.ensure_future(writer.put(insert("a")))
    await asyncio.sleep(0.05)

    assert not put.done()
    assert written(notes) == set()

    disk.may_go_on.set()
    await put
    assert written(notes) == {"a"}
    writer.close()


async def test_put_of_a_caller_that_was_cancelled_is_written(notes: Path, disk: Disk) -> None:
    """The answer to a paid call is recorded, whoever has stopped waiting for that."""
    writer = GroupWriter(notes, connect, disk.journal)
    put = asyncio.ensure_future(writer.put(insert("a")))
    await asyncio.sleep(0)
    put.cancel()
    with suppress(asyncio.CancelledError):
        await put

    writer.close()

    assert written(notes) == {"a"}


def test_put_that_waits_for_another_program_is_written_though_everything_is_cancelled(notes: Path, disk: Disk) -> None:
    """Its caller was cancelled with the loop; what it told the writer may be all that is known of a paid call."""
    holder = sqlite3.connect(notes, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    writer = GroupWriter(notes, connect, disk.journal)

    async def put() -> None:
        task = asyncio.ensure_future(writer.put(insert("a")))
        await asyncio.sleep(0.2)
        assert not task.done()
        threading.Timer(0.2, holder.execute, ["ROLLBACK"]).start()

    asyncio.run(put())
    writer.close()
    holder.close()

    assert written(notes) == {"a"}


async def test_what_is_put_while_a_commit_is_on_its_way_goes_into_the_next(notes: Path, disk: Disk) -> None:
    """It must not slip into a transaction that is being committed, nor be lost when the writer is closed."""
    writer = GroupWriter(notes, connect, disk.journal)
    disk.may_go_on.clear()
    first = asyncio.ensure_future(writer.put(insert("a"), lines=["a"]))
    await asyncio.sleep(0.05)
    second = asyncio.ensure_future(writer.put(insert("b"), lines=["b"]))
    await asyncio.sleep(0)
    disk.may_go_on.set()
    await first

    writer.close()

    assert disk.groups == [["a"], ["b"]]
    assert written(notes) == {"a", "b"}
    await second
