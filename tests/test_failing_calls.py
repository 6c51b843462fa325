"""The n-th call fails, for n = 1, 2, 3, …: the run ends in order, and the next one ends the batch, paid for once.

A disk or a database that cannot be written to is no bug: a full disk at two in the morning must cost neither a video
nor a second payment, and must not end in a traceback.
"""

from __future__ import annotations

import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path

import pytest
from command import KEY
from failing_calls import (
    Answer500,
    Nth,
    Project,
    broken_disk,
    failing_fsync,
    failing_http,
    failing_names,
    failing_sql,
    failing_writes,
    full,
    io_error,
    locked,
    malformed,
    no_space,
    refused,
    reset,
)
from media_factory import make_video
from other_api import OtherApi, other_api

from lipsync_batch.errors import DiskError
from lipsync_batch.events import RunStarted
from lipsync_batch.jobs import State, StopReason
from lipsync_batch.store import connection
from lipsync_batch.store.connection import connect
from lipsync_batch.store.writer import GroupWriter, Statement

pytestmark = pytest.mark.slow

Failing = Callable[[Nth], AbstractContextManager[None]]
Fault = Callable[[], Exception]
DISK = (no_space, broken_disk)
SQL = (locked, full, io_error, malformed)
DATABASE_SHARES = 5
FOR_GOOD_STEP = 5
"""A disk that stays broken is tried at every fifth statement: it differs from a passing fault in what comes after."""
OUTPUTS = {"a": 1, "b": 2, "c": 2}
ARRANGED = {"a": 2, "b": 1, "d": 2, "e": 1}
"""Two swapped, one renamed, one more for a pair that is there: all of it moves of files, and nothing to pay for."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherApi]:
    video = make_video(tmp_path_factory.mktemp("api") / "result.mp4", seconds=0.2)
    with other_api(video, key=KEY, seconds=0.002) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, api: OtherApi) -> Project:
    """A new batch: two pairs, three jobs."""
    project = Project(tmp_path / "project", api)
    project.holds(OUTPUTS)
    return project


def fail_each(
    project: Project,
    failing: Failing,
    faults: Sequence[Fault],
    *,
    numbers: Iterator[int],
    for_good: bool,
    codes: Sequence[int] = (3,),
    **settings: str,
) -> None:
    """Fail the n-th call of a run, by turns with each of the faults, until a run does not get so far."""
    for turn, n in enumerate(numbers):
        trial = project.copy(f"{project.manifest.parent.name}-{n}")
        nth = Nth(n, faults[turn % len(faults)], for_good=for_good)

        with failing(nth):
            ended = trial.run(**settings)

        case = f"call {n}, {nth.struck}: {ended}"
        if ended.code == 0:  # the fault hit what can be missed, such as a line of run.log for people
            trial.assert_whole()
        else:
            assert ended.code in codes or (ended.code == 2 and nth.fault is malformed), case
            if failing is not failing_http:
                assert str(trial.out) in ended.said, case
                assert "run the same command again" in ended.said or "lipsync-batch rebuild" in ended.said, case
        again = trial.run()
        assert again.code == 0, f"{case}; then {again}"
        trial.assert_whole()
        if not nth.reached:
            assert ended.code == 0, case
            return


@pytest.mark.parametrize("share", range(DATABASE_SHARES))
def test_any_statement_may_fail(project: Project, share: int) -> None:
    """Full, broken, locked by a database browser, damaged: at each single statement, of opening, lanes and report."""
    numbers = count(share + 1, DATABASE_SHARES)

    fail_each(project, failing_sql, SQL, numbers=numbers, for_good=False)


def test_database_may_fail_from_any_statement_on(project: Project) -> None:
    """The disk stays full: even what would undo a transaction fails, and so does the record of the run's end."""
    fail_each(project, failing_sql, SQL, numbers=count(1, FOR_GOOD_STEP), for_good=True)


@pytest.mark.parametrize(("for_good", "faults"), [(False, DISK), (True, DISK[::-1])], ids=["once", "for good"])
@pytest.mark.parametrize("failing", [failing_fsync, failing_names, failing_writes])
def test_any_call_to_the_disk_may_fail(
    project: Project, failing: Failing, faults: Sequence[Fault], for_good: bool
) -> None:
    """run.log, parts and their sidecars, outputs, folders, reports: each call once full and once broken."""
    fail_each(project, failing, faults, numbers=count(1), for_good=for_good)


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize(
    ("failing", "faults", "step"),
    [(failing_names, DISK, 1), (failing_fsync, DISK, 1), (failing_sql, SQL, 5)],
    ids=["names", "fsync", "sql"],
)
def test_any_call_may_fail_while_files_are_moved(
    project: Project, failing: Failing, faults: Sequence[Fault], step: int, for_good: bool
) -> None:
    """Swapped, renamed and linked outputs of a finished batch: every video ends where it is wanted, none is lost."""
    assert project.run().code == 0
    project.holds(ARRANGED)

    fail_each(project, failing, faults, numbers=count(1, step), for_good=for_good)


@pytest.mark.parametrize("fault", [refused, reset, Answer500])
def test_any_request_may_fail(project: Project, fault: Fault) -> None:
    """One broken answer is nothing that a run does not get over by itself."""
    fail_each(project, failing_http, [fault], numbers=count(1), for_good=False, codes=())


def test_network_may_fail_from_any_request_on(project: Project) -> None:
    """Nothing comes through any more: the run gives up after its patience, and the next one pays for nothing twice."""
    faults = (refused, reset, Answer500)

    fail_each(
        project,
        failing_http,
        faults,
        numbers=count(1),
        for_good=True,
        codes=(1, 3),
        patience="60s",
        resolve_for="60s",
    )


def test_answer_to_a_submit_is_recorded_though_the_disk_failed_for_a_moment(project: Project) -> None:
    """The provider took the pair, and its answer could not be recorded at first: tried again, and no more is sent."""
    nth = Nth(1, full, only="SET generation_id")

    with failing_sql(nth):
        ended = project.run(max_in_flight="1")

    assert ended.code == 3
    assert "database or disk is full" in ended.said
    assert len(project.charged()) == 1
    assert set(project.states().values()) == {State.PENDING, State.SUBMITTED}


def test_answer_that_can_never_be_recorded_is_looked_for_by_the_next_run(project: Project) -> None:
    """The pair stays `submitting`, and its id is told to whoever reads the output. It is not paid for again."""
    nth = Nth(1, io_error, for_good=True, only="SET generation_id")

    with failing_sql(nth):
        ended = project.run(max_in_flight="1")

    assert ended.code == 3
    assert project.charged()[0].id in ended.said
    assert State.SUBMITTING in project.states().values()
    assert project.run().code == 0
    project.assert_whole()


def test_run_that_lost_only_its_report_is_to_be_run_again(project: Project) -> None:
    """Exit 0 without a report would leave last night's where this night's is looked for."""
    with failing_names(Nth(1, no_space, only="report.json")):
        ended = project.run()

    assert ended.code == 3
    assert set(project.states().values()) == {State.DONE}
    assert not (project.out / "report.json").exists()
    assert project.run().code == 0
    project.assert_whole()


_DIES = """
import os, signal
from lipsync_batch.cli import main
from lipsync_batch.runlog import RunLog

durable = RunLog.durable
def then_die(log, lines):
    durable(log, lines)
    if any('"accepted"' in line for line in lines):
        os.kill(os.getpid(), signal.SIGKILL)
RunLog.durable = then_die
main()
"""


def test_answer_in_the_journal_is_not_in_doubt(project: Project) -> None:
    """Killed between run.log and the commit: the provider's id was written down, so nobody has to look for it."""
    project.holds({"a": 1})
    killed = project.run_alone("-c", _DIES)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list(project.states().values()) == [State.SUBMITTING]
    started: list[RunStarted] = []

    ended = project.run(listen=lambda event: started.append(event) if isinstance(event, RunStarted) else None)

    assert ended.code == 0
    assert started[0].pairs[State.SUBMITTED] == 1
    assert started[0].pairs[State.UNCLEAR] == 0
    project.assert_whole()


@pytest.mark.parametrize("kibibytes", [16, 64, 150])
def test_files_that_may_not_grow_end_the_program_in_order(project: Project, kibibytes: int) -> None:
    """A limit of the system instead of a patch: SQLite's own writes fail, and the command line says so in words."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kibibytes * 1024, kibibytes * 1024))

    ended = project.run_alone("-m", "lipsync_batch", preexec_fn=limit)

    assert ended.returncode == 3, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "run the same command again" in ended.stderr
    assert project.run().code == 0
    project.assert_whole()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_log_of_cron_on_a_full_disk_costs_neither_the_run_nor_its_exit_code(project: Project, stream: str) -> None:
    """`lipsync-batch run spring.csv >> /var/log/spring.log 2>&1`: what cannot be said there is no bug of the run."""
    with Path("/dev/full").open("w") as full_disk:
        ended = project.run_alone("-m", "lipsync_batch", **{stream: full_disk})

    assert ended.returncode == 0, ended.stderr
    project.assert_whole()


INSERT = Statement("INSERT INTO notes (text) VALUES (:text)", {"text": "x" * 100_000}, expect=1)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A database with one table."""
    path = tmp_path / "jobs.db"
    made = connect(path)
    made.execute("CREATE TABLE notes (text TEXT)")
    made.close()
    return path


async def test_put_that_met_a_full_database_can_be_put_again(notes: Path) -> None:
    """SQLite itself says that there is no room; with room again, the same writer writes."""
    limited: list[sqlite3.Connection] = []

    def small(path: Path) -> sqlite3.Connection:
        limited.append(connect(path))
        limited[0].execute("PRAGMA max_page_count = 4")
        return limited[0]

    writer = GroupWriter(notes, small, journal=lambda _: None)
    try:
        with pytest.raises(DiskError, match="full") as error:
            await writer.put(INSERT)
        assert error.value.stop_reason is StopReason.DISK_FULL

        await writer.put(Statement("PRAGMA max_page_count = 4000", {}))
        await writer.put(INSERT)
    finally:
        writer.close()

    reader = connect(notes)
    assert reader.execute("SELECT count(*) FROM notes").fetchone()[0] == 1
    reader.close()


async def test_put_after_one_that_could_not_even_be_undone_is_a_transaction_of_its_own(notes: Path) -> None:
    """A rollback that fails leaves its transaction open; what follows must neither fail for it nor complete it."""
    writer = GroupWriter(notes, connect, journal=lambda _: None)
    try:
        with failing_sql(Nth(4, full, for_good=True)), pytest.raises(DiskError):  # BEGIN, SAVEPOINT, INSERT go well
            await writer.put(INSERT)

        await writer.put(INSERT)
    finally:
        writer.close()

    reader = connect(notes)
    assert reader.execute("SELECT count(*) FROM notes").fetchone()[0] == 1
    reader.close()


def test_closed_connection_lets_go_of_its_lock(notes: Path) -> None:
    """A cursor that is still held somewhere, in a traceback say, must not keep the next run of a process waiting."""
    holding = connect(notes)
    holding.execute("INSERT INTO notes VALUES ('one'), ('two')")
    holding.execute("BEGIN IMMEDIATE")
    cursor = holding.execute("SELECT text FROM notes")
    next(cursor)

    holding.close()

    with sqlite3.connect(notes, timeout=0.0, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
    other.close()


async def test_database_that_another_program_holds_is_told_of_as_such(
    notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone has jobs.db open in a database browser, in the middle of a transaction."""
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.01)
    browser = sqlite3.connect(notes, isolation_level=None)
    browser.execute("BEGIN IMMEDIATE")
    writer = GroupWriter(notes, connect, journal=lambda _: None)
    try:
        with pytest.raises(DiskError, match=r"jobs\.db.*locked") as error:
            await writer.put(INSERT)
        browser.execute("ROLLBACK")

        await writer.put(INSERT)
    finally:
        writer.close()
        browser.close()

    assert error.value.stop_reason is StopReason.DISK_ERROR
    assert "Another program" in error.value.hint


def test_writer_whose_database_cannot_be_opened_says_so_at_once(tmp_path: Path) -> None:
    """Otherwise its first caller would wait for ever for a thread that is gone."""
    with pytest.raises(DiskError, match="unable to open"):
        GroupWriter(tmp_path / "absent" / "jobs.db", connect, journal=lambda _: None)


@pytest.mark.parametrize("fault", [no_space, broken_disk])
def test_lock_does_not_need_room(project: Project, fault: Fault) -> None:
    """Who holds the batch, the first thing that is written, is for people; the lock itself is the kernel's."""
    with failing_writes(Nth(1, fault)):
        assert project.run().code == 0

    project.assert_whole()
