"""A run as a user sees it from outside: errors before anything is sent, questions of money, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command import environment, run
from media_factory import make_video
from other_api import other_api

from lipsync_batch import exits
from lipsync_batch.batch import Batch
from lipsync_batch.deadline import deadline
from lipsync_batch.errors import ActionNeededError, ManifestError, UsageError
from lipsync_batch.jobs import Selection, State, StopReason
from lipsync_batch.session import Orders

NONE = dict.fromkeys(State, 0)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_video(tmp_path / "clip.mp4")
    return tmp_path


def write(project: Path, texts: list[str], *, name: str = "spring.csv") -> Path:
    """A manifest of one clip with these texts."""
    manifest = project / name
    rows = [f"job-{number},clip.mp4,{text},Emily" for number, text in enumerate(texts)]
    manifest.write_text("\n".join(["key,video,text,speaker", *rows]), encoding="utf-8")
    return manifest


@pytest.mark.parametrize(
    ("reason", "counts", "faults", "code"),
    [
        pytest.param(StopReason.FINISHED, {State.DONE: 3}, {}, 0, id="all done"),
        pytest.param(StopReason.FINISHED, {State.DONE: 3, State.FAILED: 1}, {}, 1, id="one failed"),
        pytest.param(StopReason.FINISHED, {State.UNCLEAR: 1}, {}, 1, id="one unclear"),
        pytest.param(StopReason.FINISHED, {State.DONE: 3}, {"skipped": 1}, 1, id="one skipped"),
        pytest.param(StopReason.DEADLINE, {State.SUBMITTED: 1, State.FAILED: 1}, {}, 3, id="deadline"),
        pytest.param(StopReason.BUDGET, {State.PENDING: 1, State.FAILED: 1}, {}, 5, id="budget"),
        pytest.param(StopReason.BUDGET, {}, {"manifest_errors": True}, 2, id="manifest before budget"),
        pytest.param(StopReason.TERMINATED, {}, {"manifest_errors": True}, 143, id="signal before all"),
    ],
)
def test_most_urgent_exit_code_counts(reason: StopReason, counts: dict, faults: dict, code: int) -> None:
    """Cron decides by it."""
    faults = {"manifest_errors": False, "skipped": 0, **faults}

    assert exits.exit_code(reason, {**NONE, **counts}, **faults) == code


def test_deadline_is_the_next_such_hour() -> None:
    """A job that starts at 22:00 and must be done by 06:00."""
    from datetime import datetime

    night = datetime(2026, 5, 1, 22, 0).astimezone()

    assert deadline("06:00", night).astimezone().strftime("%d %H:%M") == "02 06:00"
    assert deadline("23:30", night).astimezone().strftime("%d %H:%M") == "01 23:30"
    assert (deadline("8h", night) - night).total_seconds() == 8 * 3600


def test_manifest_errors_come_before_a_missing_key_and_leave_nothing_behind(project: Path) -> None:
    """All errors at once, and no batch folder for a batch that never was."""
    manifest = project / "spring.csv"
    manifest.write_text("key,video,text,speaker\na,gone.mp4,Hi,Emily\nb,clip.mp4,,Emily\n", encoding="utf-8")

    with pytest.raises(ManifestError) as caught:
        Batch.find(manifest, environ={}).run()

    message = str(caught.value)
    assert "row 1" in message
    assert '"' in message
    assert "gone.mp4" in message
    assert "row 2" in message
    assert not (project / "out").exists()


def test_missing_key_is_told_with_the_remedy(project: Path) -> None:
    """Exit 5, and nothing left behind."""
    with pytest.raises(ActionNeededError) as caught:
        Batch.find(write(project, ["Hi"]), environ={}).run()

    assert "AIMLAPI_API_KEY" in caught.value.hint
    assert not (project / "out").exists()


@pytest.mark.slow
def test_errors_in_the_manifest_of_an_old_batch_still_let_it_collect(project: Path) -> None:
    """What was paid for is fetched; what is wrong is told; nothing new is submitted."""
    with other_api(project / "clip.mp4", seconds=1.5) as api:
        env = environment(project, api.url)
        manifest = write(project, ["one", "two"])
        hurried = ("--finish-by", "1s", "--typical-seconds", "0.2s")
        assert run("run", manifest, *hurried, env=env, cwd=project).returncode == 3
        write(project, ["one", "two", " "])

        ended = run("run", manifest, env=env, cwd=project)

        assert ended.returncode == 2
        assert "row 3" in ended.stderr
        assert len(api.tasks) == 2
        report = json.loads((project / "out" / "spring" / "report.json").read_text())
        assert report["counts"]["done"] == 2


@pytest.mark.slow
def test_budget_without_a_price_is_an_error_before_anything_is_sent(project: Path) -> None:
    """A limit that cannot be kept is worse than none."""
    with other_api(project / "clip.mp4") as api:
        environ = environment(project, api.url)
        manifest = write(project, ["one", "two"])

        with pytest.raises(UsageError, match="budget"):
            Batch.find(manifest, environ=environ, flags={"budget": "1"}).run()
        priced = Batch.find(manifest, environ=environ, flags={"budget": "0.30", "price_per_job": "0.24"}).run()

        assert priced.stop_reason is StopReason.BUDGET
        assert priced.exit_code == 5
        assert len(api.tasks) == 1


@pytest.mark.slow
def test_collecting_needs_no_price_and_announces_no_cost(project: Path) -> None:
    """What was paid for is fetched, whatever the price list says today."""
    with other_api(project / "clip.mp4") as api:
        said: list[str] = []
        manifest = write(project, ["one", "two"])
        batch = Batch.find(manifest, environ=environment(project, api.url), flags={"budget": "1"})

        ended = batch.run(Orders(collect_only=True), say=said.append)

        assert ended.counts[State.PENDING] == 2
        assert said[0].endswith("2 jobs, nothing to pay for")


@pytest.mark.slow
def test_retrying_a_part_leaves_the_other_failures_alone(project: Path) -> None:
    """Who takes up the German ones again has not asked for the French ones: the next run would pay for those."""
    manifest = project / "spring.csv"
    rows = [f"{language},clip.mp4,Hi in {language},Emily,{language}" for language in ("de", "fr")]
    manifest.write_text("\n".join(["key,video,text,speaker,language", *rows]), encoding="utf-8")
    with other_api(project / "clip.mp4") as api:
        environ = environment(project, api.url)
        api.on_submit = lambda _, handler: handler.answer(400, {"message": "not now", "statusCode": 400}) or True
        assert Batch.find(manifest, environ=environ).run().counts[State.FAILED] == 2
        api.on_submit = lambda *_: False

        german = Orders(selection=Selection(where={"language": "de"}), retry_failed=True)
        ended = Batch.find(manifest, environ=environ).run(german)

        assert (ended.counts[State.DONE], ended.counts[State.FAILED]) == (1, 1)


@pytest.mark.slow
def test_remaking_most_of_a_finished_batch_asks_first(project: Path) -> None:
    """A speaker changed in one cell of the defaults would pay for everything again."""
    with other_api(project / "clip.mp4") as api:
        environ = environment(project, api.url)
        manifest = write(project, [f"text {number}" for number in range(8)])
        assert Batch.find(manifest, environ=environ).run().exit_code == 0
        write(project, [f"other {number}" for number in range(8)])

        with pytest.raises(ActionNeededError, match="8 of 8"):
            Batch.find(manifest, environ=environ).run()
        assert len(api.tasks) == 8
        assert Batch.find(manifest, environ=environ).run(Orders(remake=True)).exit_code == 0

        assert len(api.tasks) == 16
        superseded = project / "out" / "spring" / "_batch" / "superseded"
        assert len(list(superseded.iterdir())) == 8


@pytest.mark.slow
def test_retry_submits_what_the_provider_gave_up_uncharged(project: Path) -> None:
    """A failed generation costs nothing: `retry`, then `run`, makes it again."""
    with other_api(project / "clip.mp4") as api:
        failing = [True]

        def poll(task, handler) -> bool:
            if failing:
                error = {"detail": [{"loc": ["body"], "msg": "Could not detect face", "type": "face_detection_error"}]}
                handler.answer(200, {"id": task.id, "status": "error", "error": error})
            return bool(failing)

        api.on_poll = poll
        env = environment(project, api.url)
        manifest = write(project, ["one"])
        first = run("run", manifest, env=env, cwd=project)
        assert first.returncode == 1, first.stderr
        assert "Could not detect face" in first.stderr
        failing.clear()

        again = run("retry", manifest, env=env, cwd=project)
        last = run("run", manifest, env=env, cwd=project)

        assert "0 to be polled again, 1 to be submitted again" in again.stdout
        assert last.returncode == 0, last.stderr
        assert len(api.tasks) == 2


@pytest.mark.slow
def test_state_folder_elsewhere_is_found_again(project: Path) -> None:
    """Outputs on a network drive, jobs.db on a local disk."""
    with other_api(project / "clip.mp4") as api:
        env = environment(project, api.url)
        manifest = write(project, ["one"])
        ended = run("run", manifest, "--state", project / "local", env=env, cwd=project)
        assert ended.returncode == 0, ended.stderr

        glance = run("status", project / "out" / "spring", env=env, cwd=project)

        assert "1 of 1 jobs done" in glance.stdout
        assert list((project / "local").glob("spring-*/jobs.db"))
        assert not (project / "out" / "spring" / "_batch" / "jobs.db").exists()


@pytest.mark.slow
def test_full_disk_behind_the_output_is_no_bug(project: Path) -> None:
    """`lipsync-batch status > log` on a full disk: what was done is done, and no traceback says otherwise."""
    manifest = write(project, ["Hallo."])
    run("run", manifest, "--sandbox", "-q", env=environment(project), cwd=project)

    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "lipsync_batch", "status", str(manifest)],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(project),
            cwd=project,
            check=False,
        )

    assert ended.returncode == 1
    assert b"Traceback" not in ended.stderr


def test_selection_that_fits_no_job_is_an_error(project: Path) -> None:
    """A typo in a cron line must not report success."""
    with other_api(project / "clip.mp4") as api:
        environ = environment(project, api.url)
        manifest = write(project, ["one"])

        with pytest.raises(UsageError, match='no job has a label "language"'):
            Batch.find(manifest, environ=environ).run(Orders(selection=Selection(where={"language": "zz"})))

        assert api.tasks == {}


@pytest.mark.parametrize(
    ("jobs", "flags", "asked"),
    [
        pytest.param(50, {}, [], id="fifty"),
        pytest.param(51, {}, ["Pay for 51 videos, about $12.24, without a budget?"], id="one more"),
        pytest.param(51, {"budget": "20"}, [], id="budget"),
        pytest.param(51, {"limit": 50}, [], id="limit"),
        pytest.param(51, {"collect_only": True}, [], id="nothing is submitted"),
    ],
)
def test_many_paid_pairs_without_a_budget_are_asked_about(
    project: Path, jobs: int, flags: dict[str, object], asked: list[str]
) -> None:
    """A manifest that is larger than was thought must not cost more than anybody meant to spend."""
    orders = {"selection": Selection(limit=flags.get("limit")), "collect_only": flags.get("collect_only", False)}
    manifest = write(project, [f"Line {number}" for number in range(jobs)])
    questions: list[str] = []

    def confirm(question: str) -> bool:
        questions.append(question)
        return False

    with other_api(project / "clip.mp4", key="another one") as api:  # what is not asked goes on, and is turned away
        environ = environment(project, api.url)
        batch = Batch.find(manifest, environ=environ, flags={"price_per_job": "0.24", "budget": flags.get("budget")})
        if asked:
            with pytest.raises(ActionNeededError, match="nothing was submitted"):
                batch.run(Orders(confirm=confirm, **orders))
        else:
            batch.run(Orders(confirm=confirm, **orders))

        assert questions == asked
        assert api.tasks == {}


@pytest.mark.slow
def test_run_that_its_deadline_stops_says_how_many_more_it_takes(project: Path) -> None:
    """The lead reads it in the morning: one more night, or a week of them?"""
    manifest = write(project, [f"Line {number}" for number in range(300)])
    flags = {"finish_by": "2s", "rate": "40/s", "typical_seconds": "0.3", "price_per_job": "0.24"}
    with other_api(project / "clip.mp4") as api:
        outcome = Batch.find(manifest, environ=environment(project, api.url), flags=flags).run()

    left, made = outcome.counts[State.PENDING], outcome.counts[State.DONE]
    assert (outcome.stop_reason, outcome.exit_code) == (StopReason.DEADLINE, 3)
    assert outcome.nights_left == -(-left // made)
    assert f"Nights:  about {outcome.nights_left} more like this one" in outcome.summary


@pytest.mark.slow
def test_rehearsal_that_was_killed_goes_on_with_finished_results(project: Path) -> None:
    """The sandbox has another port each time: links of the last one are asked for anew, not waited for."""
    import os
    import signal
    import time

    from command import start

    options = "--instant-media --median 20 --speed-up 20 --cut 0.999"
    env = environment(project)
    faulty = environment(project, LIPSYNC_BATCH_SANDBOX_OPTIONS=options)
    manifest = write(project, ["one", "two", "three"])
    state = project / "out" / "spring.sandbox" / "_batch"
    with start("run", manifest, "--sandbox", env=faulty, cwd=project) as run_:
        for _ in range(200):
            time.sleep(0.1)
            log = (state / "run.log").read_text() if (state / "run.log").exists() else ""
            if '"new": "ready"' in log:
                break
        os.kill(run_.pid, signal.SIGKILL)
        run_.communicate()

    ended = run("run", state.parent, env=env, cwd=project, seconds=60)

    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_command_after_retry_goes_on_with_the_batch_that_was_retried(project: Path) -> None:
    """Obeying what `retry` says of a rehearsal must never start the paid batch."""
    env = environment(project)
    faulty = environment(project, LIPSYNC_BATCH_SANDBOX_OPTIONS="--instant-media --errors 1")
    manifest = write(project, ["one"])
    assert run("run", manifest, "--sandbox", env=faulty, cwd=project).returncode == 1

    again = run("retry", manifest, env=env, cwd=project)
    command = again.stdout.splitlines()[-1].removeprefix("Next: lipsync-batch ").split()
    ended = run(*command, env=env, cwd=project)

    assert command == ["run", str(project.resolve() / "out" / "spring.sandbox")]
    assert ended.returncode == 0, ended.stderr
    assert not (project / "out" / "spring").exists()
