"""Who started a run at 18:00 hears how it ended, by a real hook; and no address is ever shown."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from importlib import util
from pathlib import Path

import pytest
from command import KEY, environment, run, start
from marks import Mark, leaks
from media_factory import make_video
from other_api import OtherApi, other_api
from receiver import Receiver, receiver

from lipsync_batch import exits
from lipsync_batch.batch import Batch
from lipsync_batch.errors import ManifestError, MissingExtraError, Problem
from lipsync_batch.events import Event, RunStarted
from lipsync_batch.jobs import Place, State, StopReason
from lipsync_batch.report import notice
from lipsync_batch.report.notice import Notice
from lipsync_batch.session import Orders
from lipsync_batch.telling import notify
from lipsync_batch.telling.notify import Notifier

TOKEN = Mark("t0ken-Zq8Wn4Rv7Lx2")
TOLD = Notice(subject="spring: 2 of 2 done", body="All <b>2</b> videos are done.", kind="success")


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_video(tmp_path / "clip.mp4", seconds=0.5)
    rows = ["good,clip.mp4,Hello,Emily", "bad,clip.mp4,Refuse me,Emily"]
    (tmp_path / "spring.csv").write_text("\n".join(["key,video,text,speaker", *rows]), encoding="utf-8")
    return tmp_path


@pytest.fixture
def api(project: Path) -> Iterator[OtherApi]:
    """Refuses one text, takes all others."""

    def refuse(request: dict, handler: object) -> bool:
        if request["lip_sync_tts_content"] != "Refuse me":
            return False
        handler.answer(400, {"message": "No face found in the video", "statusCode": 400})
        return True

    with other_api(project / "clip.mp4", key=KEY, seconds=0.1) as server:
        server.on_submit = refuse
        yield server


def notifier(*addresses: str) -> Notifier:
    return Notifier(addresses, origin="--notify", environ=os.environ)


@pytest.mark.slow
def test_end_of_a_run_is_told_with_counts_causes_and_what_to_do(project: Path, api: OtherApi, hook: Receiver) -> None:
    """Enough to decide on a phone whether to get up; and the address, which holds a token, is kept nowhere."""
    env = environment(project, api.url, LIPSYNC_BATCH_PRICE_PER_JOB="0.24")

    ended = run("run", "spring.csv", "--notify", hook.address(TOKEN.text), env=env, cwd=project)

    assert ended.returncode == exits.LOOK, ended.stderr
    (told,) = hook.notices
    assert told["title"] == "spring: 1 of 2 done, 1 failed"
    assert told["type"] == "warning"
    report = project / "out" / "spring" / "report.html"
    for words in (
        "1 failed: No face found in the video",
        "$0.48 estimated",
        str(report),
        "lipsync-batch retry",
        "Exit:    1",
    ):
        assert words in told["message"]
    assert not TOKEN.found_in(ended.stdout + ended.stderr)
    assert not list(leaks(TOKEN, [project]))


@pytest.mark.slow
def test_run_that_is_told_to_stop_says_so(project: Path, api: OtherApi, hook: Receiver) -> None:
    """A machine that goes down at night is the reason why half of the videos are missing in the morning."""
    api.seconds = 60.0
    api.on_submit = None
    env = environment(project, api.url, LIPSYNC_BATCH_NOTIFY=f"{hook.address('one')}\n{hook.address('two')}")

    with start("run", "spring.csv", env=env, cwd=project) as process:
        while not api.tasks and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)

    assert process.returncode == exits.TERMINATED
    assert {told["title"] for told in hook.notices} == {"spring: 0 of 2 done, 2 left (terminated)"}
    assert sorted(hook.asked) == ["one", "two"]


@pytest.mark.slow
def test_end_at_once_is_told_behind_it(project: Path, api: OtherApi, hook: Receiver) -> None:
    """The second signal does not wait for a hook, and yet it is told."""
    begun = threading.Event()

    def hold(request: dict, handler: object) -> bool:
        begun.set()
        hook.over.wait()  # an answer that never comes holds the first stop
        handler.hang_up()
        return True

    api.on_submit = hold
    env = environment(project, api.url, LIPSYNC_BATCH_NOTIFY=hook.address("hook"))
    with start("run", "spring.csv", env=env, cwd=project) as process:
        log = project / "out" / "spring" / "_batch" / "run.log"
        assert begun.wait(30)
        process.send_signal(signal.SIGINT)
        while '"stopping"' not in log.read_text() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)

    end = time.monotonic() + 20
    while not hook.notices and time.monotonic() < end:
        time.sleep(0.05)
    assert process.returncode == exits.INTERRUPTED
    assert hook.notices[0]["title"].endswith("(interrupted)")


@pytest.mark.slow
def test_run_that_did_not_start_says_why(project: Path, hook: Receiver) -> None:
    """At 22:00 nobody reads stderr."""
    env = environment(project, AIMLAPI_BASE_URL="http://127.0.0.1:9")

    ended = run("run", "spring.csv", "--notify", hook.address("hook"), env=env, cwd=project)

    assert ended.returncode == exits.ACT
    assert hook.notices[0]["title"] == "spring: did not start: There is no API key"
    assert "AIMLAPI_API_KEY_FILE" in hook.notices[0]["message"]
    assert hook.notices[0]["type"] == "failure"


@pytest.mark.slow
def test_run_that_breaks_off_by_a_bug_says_so(
    project: Path, api: OtherApi, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library user's listener, say, that raises."""

    def listen(event: Event) -> None:
        if isinstance(event, RunStarted):
            raise RuntimeError("a bug of ours")  # noqa: TRY004 - no wrong type: a bug

    batch = Batch.find(project / "spring.csv", environ={"AIMLAPI_BASE_URL": api.url, "AIMLAPI_API_KEY": KEY})
    with pytest.raises(RuntimeError):
        batch.run(Orders(notify=[hook.address("hook")]), listeners=[listen])

    assert hook.notices[0]["title"] == "spring: 0 of 2 done, 2 left (crashed)"
    assert hook.notices[0]["type"] == "failure"


@pytest.mark.slow
def test_hooks_that_fail_or_hang_hold_nobody_up(hook: Receiver) -> None:
    """What is tried again arrives; what fails is named by its number and service; what hangs is left."""
    habits = ["flaky", "broken", "silent", "good"]
    asked = time.monotonic()

    failures = notifier(*(hook.address(f"{habit}/{TOKEN.text}") for habit in habits)).send(TOLD, seconds=3.0)

    assert time.monotonic() - asked < 6.0
    assert [told["title"] for told in hook.notices] == [TOLD.subject] * 2
    assert hook.notices[0]["message"] == TOLD.body
    assert hook.asked.count("flaky") == 2
    assert len(failures) == 2
    assert failures[0].startswith("address 2 (json://***): Failed to send JSON POST notification: ")
    assert failures[1] == "address 3 (json://***): no answer in time"
    assert not TOKEN.found_in("\n".join(failures))


@pytest.mark.slow
def test_notification_that_fails_is_said_and_changes_no_exit_code(project: Path, api: OtherApi, hook: Receiver) -> None:
    """The videos are there: cron must not think otherwise because a chat is down."""
    api.on_submit = None
    address = f"json://127.0.0.1:9/{TOKEN.text}"

    ended = run("run", "spring.csv", "--notify", address, env=environment(project, api.url), cwd=project)

    assert ended.returncode == exits.DONE
    log = [json.loads(line) for line in (project / "out/spring/_batch/run.log").read_text().splitlines()]
    assert "the notification was not sent: address 1 (json://***): " in ended.stderr
    assert log[-1]["event"] == "noticed"
    assert "was not sent" in log[-1]["message"]
    assert not TOKEN.found_in(ended.stdout + ended.stderr)
    assert not list(leaks(TOKEN, [project]))


@pytest.mark.slow
def test_what_lies_in_the_current_folder_is_not_run(
    tmp_path: Path, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of media may hold a script that is called like a module; it has nothing to do with the run."""
    for module in ("apprise", "queue"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit(1)", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    assert notifier(hook.address("hook")).send(TOLD) == []

    assert [told["title"] for told in hook.notices] == [TOLD.subject]


@pytest.mark.slow
def test_address_that_is_none_stops_before_anything_is_sent(project: Path, api: OtherApi) -> None:
    """Otherwise a typing error would be noticed when the night is over."""
    env = environment(project, api.url, LIPSYNC_BATCH_NOTIFY=f"slak://{TOKEN.text} {TOKEN.text}")

    ended = run("run", "spring.csv", env=env, cwd=project)

    assert ended.returncode == exits.MANIFEST
    assert "LIPSYNC_BATCH_NOTIFY: address 1 (slak://***): apprise does not understand this address" in ended.stderr
    assert "LIPSYNC_BATCH_NOTIFY: address 2: apprise does not understand" in ended.stderr
    assert "json://HOST/PATH" in ended.stderr
    assert not TOKEN.found_in(ended.stdout + ended.stderr)
    assert not api.requests_seen
    assert not (project / "out").exists()


def test_without_the_extra_nothing_is_sent(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is one line; and it is told at the beginning of the night."""
    monkeypatch.setattr(notify, "find_spec", lambda name: None if name == "apprise" else util.find_spec(name))

    with pytest.raises(MissingExtraError) as caught:
        Batch.find(project / "spring.csv", environ={}).run(Orders(notify=["json://127.0.0.1:9/hook"]))

    assert "--notify needs packages that are not installed" in str(caught.value)
    assert caught.value.hint == "pip install 'lipsync-batch[notify]'"
    assert not (project / "out").exists()


def test_dry_run_tells_nobody(project: Path, hook: Receiver) -> None:
    ended = run(
        "run", "spring.csv", "-n", "--sandbox", "--notify", hook.address("hook"), env=environment(project), cwd=project
    )

    assert ended.returncode == exits.DONE, ended.stderr
    assert not hook.asked


@pytest.mark.parametrize(
    ("counts", "reason", "code", "subject", "kind"),
    [
        pytest.param({State.DONE: 1500}, StopReason.FINISHED, 0, "spring: 1,500 of 1,500 done", "success", id="all"),
        pytest.param(
            {State.DONE: 3, State.UNCLEAR: 1, State.READY: 1, State.PENDING: 5},
            StopReason.DISK_FULL,
            3,
            "spring: 3 of 10 done, 1 unclear, 6 left (disk full)",
            "warning",
            id="stopped",
        ),
        pytest.param(
            {State.PENDING: 1}, StopReason.CREDITS, 5, "spring: 0 of 1 done, 1 left (credits)", "failure", id="credits"
        ),
    ],
)
def test_subject_says_it_all(counts: dict, reason: StopReason, code: int, subject: str, kind: str) -> None:
    told = notice.of_end("spring", counts, stop_reason=reason, exit_code=code, summary="...")

    assert (told.subject, told.kind) == (subject, kind)


def test_manifest_of_many_faults_is_told_in_short() -> None:
    """A chat takes some thousand characters: the first rows, and still how it ended."""
    cause = 'holds "https://cdn.example/a.mp4?sig=s3cr3t"'
    problems = [Problem(place=Place(row=row), cause=cause, remedy="mend it") for row in range(1_000)]
    fault = ManifestError(Path("spring.csv"), problems)

    told = notice.of_end(
        "spring", {State.DONE: 2}, stop_reason=StopReason.FINISHED, exit_code=2, summary="2 done", fault=fault
    )

    assert told.body.startswith("2 done\nError:   spring.csv, row 0")
    assert "Exit:    2" in told.body
    assert len(told.body) < 5_000
    assert "s3cr3t" not in told.body


def test_manifest_cannot_name_an_address(project: Path) -> None:
    """A manifest is passed around: it must not be able to send counts and names elsewhere."""
    (project / "spring.yaml").write_text(
        "settings: {notify: 'json://evil.example/x'}\njobs: [{video: clip.mp4, text: Hi, speaker: Emily}]\n",
        encoding="utf-8",
    )

    with pytest.raises(ManifestError, match="never taken from a manifest") as caught:
        Batch.find(project / "spring.yaml", environ={}).run()

    assert "give --notify URL to the run" in str(caught.value)
