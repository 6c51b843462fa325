"""Batches that older releases left behind, killed in the middle: the present program goes on with them.

What stands in tests/old_batches is told in its README.md.
"""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import KEY, environment, run
from other_api import OtherApi, Task, other_api, request_digest

from lipsync_batch import exits
from lipsync_batch.batch import Batch
from lipsync_batch.clock import Clock
from lipsync_batch.errors import BatchError, DiskError
from lipsync_batch.store import Store
from lipsync_batch.store.schema import migrations

FOLDER = Path(__file__).parent / "old_batches"
OLD = sorted(path.parent.name for path in FOLDER.glob("*/jobs.db"))
NAMES = [migration.name for migration in migrations._migrations]
"""Every migration of the present program, in order."""
OLDER = [name for name in OLD if "-" not in name and not NAMES[-1].startswith(name)]
"""Batches with jobs in every state, whose schema is not the present one."""


@dataclass(frozen=True, kw_only=True)
class Old:
    """One old batch, laid out as it was on disk, and the server that it belongs to."""

    root: Path
    before: dict[str, dict[str, Any]]
    """Each job as the old program left it, by its key."""
    accepted: dict[str, Task]
    """What the provider had accepted by then, by client request id."""

    @property
    def manifest(self) -> Path:
        return self.root / "spring.csv"

    @property
    def batch(self) -> Path:
        return self.root / "out" / "spring"

    @property
    def database(self) -> Path:
        return self.batch / "_batch" / "jobs.db"

    @property
    def copies(self) -> list[Path]:
        """What was kept of jobs.db before it was changed."""
        return sorted(self.database.parent.glob("jobs.before-*"))

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Each job of the newest report, by its key."""
        return {job["key"]: job for job in json.loads((self.batch / "report.json").read_text())["jobs"]}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[OtherApi]:
    with other_api(FOLDER / OLD[0] / "result.mp4", key=KEY, seconds=0.1) as server:
        yield server


@pytest.fixture(params=OLD)
def old(request: pytest.FixtureRequest, tmp_path: Path, api: OtherApi) -> Old:
    """Each old batch in turn."""
    return unpack(request.param, tmp_path, api)


@pytest.fixture(params=OLDER)
def older(request: pytest.FixtureRequest, tmp_path: Path, api: OtherApi) -> Old:
    """Each batch of an earlier schema, with jobs in every state."""
    return unpack(request.param, tmp_path, api)


def unpack(name: str, root: Path, api: OtherApi) -> Old:
    """Lay a batch out, and let the server know what it had accepted. The server's address is all that is edited."""
    source, state = FOLDER / name, root / "out" / "spring" / "_batch"
    state.mkdir(parents=True, mode=0o700)
    shutil.copyfile(source / "spring.csv", root / "spring.csv")
    shutil.copyfile(source / "jobs.db", state / "jobs.db")
    (state / "jobs.db").chmod(0o600)
    server = json.loads((source / "server.json").read_text(encoding="utf-8"))
    api.video = (source / "result.mp4").read_bytes()
    for task in server["tasks"]:
        api.tasks[task["id"]] = Task(**task, due=0.0, statuses=[], done_status="completed")
    for path, task_id in server["files"].items():
        file = root / "out" / "spring" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(api.film(task_id))
    with closing(sqlite3.connect(state / "jobs.db")) as database, database:
        database.execute("UPDATE batch SET origin = ?", [api.url])
        database.execute("UPDATE pairs SET link = replace(link, ?, ?)", [server["url"], api.url])
    accepted = {task.client_request_id or "": task for task in api.tasks.values()}
    return Old(root=root, before=jobs_of(state / "jobs.db"), accepted=accepted)


def jobs_of(path: Path) -> dict[str, dict[str, Any]]:
    """What every schema knows of a job, asked with nothing but SQLite."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute(
            """
            SELECT key, output, fingerprint, state, live, generation_id, client_request_id FROM jobs
            JOIN pairs USING (fingerprint) LEFT JOIN generations USING (fingerprint)
            """
        ).fetchall()
    return {row["key"]: dict(row) for row in rows}


def contents(path: Path, tables: Collection[str]) -> dict[str, list[Any]]:
    """Every row of the tables; and the file is whole."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("PRAGMA foreign_key_check").fetchone() is None
        return {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


def schema(path: Path) -> tuple[set[str], list[str]]:
    """The tables of a database, and the migrations that it has seen."""
    with closing(sqlite3.connect(path)) as database:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        applied = [row[0] for row in database.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]
    return tables - {"_sqlite_migrations"}, applied


def go_on(old: Old, api: OtherApi, *arguments: object) -> int:
    """`run` as whoever has updated the program calls it; the exit code."""
    env = environment(old.root, api.url)
    options = ("--resolve-for", "1s", "--rate", "200/s", "--typical-seconds", "0.2")
    ended = run("run", old.manifest, *options, *arguments, env=env, cwd=old.root)
    assert ended.returncode != exits.BUG, ended.stderr
    return ended.returncode


def paid_now(old: Old, api: OtherApi) -> list[str]:
    """The pairs that were accepted since the old program died: the 24 digits of each, sorted."""
    ids = [task.client_request_id or "" for task in api.tasks.values() if task.client_request_id not in old.accepted]
    return sorted(request_id.split(".")[2] for request_id in ids)


def pairs(jobs: Iterable[dict[str, Any]]) -> list[str]:
    """The pairs that jobs want, each once, as `paid_now` names them."""
    return sorted({job["fingerprint"].partition(":")[2][:24] for job in jobs})


@pytest.mark.slow
def test_old_batch_is_finished_and_nothing_is_paid_for_twice(old: Old, api: OtherApi) -> None:
    """An update in the middle of a batch: done stays, what runs is collected, wanted or not, the rest is paid for."""
    before = list(old.before.values())
    done = {job["generation_id"] for job in before if job["state"] == "done"}
    pending = [job for job in before if job["state"] == "pending"]
    failed = [job for job in before if job["state"] == "failed"]
    free_to_retry = [job for job in failed if not job["live"]]
    doubtful = [job for job in before if job["state"] in ("unclear", "submitting")]
    unheard = {job["key"] for job in doubtful if job["client_request_id"] not in old.accepted}
    wanted = {job["client_request_id"] for job in before}
    unwanted = [task for request_id, task in old.accepted.items() if request_id not in wanted]
    standing = {path: path.stat().st_ino for path in old.batch.rglob("*.mp4")}

    code = go_on(old, api)
    assert (code, paid_now(old, api)) == (1 if failed or unheard else 0, pairs(pending))
    code = go_on(old, api, "--retry-failed")
    assert (code, paid_now(old, api)) == (1 if unheard else 0, pairs(pending + free_to_retry))

    jobs = old.jobs()
    assert {key for key, job in jobs.items() if job["state"] == "done"} == set(old.before) - unheard
    assert {key for key, job in jobs.items() if job["state"] == "unclear"} == unheard
    assert not [task for task in api.tasks.values() if task.id in done and task.polls]
    assert {path: path.stat().st_ino for path in standing} == standing
    tasks = {task.client_request_id: task for task in api.tasks.values()}
    for job in (job for job in jobs.values() if job["state"] == "done"):
        content = (old.batch / job["output"]).read_bytes()
        assert content.endswith(request_digest(tasks[job["client_request_id"]].request))
    aside = [path.read_bytes() for path in old.batch.glob("_batch/superseded/*")]
    assert aside == [api.film(task.id) for task in unwanted]


def test_old_ledger_is_kept_whole_beside_the_new_one(older: Old) -> None:
    """Whoever has to go back to the old release finds its jobs.db, for its owner alone; one, not one a start."""
    tables, applied = schema(older.database)
    rows = contents(older.database, tables)

    for _ in range(2):
        Store.open(older.database, Clock()).close()

    (copy,) = older.copies
    assert copy.stat().st_mode & 0o777 == 0o600
    assert schema(copy) == (tables, applied)
    assert contents(copy, tables) == rows
    assert schema(older.database)[1] == NAMES
    assert contents(older.database, tables) == rows


def test_looking_at_an_old_batch_changes_nothing(older: Old) -> None:
    """After an update, `plan` comes before `run`; and `status` may be called while a run holds the batch."""
    before = older.database.read_bytes()
    origin = Batch.find_existing(older.batch, environ={}).status().batch.origin

    for named in (older.manifest, older.batch):
        batch = Batch.find_existing(named, environ={"AIMLAPI_BASE_URL": origin})
        jobs = sum(batch.status().counts.values())
        assert jobs == batch.plan().jobs > 0
        assert len(json.loads(batch.report().json.read_text())["jobs"]) == jobs

    assert not older.copies
    assert older.database.read_bytes() == before
    assert schema(older.database)[1] != NAMES


@pytest.mark.parametrize("named", ["manifest", "batch"])
def test_failed_jobs_of_an_old_batch_can_be_retried_at_once(older: Old, named: str) -> None:
    """`retry` is often the first command after an update, by manifest or by folder: it brings the batch up to date."""
    again = Batch.find_existing(getattr(older, named), environ={}).retry()

    assert (again.polled, again.resubmitted) == (1, 2)
    assert schema(older.database)[1] == NAMES


def test_batch_of_a_newer_release_is_refused(older: Old, api: OtherApi) -> None:
    """Its tables may mean what this release does not know: nothing is sent, nothing is changed."""
    with closing(sqlite3.connect(older.database)) as database, database:
        row = ("lipsync-batch", "m999_of_a_later_year", "2040-01-01 00:00:00.000000+00:00")
        database.execute("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, ?)", row)
    environ = environment(older.root, api.url)

    for verb in (Batch.status, Batch.report, Batch.plan, Batch.retry, Batch.run):
        with pytest.raises(BatchError, match="newer version") as caught:
            verb(Batch.find(older.manifest, environ=environ))
        assert "pip install -U" in caught.value.hint

    assert not [task for task in api.tasks.values() if task.polls or task.client_request_id not in older.accepted]
    assert not older.copies


def test_batch_that_was_killed_before_it_began_says_so(tmp_path: Path) -> None:
    """Of a jobs.db that is there but empty, `status` and `run FOLDER` must not speak of a bug."""
    folder = tmp_path / "out" / "spring"
    Store.open(folder / "_batch" / "jobs.db", Clock()).close()

    with pytest.raises(BatchError, match="ended before it began") as caught:
        Batch.find_existing(folder, environ={})

    assert "lipsync-batch run MANIFEST" in caught.value.hint


# What may come between


@pytest.mark.slow
def test_update_that_is_killed_leaves_a_whole_ledger(older: Old) -> None:
    """kill -9 at any moment of the first start after an update: the ledger is the old one or the new one, and whole."""
    tables, applied = schema(older.database)
    rows = contents(older.database, tables)

    left = broken_updates("killed", older)

    assert [code for _, code in left[:-1]] == [-signal.SIGKILL] * (len(left) - 1)
    assert len(left) > 20
    for folder, _ in left:
        path = folder / "jobs.db"
        assert schema(path)[1] in (applied, NAMES)
        assert contents(path, tables) == rows
        assert all(contents(copy, tables) == rows for copy in folder.glob("jobs.before-*.db"))
        Store.open(path, Clock()).close()
        assert (schema(path)[1], contents(path, tables)) == (NAMES, rows)
        (copy,) = folder.glob("jobs.before-*")
        assert schema(copy) == (tables, applied)


@pytest.mark.slow
def test_update_on_a_full_disk_leaves_the_ledger_as_it_was(older: Old) -> None:
    """The copy, or the new tables, find no room: that is no damage, and with room the same command works."""
    tables, applied = schema(older.database)
    rows = contents(older.database, tables)
    size = older.database.stat().st_size

    left = broken_updates("full", older, 1_000, size // 2, size - 1, 2 * size)

    assert [code for _, code in left] == [DiskError.exit_code] * 3 + [0]
    for folder, code in left:
        path = folder / "jobs.db"
        assert schema(path)[1] == (applied if code else NAMES)
        assert contents(path, tables) == rows
        assert not list(folder.glob("*.part"))
        Store.open(path, Clock()).close()
        assert (schema(path)[1], contents(path, tables)) == (NAMES, rows)


def broken_updates(how: str, old: Old, *sizes: int) -> list[tuple[Path, int]]:
    """The folders that broken updates of an old jobs.db left, each with the exit code."""
    script = Path(__file__).with_name("broken_updates.py")
    command = [sys.executable, script, how, old.database, old.root / how, *map(str, sizes)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = (line.rpartition(" ") for line in done.stdout.splitlines())
    return [(Path(folder), int(code)) for folder, _, code in lines]
