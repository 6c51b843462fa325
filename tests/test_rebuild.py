"""A lost jobs.db is made again, and nothing is paid for twice: by what the server accepted, and by the files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from command import KEY, environment, run, start
from media_factory import make_video
from other_api import OtherApi, other_api, request_digest

from lipsync_batch import Batch, lock
from lipsync_batch.cli import cli
from lipsync_batch.errors import (
    ActionNeededError,
    BatchError,
    BatchHeldError,
    ManifestError,
    UnreachableError,
    UsageError,
)
from lipsync_batch.jobs import Selection, State
from lipsync_batch.rebuilding import Rebuilt, Wishes
from lipsync_batch.session import Orders, Outcome

FLAGS = {"rate": "1000/s", "typical_seconds": "0.2", "resolve_for": "1.5s", "check": "size"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("film") / "result.mp4", seconds=0.5)


@pytest.fixture
def api(film: Path) -> Iterator[OtherApi]:
    with other_api(film, key=KEY, seconds=0.1) as server:
        yield server


class Project:
    """A manifest of texts, its batch, and what may be said of both."""

    def __init__(self, folder: Path, api: OtherApi) -> None:
        self.folder = folder
        self.api = api
        self.manifest = folder / "spring.csv"
        self.out = folder / "out" / "spring"
        self.state = self.out / "_batch"
        self.env = environment(folder, api.url)

    def writes(self, **texts: str) -> None:
        """The manifest's rows: key and text. A text may name its take behind a `#`."""
        lines = ["key,video,text,speaker,take"]
        for key, said in texts.items():
            text, _, take = said.partition("#")
            lines.append(f"{key},https://media.example/clip.mp4,{text},Emily,{take or 1}")
        self.manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def batch(self) -> Batch:
        return Batch.find(self.manifest, flags=FLAGS, environ=self.env)

    def runs(self, **orders: Any) -> Outcome:
        return self.batch().run(Orders(**orders))

    def rebuilds(self, **wishes: Any) -> Rebuilt:
        lost = Batch.find_lost(self.manifest, flags=FLAGS, environ=self.env)
        return lost.rebuild(Wishes(**wishes))

    def killed(self, *, accepted: int) -> None:
        """A run that is killed once so many submits were accepted; what was on its way ends at the provider."""
        options = ("--rate", "1000/s", "--typical-seconds", "0.2", "--check", "size")
        with start("run", self.manifest, *options, env=self.env, cwd=self.folder) as process:
            until = time.monotonic() + 30
            while len(self.api.tasks) < accepted and time.monotonic() < until:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        time.sleep(0.3)

    def report(self) -> dict[str, Any]:
        return json.loads((self.out / "report.json").read_text())

    def paid(self) -> Counter[str]:
        """How often each text was accepted."""
        return Counter(task.request["lip_sync_tts_content"] for task in self.api.tasks.values())

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.state / "jobs.db")) as database:
            return database.execute(query).fetchall()

    def assert_right(self, jobs: int) -> None:
        """Every job is done, each pair was paid for once, each file is that of its own pair."""
        report = self.report()
        assert report["counts"]["done"] == len(report["jobs"]) == jobs
        assert set(self.paid().values()) == {1}
        of_request = {task.client_request_id: task for task in self.api.tasks.values()}
        for job in report["jobs"]:
            content = (self.out / job["output"]).read_bytes()
            assert content.endswith(request_digest(of_request[job["client_request_id"]].request))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other server has no charges, and some tests let it have no log."""
    monkeypatch.setattr("lipsync_batch.rebuilding.records.PAUSES", (0.0,))


@pytest.fixture
def project(tmp_path: Path, api: OtherApi) -> Project:
    project = Project(tmp_path, api)
    project.writes(**{f"job-{n}": f"Satz {n}" for n in range(8)}, again="Satz 0")
    return project


def lose_database(project: Project) -> None:
    for path in project.state.glob("jobs.db*"):
        path.unlink()


def cut_short(project: Project) -> None:
    database = project.state / "jobs.db"
    os.truncate(database, database.stat().st_size // 2)


def scribble_over(project: Project) -> None:
    with (project.state / "jobs.db").open("r+b") as file:
        file.write(b"\0" * 200)


def scribble_inside(project: Project) -> None:
    """A page in the middle: the file still opens, and some questions are still answered."""
    database = project.state / "jobs.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek(database.stat().st_size // 2 // 4096 * 4096)
        file.write(os.urandom(8192))


def empty(project: Project) -> None:
    lose_database(project)
    (project.state / "jobs.db").touch()


def lose_state(project: Project) -> None:
    shutil.rmtree(project.state)


def lose_both_but_outputs(project: Project) -> None:
    lose_state(project)
    (project.out / "report.json").unlink()


def lose_report_too(project: Project) -> None:
    lose_database(project)
    (project.out / "report.json").unlink(missing_ok=True)


LOSSES = [lose_database, cut_short, scribble_over, scribble_inside, empty, lose_report_too]


@pytest.mark.slow
@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_half_of_a_batch_that_was_lost_midway_is_not_paid_for_again(
    project: Project, lose: Callable[[Project], None]
) -> None:
    """The disk fails in the middle of a night, with videos in place, others at the provider, and more to come."""
    project.runs(selection=Selection(limit=3))
    project.killed(accepted=6)

    lose(project)
    if lose is not scribble_inside:  # which a run may not come across
        with pytest.raises(BatchError, match=r"gone|not a database|cannot be"):
            project.runs()
    rebuilt = project.rebuilds()
    outcome = project.runs()
    if outcome.counts[State.UNCLEAR]:  # the kill came between an intent and its submit: nobody but the server knows
        project.batch().resolve(resubmit=True)
        outcome = project.runs()

    assert rebuilt.in_place == (0 if lose is lose_report_too else 3)
    assert outcome.exit_code == 0
    project.assert_right(jobs=9)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "plan", "status", "retry", "resolve"])
def test_commands_on_a_lost_batch_name_the_remedy(project: Project, command: str) -> None:
    """None of them says that nothing was run yet, or that all of it is to be paid for."""
    project.runs(selection=Selection(limit=1))
    lose_database(project)

    told = CliRunner().invoke(cli, [command, str(project.manifest)], env=project.env)

    assert isinstance(told.exception, BatchError)
    assert told.exception.exit_code == 2
    assert f"`lipsync-batch rebuild {project.manifest}`" in told.exception.hint


@pytest.mark.slow
@pytest.mark.parametrize("orderly", [True, False], ids=["after an orderly end", "after a kill"])
def test_batch_whose_state_is_deleted_midway_is_not_paid_for_again(project: Project, orderly: bool) -> None:
    """Neither run.log nor jobs.db is left; after a kill there may be no report either."""
    if orderly:
        project.runs(selection=Selection(limit=5))
    else:
        project.killed(accepted=5)
    lose_state(project)

    with pytest.raises(ActionNeededError, match="Nothing was changed"):
        project.rebuilds()
    assert not (project.state / "jobs.db").exists()
    rebuilt = project.rebuilds(yes=True)
    outcome = project.runs()

    assert rebuilt.batch_id in {task.client_request_id.split(".")[1] for task in project.api.tasks.values()}
    assert outcome.exit_code == 0
    project.assert_right(jobs=9)


@pytest.mark.slow
def test_videos_in_place_are_neither_fetched_nor_put_aside(project: Project) -> None:
    """500 GB are there already. Without a report they are fetched once more, and what is the same stays where it is."""
    project.runs()
    fetched = len(project.api.cdn_paths)

    lose_database(project)
    assert project.rebuilds().in_place == 8
    project.runs()
    assert len(project.api.cdn_paths) == fetched

    lose_report_too(project)
    assert project.rebuilds().in_place == 0
    project.runs()
    assert len(project.api.cdn_paths) == 2 * fetched
    assert not (project.state / "superseded").exists()
    project.assert_right(jobs=9)


@pytest.mark.slow
@pytest.mark.parametrize("lose", [lose_database, lose_state, lose_both_but_outputs, lose_report_too])
def test_everything_that_may_happen_to_rows_comes_out_as_it_was(
    project: Project, lose: Callable[[Project], None]
) -> None:
    """Renamed, removed and changed rows, a shared pair, another take by hand: all was paid for once, and is known."""
    project.writes(a="eins", b="zwei", c="drei", d="vier", shared="eins")
    project.runs()
    project.batch().redo(["b"], reason="lips late")
    project.writes(a="eins", b="zwei", renamed="drei", shared="eins", d="fünf")
    project.runs(remake=True)
    paid = Counter(eins=1, zwei=2, drei=1, vier=1, fünf=1)
    assert project.paid() == paid
    before = project.report()

    lose(project)
    project.rebuilds(yes=True)
    outcome = project.runs()

    assert outcome.exit_code == 0
    assert project.paid() == paid, "something was paid for again"
    after = project.report()
    same = ("key", "state", "output", "pair", "generation_id", "client_request_id", "attempts", "sha256")
    for job, was in zip(after["jobs"], before["jobs"], strict=True):
        assert [job[name] for name in same] == [was[name] for name in same]
    of_jobs = {job["client_request_id"] for job in after["jobs"]}
    kept = {path.read_bytes()[-64:] for path in (project.state / "superseded").iterdir()}
    unwanted = [task.request for task in project.api.tasks.values() if task.client_request_id not in of_jobs]
    assert kept == set(map(request_digest, unwanted)), "what was paid for is not kept"

    project.writes(a="eins", b="zwei", renamed="drei", shared="eins", d="vier")
    assert project.runs(remake=True).exit_code == 0
    assert project.paid() == paid, "a row that came back was paid for again"


@pytest.mark.slow
def test_attempts_and_setbacks_are_known_again(project: Project) -> None:
    """What failed stays so until `retry`, and no attempt's number is used twice: the provider may know it."""
    said: Counter[str] = Counter()

    def refuse(request: dict[str, Any], handler: Any) -> bool:
        text = request["lip_sync_tts_content"]
        said[text] += 1
        if text == "nie" or (text == "später" and said[text] == 1):
            handler.error(400 if text == "nie" else 429, "not now")
            return True
        return False

    project.api.on_submit = refuse
    project.writes(a="nie", b="später", c="gleich")
    project.runs()
    errors = project.sql("SELECT key, state, error_code FROM jobs JOIN pairs USING (fingerprint) ORDER BY key")
    ledger = project.sql("SELECT client_request_id, live, outcome, quote FROM generations ORDER BY 1")

    lose_database(project)
    project.rebuilds()

    assert project.sql("SELECT client_request_id, live, quote FROM generations ORDER BY 1") == [
        (name, live, quote) for name, live, _, quote in ledger
    ]
    again = project.sql("SELECT key, state, error_code FROM jobs JOIN pairs USING (fingerprint) ORDER BY key")
    assert again == errors
    project.api.on_submit = None
    assert project.batch().retry().resubmitted == 1
    assert project.runs().exit_code == 0
    assert project.paid() == {"nie": 1, "später": 1, "gleich": 1}
    ids = [task.client_request_id for task in project.api.tasks.values()]
    assert sorted(name.rpartition(".")[2] for name in ids) == ["1", "2", "2"]


@pytest.mark.slow
def test_intent_without_a_record_is_unclear(project: Project) -> None:
    """Absence from the provider's log proves nothing: such a pair is not sent again, whoever asks."""
    project.api.lose_answers, project.api.losses = 1.0, ("reset",)
    project.api.log_lag = 1e9
    project.writes(a="eins")
    assert project.runs().exit_code == 1

    lose_database(project)
    rebuilt = project.rebuilds()
    assert rebuilt.counts[State.UNCLEAR] == 1
    project.api.lose_answers = 0.0
    assert project.runs().exit_code == 1
    assert project.paid() == {"eins": 1}

    project.api.log_lag = 0.0
    assert project.runs().exit_code == 0
    project.assert_right(jobs=1)


@pytest.mark.slow
def test_log_alone_is_enough_another_time(project: Project) -> None:
    """A batch that was rebuilt from its report, or from the provider's log, may lose its jobs.db once more."""
    project.runs(selection=Selection(limit=5))
    lose_state(project)
    project.rebuilds(yes=True)
    lose_report_too(project)

    project.env, right = {**project.env, "AIMLAPI_BASE_URL": "http://127.0.0.1:9"}, project.env
    with pytest.raises(BatchError, match="belongs to aimlapi at"):
        project.rebuilds()
    project.env = right
    project.rebuilds()  # with a run.log that is whole there is nothing to ask
    project.runs()

    project.assert_right(jobs=9)


@pytest.mark.slow
def test_copies_from_elsewhere_are_read(project: Project, tmp_path: Path) -> None:
    """The machine is gone: its log was shipped to another one. Nobody but a person knows whether it is the newest."""
    project.runs(selection=Selection(limit=5))
    whole, torn = tmp_path / "shipped.log", tmp_path / "torn.log"
    shutil.copy(project.state / "run.log", whole)
    torn.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    shutil.rmtree(project.out)

    for copy in (torn, whole):
        with pytest.raises(ActionNeededError, match=r"a copy that ends at 20"):
            project.rebuilds(sources=[copy])
    project.rebuilds(sources=[whole], yes=True)
    project.runs()

    project.assert_right(jobs=9)


def copied(project: Project, *, to: Path) -> Path:
    """A sound copy of jobs.db, as docs/rebuild.md has it made."""
    with closing(sqlite3.connect(project.state / "jobs.db")) as database:
        database.execute("VACUUM INTO ?", [str(to)])
    return to


@pytest.mark.slow
def test_copy_of_jobs_db_that_is_behind_is_brought_up_to_date(project: Project, tmp_path: Path) -> None:
    """The disk is lost in the second night, and the copy is of the first: what came since is in the provider's log."""
    project.runs(selection=Selection(limit=3))
    project.batch().redo(["job-0"], reason="lips late")
    copy = copied(project, to=tmp_path / "copy.db")
    project.runs(selection=Selection(limit=4))
    was = {job["key"]: job["client_request_id"] for job in project.report()["jobs"]}
    paid = project.paid()
    videos = list(project.out.glob("*.mp4"))
    lose_both_but_outputs(project)

    with pytest.raises(ActionNeededError, match=r"a copy that ends at 20"):
        project.rebuilds(sources=[copy])
    rebuilt = project.rebuilds(sources=[copy], yes=True)
    project.runs(collect_only=True)

    assert rebuilt.in_place == 3  # this server makes both takes of job-0 alike, to the byte
    assert {job["key"]: job["client_request_id"] for job in project.report()["jobs"]} == was
    assert project.paid() == paid
    assert sorted(project.out.glob("*.mp4")) == sorted(videos)


@pytest.mark.slow
def test_copy_of_jobs_db_beside_the_log_knows_the_videos(project: Project, tmp_path: Path) -> None:
    """run.log names every submit, the copy the checksums: nothing is asked, nothing is fetched."""
    project.runs(selection=Selection(limit=5))
    costs = project.sql("SELECT client_request_id, live, reserve, quote, outcome FROM generations ORDER BY 1")
    copy = copied(project, to=tmp_path / "copy.db")
    lose_report_too(project)
    fetched = len(project.api.cdn_paths)

    rebuilt = project.rebuilds(sources=[copy])
    project.runs(collect_only=True)

    assert rebuilt.in_place == 5
    assert len(project.api.cdn_paths) == fetched
    assert project.sql("SELECT client_request_id, live, reserve, quote, outcome FROM generations ORDER BY 1") == costs


@pytest.mark.slow
def test_log_that_was_cut_short_asks(project: Project) -> None:
    """A file system lost its end: what was submitted then may run still, and be in no log."""
    project.runs(selection=Selection(limit=5))
    lose_database(project)
    log = project.state / "run.log"
    os.truncate(log, log.stat().st_size - 3)

    with pytest.raises(ActionNeededError, match="in the middle of a line"):
        project.rebuilds()
    project.rebuilds(yes=True)
    project.runs()

    project.assert_right(jobs=9)


@pytest.mark.slow
def test_log_whose_beginning_is_gone_still_names_what_was_accepted(project: Project) -> None:
    """It was rotated: answers are left whose intents are not. The provider's log cannot be read besides."""
    project.api.log_status = 403
    project.runs(selection=Selection(limit=5))
    lose_report_too(project)
    log = project.state / "run.log"
    log.write_text("\n".join(line for line in log.read_text().splitlines() if '"intent"' not in line) + "\n")

    with pytest.raises(ActionNeededError, match="does not know 5 submits"):
        project.rebuilds()
    rebuilt = project.rebuilds(yes=True)
    project.runs()

    assert rebuilt.counts[State.PENDING] == 3
    project.assert_right(jobs=9)


@pytest.mark.slow
@pytest.mark.parametrize("readable", [True, False])
def test_log_that_was_emptied_in_the_middle_asks(project: Project, *, readable: bool) -> None:
    """It was rotated: what is left is whole, and knows nothing of the nights before."""
    project.runs(selection=Selection(limit=4))
    (project.state / "run.log").write_bytes(b"")
    project.runs(selection=Selection(limit=3))
    lose_report_too(project)
    project.api.log_status = 200 if readable else 403

    with pytest.raises(ActionNeededError, match="does not reach back to the beginning"):
        project.rebuilds()
    if readable:
        project.rebuilds(yes=True)
        project.runs()
        project.assert_right(jobs=9)


@pytest.mark.slow
def test_log_of_a_rebuilding_that_was_killed_is_not_taken_for_whole(project: Project) -> None:
    """It is completed line by line: half of it knows half of what was paid for."""
    project.runs(selection=Selection(limit=5))
    lose_state(project)
    project.rebuilds(yes=True)
    lose_report_too(project)
    log = project.state / "run.log"
    told = [line for line in log.read_text().splitlines() if '"rebuilt"' not in line]
    log.write_text("\n".join(told[: len(told) // 2]) + "\n")
    project.api.log_status = 403

    with pytest.raises(ActionNeededError, match="does not reach back to the beginning"):
        project.rebuilds()


@pytest.mark.slow
def test_what_was_written_off_and_found_late_is_known_to_the_log(project: Project) -> None:
    """A person had it sent again, and before it was, the first submit was found after all."""
    project.api.lose_answers, project.api.log_lag = 1.0, 1e9
    project.writes(a="eins")
    project.runs()
    project.batch().resolve(resubmit=True)
    project.api.lose_answers = project.api.log_lag = 0.0
    assert project.batch().resolve().adopted
    project.api.log_status = 403
    lose_report_too(project)

    project.rebuilds()
    project.runs()

    project.assert_right(jobs=1)


@pytest.mark.slow
def test_takes_are_known_after_a_second_loss(project: Project) -> None:
    """What the first rebuilding learned of a report, the log tells the second one."""
    project.writes(a="eins", b="zwei")
    project.runs()
    project.batch().redo(["b"], reason="lips late")
    project.runs()
    wanted = [job["client_request_id"] for job in project.report()["jobs"]]
    lose_state(project)
    project.rebuilds(yes=True)
    lose_report_too(project)

    project.rebuilds()
    project.runs()

    assert [job["client_request_id"] for job in project.report()["jobs"]] == wanted
    assert project.paid() == {"eins": 1, "zwei": 2}


@pytest.mark.slow
def test_report_of_another_manifest_is_not_taken_for_ours(project: Project) -> None:
    """--out names the folder of another batch: its videos would be fetched into superseded, and ours paid for there."""
    project.runs(selection=Selection(limit=1))
    lose_database(project)
    other = project.folder / "other.csv"
    shutil.copy(project.manifest, other)

    with pytest.raises(BatchError, match="belongs to another manifest"):
        Batch.find_lost(other, out=project.out, flags=FLAGS, environ=project.env).rebuild(Wishes(yes=True))


@pytest.mark.slow
def test_whole_or_held_jobs_db_is_not_rebuilt(project: Project) -> None:
    """Rebuilding knows less than jobs.db does: where that is whole there is nothing to mend."""
    project.runs()
    before = (project.state / "jobs.db").read_bytes()

    with pytest.raises(BatchError, match="whole") as whole:
        project.rebuilds()
    assert whole.value.exit_code == 2
    assert "lipsync-batch run" in whole.value.hint
    assert (project.state / "jobs.db").read_bytes() == before

    lose_database(project)
    with lock.held(project.state), pytest.raises(BatchHeldError):
        project.rebuilds()
    assert not (project.state / "jobs.db").exists()


@pytest.mark.slow
def test_damaged_file_is_kept_aside(project: Project) -> None:
    project.runs()
    scribble_over(project)
    damaged = (project.state / "jobs.db").read_bytes()

    rebuilt = project.rebuilds()

    assert rebuilt.set_aside is not None
    assert rebuilt.set_aside.read_bytes() == damaged
    assert (project.state / "jobs.db").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in project.state.iterdir() if "rebuild" in path.name) == []


@pytest.mark.slow
def test_another_account_is_not_taken_for_that_of_the_batch(project: Project, film: Path) -> None:
    """With the key of another account, all that is unfinished would be paid for again there."""
    project.runs(selection=Selection(limit=5))
    with (project.state / "run.log").open() as lines:
        kept = [line for line in lines if '"run_started"' not in line]
    (project.state / "run.log").write_text("".join(kept))
    lose_database(project)

    with other_api(film, key=KEY) as stranger:
        project.env = environment(project.folder, stranger.url)
        with pytest.raises(ActionNeededError, match="right key"):
            project.rebuilds()
        assert not stranger.tasks


@pytest.mark.slow
def test_log_names_whom_it_paid(project: Project) -> None:
    project.runs()
    lose_database(project)
    project.env["AIMLAPI_BASE_URL"] = "http://127.0.0.1:9"

    with pytest.raises(BatchError, match="belongs to aimlapi at"):
        project.rebuilds()


@pytest.mark.slow
def test_outage_changes_nothing(project: Project) -> None:
    """Without the provider's records nobody knows what it took since: the command is to be run again."""
    project.runs(selection=Selection(limit=5))
    lose_database(project)
    project.api.on_request = lambda handler: handler.error(502, "down") or True

    with pytest.raises(UnreachableError, match="Nothing was changed") as down:
        project.rebuilds()

    assert down.value.exit_code == 3
    assert not (project.state / "jobs.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 502])
def test_outage_of_the_log_alone_is_waited_for_where_there_is_no_journal(
    project: Project, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No yes may stand for a log that could be read an hour later."""
    monkeypatch.setattr("lipsync_batch.rebuilding.records.THROTTLED", (0.0,))
    project.runs(selection=Selection(limit=5))
    lose_state(project)
    project.api.log_status = status

    with pytest.raises(UnreachableError, match="Nothing was changed"):
        project.rebuilds(yes=True)

    project.api.log_status = 200
    project.rebuilds(yes=True)
    project.runs()
    project.assert_right(jobs=9)


@pytest.mark.slow
@pytest.mark.parametrize("status", [403, 404])
def test_provider_without_a_log_does_not_stand_in_the_way(project: Project, status: int) -> None:
    """Some keys may not read it, and some providers have none: our own journal is enough for what it tells of."""
    project.api.log_status = status
    project.runs(selection=Selection(limit=5))
    lose_database(project)

    rebuilt = project.rebuilds()
    project.runs()

    assert rebuilt.unread[0].startswith("its log: ")
    project.assert_right(jobs=9)


@pytest.mark.slow
def test_several_batches_in_the_log_are_shown_and_asked_about(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same manifest was run into two folders: only a person knows which of them is meant."""
    project.runs(selection=Selection(limit=2))
    shutil.rmtree(project.out)
    project.runs(selection=Selection(limit=3), anew=True)
    batch_id = project.report()["batch_id"]
    shutil.rmtree(project.out)
    monkeypatch.setenv("XDG_STATE_HOME", str(project.folder / "another machine"))

    with pytest.raises(ActionNeededError, match="several batches") as several:
        project.rebuilds(yes=True)
    assert "--batch-id" in several.value.hint
    assert batch_id in str(several.value)
    rebuilt = project.rebuilds(yes=True, batch_id=batch_id)

    assert rebuilt.batch_id == batch_id
    assert rebuilt.counts[State.PENDING] == 5


@pytest.mark.slow
def test_nothing_to_rebuild_from(project: Project) -> None:
    with pytest.raises(ActionNeededError, match="there is nothing to make"):
        project.rebuilds(yes=True)

    assert not (project.state / "jobs.db").exists()


@pytest.mark.slow
def test_files_of_different_batches_are_not_mixed(project: Project, tmp_path: Path) -> None:
    project.runs(selection=Selection(limit=1))
    shutil.copy(project.out / "report.json", tmp_path / "other.json")
    shutil.rmtree(project.out)
    project.runs(selection=Selection(limit=1), anew=True)
    lose_database(project)

    with pytest.raises(BatchError, match="different batches"):
        project.rebuilds(sources=[tmp_path / "other.json"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"SQLite format 3\0", "not a database that can be used"),
        (b"{}", "not a report.json"),
        (b'{"schema_version": 9}', "not a report"),
    ],
)
def test_file_of_another_kind_is_told_of(project: Project, tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "copy").write_bytes(content)

    with pytest.raises((UsageError, BatchError), match=says):
        project.rebuilds(sources=[tmp_path / "copy"])


def test_broken_manifest_is_told_of_first(project: Project) -> None:
    project.manifest.write_text("key,video,text,speaker\na,,x,Emilly\n")

    with pytest.raises(ManifestError, match="Emily"):
        project.rebuilds()


@pytest.mark.slow
def test_batch_folder_names_its_manifest(project: Project) -> None:
    """By its report, for jobs.db is gone. The command says what to do next, and that works."""
    project.runs(selection=Selection(limit=5))
    lose_database(project)

    refused = run("run", project.manifest, env=project.env, cwd=project.folder)
    done = CliRunner().invoke(cli, ["rebuild", str(project.out)], env=project.env)
    after = run("run", project.out, "--check", "size", env=project.env, cwd=project.folder)

    assert refused.returncode == 2
    assert f"lipsync-batch rebuild {project.manifest}" in refused.stderr
    assert done.exit_code == 0, done.output
    assert "5 videos in place" in done.stdout
    assert f"Next: lipsync-batch run {project.out}" in done.stdout
    assert after.returncode == 0
    project.assert_right(jobs=9)


@pytest.mark.slow
def test_rehearsal_is_rebuilt_with_its_costs(tmp_path: Path) -> None:
    """Against the sandbox, whose records outlive jobs.db: what was charged comes from its transactions."""
    project = Project(tmp_path, OtherApi(video=b""))
    project.env = environment(tmp_path, LIPSYNC_BATCH_SANDBOX_OPTIONS="--median 1 --speed-up 20 --log-lag 0")
    make_video(tmp_path / "clip.mp4", seconds=0.5)
    project.writes(a="eins", b="zwei")
    project.manifest.write_text(project.manifest.read_text().replace("https://media.example/", ""))
    project.out = tmp_path / "out" / "spring.sandbox"
    project.state = project.out / "_batch"
    options = ("--sandbox", "--typical-seconds", "0.2")
    assert run("run", project.manifest, *options, env=project.env, cwd=tmp_path).returncode == 0
    cost = project.report()["cost"]
    lose_database(project)

    done = run("rebuild", project.manifest, env=project.env, cwd=tmp_path)
    again = run("run", project.manifest, *options, env=project.env, cwd=tmp_path)

    assert done.returncode == again.returncode == 0, done.stderr + again.stderr
    assert "Charged by now: $0.48" in done.stdout
    assert project.report()["cost"] == cost
    assert project.sql("SELECT count(*), sum(live), sum(reserve) FROM generations") == [(2, 2, 480_000)]


@pytest.mark.slow
def test_rebuilding_that_is_killed_anywhere_changes_nothing(project: Project) -> None:
    """It may be run again, and ends as if it had not been killed."""
    project.runs(selection=Selection(limit=5))
    scribble_over(project)
    script = Path(__file__).with_name("crash_rebuild.py")
    steps = killed_at_some(script, project, share=int(os.environ.get("LIPSYNC_BATCH_ROUNDS", "6")))

    assert steps > 20, "the points of a rebuilding are not seen any more"
    project.runs()
    project.assert_right(jobs=9)


def killed_at_some(script: Path, project: Project, *, share: int) -> int:
    """Kill rebuildings at points spread over their course, the last of them at its end; how many points there are."""

    def rebuild(step: int) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, str(script), str(project.manifest), str(step)]
        return subprocess.run(arguments, env=project.env, capture_output=True, text=True, timeout=60, check=False)

    damaged = (project.state / "jobs.db").read_bytes()

    def damage() -> None:
        for path in project.state.glob("jobs*.db*"):
            path.unlink()
        (project.state / "jobs.db").write_bytes(damaged)

    whole = rebuild(0)
    assert whole.returncode == 0, whole.stderr
    damage()
    steps = int(rebuild(0).stdout.split()[-1])
    for number in range(share):
        damage()
        killed = rebuild(1 + number * (steps - 1) // max(1, share - 1))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        if not project.batch().location.exists or not sound(project):
            assert rebuild(0).returncode == 0
        assert sound(project)
        assert damaged in [path.read_bytes() for path in project.state.glob("jobs.damaged-*.db")]
    return steps


def sound(project: Project) -> bool:
    try:
        return project.sql("SELECT count(*) FROM batch") == [(1,)]
    except sqlite3.DatabaseError:
        return False
