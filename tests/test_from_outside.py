"""The program as it is judged: the command line against another server that loses, lies, expires and refuses.

After every night the same questions: was a pair paid for twice, was anything lost that was paid for, is the exit code
true, and does the report agree with the files and with what the server charged?
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from command import KEY, environment, run, start
from media_factory import make_audio, make_video
from other_api import LOSSES, OtherApi, _Handler, other_api, task_of

from lipsync_batch.runner.run import DRAIN
from lipsync_batch.runner.submit import FIRST_SUBMITS

pytestmark = pytest.mark.slow

DOUBTFUL = {"submitting", "unclear"}
UNFINISHED = ("pending", "submitting", "submitted", "ready")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("film") / "result.mp4", seconds=0.5)


@pytest.fixture
def api(film: Path) -> Iterator[OtherApi]:
    with other_api(film, key=KEY, odd=True) as server:
        yield server


class Project:
    """A manifest of links and local files, recordings and texts; its batch; and what may be said of both."""

    def __init__(self, folder: Path, api: OtherApi, jobs: int) -> None:
        self.folder = folder
        self.api = api
        self.jobs = jobs
        self.manifest = folder / "spring.csv"
        self.out = folder / "out" / "spring"
        self.env = environment(folder, api.url)
        folder.mkdir(exist_ok=True)
        make_video(folder / "clip.mp4", seconds=0.5)
        make_audio(folder / "dub.wav", 0.6)
        with self.manifest.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["key", "video", "audio", "text", "speaker"])
            for number in range(jobs):
                video = "clip.mp4" if number % 7 == 3 else f"https://media.example/{number}.mp4"
                speech = ["dub.wav", "", ""] if number % 7 == 5 else ["", f"Satz {number}", "Emily"]
                table.writerow([f"job-{number:02}", video, *speech])

    def run(self, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run("run", self.manifest, *self._options(options), env=self.env | env, cwd=self.folder)

    def start(self, *options: str) -> subprocess.Popen[str]:
        return start("run", self.manifest, *self._options(options), env=self.env, cwd=self.folder)

    @staticmethod
    def _options(options: tuple[str, ...]) -> tuple[str, ...]:
        return ("--rate", "60/s", "--typical-seconds", "0.3", "--resolve-for", "2s", *options)

    def report(self) -> dict:
        return json.loads((self.out / "report.json").read_text())

    def counts(self) -> dict[str, int]:
        return {state: number for state, number in self.report()["counts"].items() if number}

    def states(self) -> dict[str, str]:
        """State by client request id, of the pairs that were ever about to be submitted: from jobs.db itself."""
        with closing(sqlite3.connect(self.out / "_batch" / "jobs.db")) as database:
            return dict(
                database.execute("SELECT client_request_id, state FROM generations JOIN pairs USING (fingerprint)")
            )

    def ids(self) -> dict[str, str | None]:
        """Generation id by client request id."""
        with closing(sqlite3.connect(self.out / "_batch" / "jobs.db")) as database:
            return dict(database.execute("SELECT client_request_id, generation_id FROM generations"))

    def audit(self, ended: subprocess.CompletedProcess[str] | None = None, *, stop_reason: str = "finished") -> None:
        """Nothing paid twice, nothing lost, and the report, the exit code and the last words true."""
        self._paid_once()
        self._nothing_lost()
        if ended is not None:
            self._report_is_true(stop_reason)
            self._exit_is_true(ended, stop_reason)

    def _paid_once(self) -> None:
        charged = Counter(json.dumps(request, sort_keys=True) for request in self.api.requests)
        assert not [request for request, times in charged.items() if times > 1], "a pair was paid for twice"

    def _nothing_lost(self) -> None:
        """What was charged is the right video on disk, or is still known by its id."""
        states, ids = self.states(), self.ids()
        outputs = {job["client_request_id"]: job["output"] for job in self.report()["jobs"]} if self.reported else {}
        for task in list(self.api.tasks.values()):
            assert task.client_request_id in states, "charged, and not in jobs.db"
            state = states[task.client_request_id]
            assert state in DOUBTFUL or ids[task.client_request_id] == task.id
            assert state in {*DOUBTFUL, "submitted", "ready", "done"}, f"charged, and {state}"
            if state == "done" and task.client_request_id in outputs:
                assert (self.out / outputs[task.client_request_id]).read_bytes() == self.api.film(task.id)

    @property
    def reported(self) -> bool:
        return (self.out / "report.json").exists()

    def _report_is_true(self, stop_reason: str) -> None:
        report = self.report()
        assert report["stop_reason"] == stop_reason
        assert len(report["jobs"]) == self.jobs
        assert Counter(job["state"] for job in report["jobs"]) == self.counts()
        on_disk = {path.relative_to(self.out).as_posix() for path in self.out.rglob("*.mp4")}
        assert on_disk == {job["output"] for job in report["jobs"] if job["state"] == "done"}
        for job in report["jobs"]:
            if job["state"] == "done":
                content = (self.out / job["output"]).read_bytes()
                assert (job["bytes"], job["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert list(self.out.rglob("*.part")) == [] or any(self.counts().get(state) for state in UNFINISHED)

    def _exit_is_true(self, ended: subprocess.CompletedProcess[str], stop_reason: str) -> None:
        counts = self.counts()
        if stop_reason in ("credits", "credentials"):
            expected = 5
        elif any(counts.get(state) for state in UNFINISHED):
            expected = 3
        else:
            expected = 0 if counts == {"done": self.jobs} else 1
        assert ended.returncode == expected, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        assert KEY not in ended.stdout + ended.stderr
        assert ("Next:" in ended.stdout) == (expected != 0)


@pytest.fixture
def project(tmp_path: Path, api: OtherApi) -> Project:
    return Project(tmp_path, api, 30)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until something is so, or the process has ended."""
    while not condition() and process.poll() is None:
        time.sleep(0.005)


# Killed


def test_a_dozen_kills(project: Project) -> None:
    """kill -9 at any moment of any run: what was charged is collected, and none of it is charged again."""
    dice = random.Random(1)
    api = project.api
    for _ in range(12):
        with project.start("-q") as process:
            target = api.requests_seen + dice.randint(1, 14)
            wait_until(lambda target=target: api.requests_seen >= target, process)
            time.sleep(dice.uniform(0, 0.03))
            process.kill()
            process.communicate()
        if project.out.exists():
            project.audit()

    ended = project.run()

    project.audit(ended)
    charged = {task.client_request_id for task in api.tasks.values()}
    unclear = {request_id for request_id, state in project.states().items() if state == "unclear"}
    assert not unclear & charged, "in the log, and not found there"
    assert set(project.counts()) <= {"done", "unclear"}


# Answers that are lost after the provider took the job


def test_lost_answers_are_found_in_a_late_log(project: Project) -> None:
    """The generation runs and is paid: its row of the log, however late, brings its video."""
    project.api.lose_answers, project.api.losses, project.api.log_lag = 0.2, LOSSES, 2.0

    ended = project.run("--resolve-for", "20s")

    assert project.api.lost
    project.audit(ended)
    assert project.counts() == {"done": 30}


def test_lost_answers_without_a_log_stay_unclear(project: Project) -> None:
    """Nobody can know whether they run: they are named, counted, and sent again by no run. Then the log is back."""
    api = project.api
    api.lose_answers, api.losses = 0.2, LOSSES

    for status in (404, 403):
        api.log_status = status
        ended = project.run()

        project.audit(ended)
        assert ended.returncode == 1
        assert project.counts() == {"done": 30 - len(api.lost), "unclear": len(api.lost)}
        assert f"{len(api.lost)} are unclear" in ended.stdout
        assert "lipsync-batch resolve" in ended.stdout
        assert "sends none of them again" in ended.stdout
        assert ("log cannot be read" in ended.stderr) == (status == 403)
        assert api.submits_seen == 30

    api.log_status = 200
    ended = project.run()

    project.audit(ended)
    assert ended.returncode == 0
    assert api.submits_seen == 30


def test_generation_of_another_pair_is_not_taken_for_ones_own(film: Path, tmp_path: Path) -> None:
    """A provider that mixes two answers up: better unclear than a video with the words of another language."""

    def repeats(request: dict, handler: _Handler) -> bool:
        if api.submits_seen != 5:
            return False
        handler.answer(200, {"id": next(iter(api.tasks.values())).named})
        return True

    with other_api(film, key=KEY, on_submit=repeats) as api:
        project = Project(tmp_path, api, 8)

        ended = project.run()

        project.audit(ended)
        assert project.counts() == {"done": 7, "unclear": 1}


# Downloads


class BadCdn:
    """Each file is trouble in its own way, and there after all."""

    def __init__(self, api: OtherApi) -> None:
        self._api = api
        self._asked: Counter[str] = Counter()
        self._born: dict[str, float] = {}
        self.troubles: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, path: str, handler: _Handler) -> bool:
        with self._lock:
            self._asked[path] += 1
            times, number = self._asked[path], list(self._api.tasks).index(task_of(path))
            first_link = not any(task_of(other) == task_of(path) and other != path for other in self._asked)
            age = time.monotonic() - self._born.setdefault(task_of(path), time.monotonic())
        trouble = self._trouble(number % 6, times, first_link, age)
        self.troubles[trouble] += 1
        film = self._api.film(task_of(path))
        match trouble:
            case "cut":
                handler.answer(200, body=film[: len(film) // 2], Content_Length=str(len(film)))
                handler.hang_up()
            case "page":
                handler.answer(200, body=b"<!DOCTYPE html><html>Sign in</html>", Content_Type="video/mp4")
            case "dead":
                handler.answer((403, 404, 410)[number % 3], body=b"<Error><Code>ExpiredToken</Code></Error>")
            case "early":
                handler.answer(404, body=b"NoSuchKey")
            case "reset":
                handler.answer(200, body=film[:100], Content_Length=str(len(film)))
                handler.reset()
        return bool(trouble)

    def _trouble(self, kind: int, times: int, first_link: bool, age: float) -> str:
        if kind == 0 and times == 1:
            return "cut"
        if kind == 1 and times <= 2:
            return "page"
        if kind == 2 and first_link:
            return "dead"
        if kind == 3 and age < 1.0:
            return "early"
        return "reset" if kind == 4 and times == 1 else ""


def outage(api: OtherApi) -> None:
    """From the fourth download on: 503 for everything, then nobody listens, then all is well."""
    while len(api.cdn_paths) < 4:
        time.sleep(0.005)
    api.on_request = lambda handler: handler.error(503, "Service Unavailable") or True
    time.sleep(1.0)
    api.close()
    time.sleep(1.0)
    api.on_request = None
    api.open()


def test_bad_downloads_and_an_outage_together(project: Project) -> None:
    """Cut, refused, expired, not there yet, a page instead of a film, and then nothing at all for a while."""
    api = project.api
    cdn = api.on_file = BadCdn(api)
    trouble = threading.Thread(target=outage, args=[api], daemon=True)
    trouble.start()

    ended = project.run()

    trouble.join()
    assert set(cdn.troubles) == {"", "cut", "page", "dead", "early", "reset"}
    project.audit(ended)
    states = project.states()
    assert all(states[task.client_request_id] == "done" for task in api.tasks.values())
    assert set(project.counts()) <= {"done", "unclear"}, "what was on the wire when the connections broke"


# The account


@pytest.mark.parametrize("billing", [True, False])
def test_credits_that_end_midway(project: Project, billing: bool) -> None:
    """What was accepted is collected; a person tops up; the rest is made."""
    api = project.api
    api.credits, api.billing = 11, billing

    ended = project.run()

    project.audit(ended, stop_reason="credits")
    assert project.counts() == {"done": 11, "pending": 19}
    assert ended.returncode == 5
    on_their_way = FIRST_SUBMITS + 11
    assert api.submits_seen <= 11 + on_their_way, "refused once and again"
    assert "Top up" in ended.stdout

    api.credits = None
    ended = project.run()

    project.audit(ended)
    assert project.counts() == {"done": 30}


def test_key_that_is_revoked_midway(project: Project) -> None:
    """401 for everything: the run ends, what was accepted waits at the provider, and the right key collects it."""
    api = project.api
    api.seconds = 1.5
    api.on_submit = lambda *_: len(api.tasks) >= 9 and (setattr(api, "key", "another"), False)[1]

    ended = project.run()

    project.audit(ended, stop_reason="credentials")
    assert ended.returncode == 5
    assert "AIMLAPI_API_KEY" in ended.stdout
    assert sum(project.counts().get(state, 0) for state in ("submitted", "done", "ready")) == len(api.tasks)

    api.key, api.on_submit = KEY, None
    ended = project.run()

    project.audit(ended)
    assert project.counts() == {"done": 30}


# Two at once, and signals


def test_two_runs_at_once(project: Project) -> None:
    """Cron starts a second one while the first is still at it, or both in the same second."""
    with project.start() as one, project.start() as other:
        ended = [subprocess.CompletedProcess(each.args, each.wait(), *each.communicate()) for each in (one, other)]

    assert sorted(each.returncode for each in ended) == [0, 4]
    project.audit(next(each for each in ended if each.returncode == 0))
    assert project.counts() == {"done": 30}
    assert len(project.api.tasks) == 30


STOPS = {signal.SIGTERM: ("terminated", 143), signal.SIGINT: ("interrupted", 130)}


def test_signals_while_submits_hang(film: Path, tmp_path: Path) -> None:
    """systemd waits no longer than it was told to; what hangs at the provider is looked up by the next run."""

    def check(number: signal.Signals) -> None:
        with other_api(film, key=KEY, odd=True) as api:
            stop_while_submits_hang(Project(tmp_path / number.name, api, 12), number)

    with ThreadPoolExecutor() as pool:  # each of them waits for ten seconds
        list(pool.map(check, STOPS))


@pytest.mark.parametrize("number", STOPS)
def test_second_signal_ends_at_once(film: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Whoever presses Ctrl-C twice waits for no drain; the report is true, and the next run looks up what was cut."""
    with other_api(film, key=KEY) as api:
        project = Project(tmp_path, api, 12)
        silence = threading.Event()

        def hangs(request: dict, handler: _Handler) -> bool:
            if len(api.tasks) < 5:
                return False
            api.accept(request, handler.client_request_id())
            silence.wait(60)
            handler.hang_up()
            return True

        api.on_submit = hangs
        with project.start() as process:
            wait_until(lambda: len(api.tasks) >= 8, process)
            process.send_signal(number)
            time.sleep(0.5)  # two signals at the same instant are one
            process.send_signal(number)
            asked = time.monotonic()
            _, stderr = process.communicate(timeout=30)
            waited = time.monotonic() - asked
        silence.set()

        assert process.returncode == STOPS[number][1], stderr
        assert waited < DRAIN, "it was drained all the same"
        assert project.report()["stop_reason"] == STOPS[number][0]
        assert project.counts()["submitting"] == len(api.tasks) - 5

        api.on_submit = None
        ended = project.run("--resolve-for", "20s")
        project.audit(ended)
        assert project.counts() == {"done": 12}


def stop_while_submits_hang(project: Project, number: signal.Signals) -> None:
    api, silence = project.api, threading.Event()
    reason, code = STOPS[number]

    def hangs(request: dict, handler: _Handler) -> bool:
        if len(api.tasks) < 5:
            return False
        api.accept(request, handler.client_request_id())
        silence.wait(60)
        handler.hang_up()
        return True

    api.on_submit = hangs
    with project.start() as process:
        wait_until(lambda: len(api.tasks) >= 8, process)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    silence.set()

    assert process.returncode == code, stderr
    project.audit()
    assert project.report()["stop_reason"] == reason
    assert project.counts()["unclear"] == len(api.tasks) - 5
    assert "Next:" in stdout

    api.on_submit = None
    ended = project.run("--resolve-for", "20s")

    project.audit(ended)
    assert project.counts() == {"done": 12}
