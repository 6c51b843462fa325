"""Nothing secret is written down: everything is run with a marked key, and the mark is looked for everywhere.

The servers quote whatever they are sent, in every form and place; the mark may be in no file, on no stream, in no
process's title, and at no host but the API's.
"""

from __future__ import annotations

import base64
import html
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from command import called, environment, run, start
from marks import Mark, dump, leaks
from media_factory import make_video
from other_api import OtherApi, Task, other_api

from lipsync_batch import exits
from lipsync_batch.cli import COMMANDS
from lipsync_batch.masking import HIDDEN

pytestmark = pytest.mark.slow

KEY = Mark("sk-marked/Q7x.Zr4:Ek9w-Tn2vB8mLd5cHy3")
ADDRESS = Mark("notify-t0ken-Vb6Nq3Jz9Ks")
INPUT = Mark("1nput5ignatureWq8Zt")
RESULT = Mark("re5ult5ignatureKp3Vd")

QUOTED = " ".join(
    (
        f"You sent 'Authorization: Bearer {KEY.text}' and key={KEY.text};",
        f"{KEY.text} is {quote(KEY.text, safe='')}, {html.escape(KEY.text)}, {KEY.text.encode().hex()},",
        f"{json.dumps(KEY.text).replace('/', chr(92) + '/')}, {base64.b64encode(KEY.text.encode()).decode()},",
        f"{base64.urlsafe_b64encode(b'user:' + KEY.text.encode()).decode()}.",
    )
)
"""What a careless server says in an error: the key in every form."""
PAGE = f"<html><body><h1>502</h1><p>{QUOTED}</p></body></html>".encode()

REFUSALS = ("refused", "page", "named", "moved", "garbled", "header")
"""Jobs whose submit is answered with the key in it; the others are accepted."""
ACCEPTED = ("given-up", "odd-status", "poll-page", "poll-moved", "key-in-link", "fine", "cdn-moves", "cdn-page")
OPEN = ("hangs",)
"""A job whose submit is never answered."""

CASES: dict[str, tuple[tuple[str, ...], ...]] = {
    "run": (
        ("run", "spring.csv", "--events", "--retry-failed", "--finish-by", "1s", "--typical-seconds", "0.2s"),
        ("run", "spring.csv", "-v", "--collect-only", "--dask", "local:1", "--finish-by", "2s"),
    ),
    "plan": (("plan", "spring.csv", "--json"), ("plan", "spring.csv", "--by", "language", "--finish-by", "8h")),
    "status": (
        ("status", "spring.csv"),
        ("status", "spring.csv", "--json"),
        ("status", "spring.csv", "--watch", "--where", "language=en"),
        ("status", "spring.csv", "moved"),
        ("status", "spring.csv", "garbled", "--json"),
    ),
    "retry": (("retry", "spring.csv"), ("retry", "spring.csv", "given-up", "--pay-again")),
    "redo": (("redo", "spring.csv", "fine", "--reason", "lips late"),),
    "resolve": (
        ("resolve", "spring.csv", "--resolve-for", "0.1s"),
        ("resolve", "spring.csv", "page", "--adopt=an-id"),
        ("resolve", "spring.csv", "moved", "--give-up"),
    ),
    "report": (
        ("report", "spring.csv"),
        ("report", "spring.csv", "--where", "language=en"),
        ("report", "spring.csv", "--client", "for-client.zip"),
    ),
    "rebuild": (("rebuild", "spring.csv", "--yes"),),
    "sandbox": (("sandbox", "--with-parent"),),
    "schema": (("schema",),),
    "completion": (("completion", "bash"),),
    "init": (("init", "."),),
}
"""Every command, against servers that quote the key, on a batch that such servers have left. A first run, and one in
the sandbox, come before them."""
OWN_PROCESS = frozenset({"run", "sandbox"})
"""Commands that take over signals or streams; the others are called in this process, which saves a second each."""


class Hostile:
    """An API, and hosts elsewhere, that quote all they are sent."""

    def __init__(self, api: OtherApi, elsewhere: OtherApi, video: bytes) -> None:
        self._api = api
        self._elsewhere = elsewhere
        self._video = video
        self.over = threading.Event()
        self.seen_elsewhere: list[str] = []
        """Every request to another host than the API: its line and its headers."""
        api.on_submit, api.on_poll, api.on_request = self._submit, self._poll, self._anything
        elsewhere.on_request = self._other_host

    def _submit(self, request: dict[str, Any], handler: Any) -> bool:
        name = request["lip_sync_tts_content"]
        error = {"statusCode": 400, "requestId": QUOTED, "message": QUOTED, "received": request}
        match name:
            case "refused":
                handler.answer(400, error, X_Debug=KEY.text)
            case "page":
                handler.answer(502, body=PAGE, Content_Type="text/html")
            case "named":
                handler.answer(422, {"detail": [{"type": KEY.text, "msg": QUOTED, "input": dict(handler.headers)}]})
            case "moved":
                handler.answer(307, error, Location=f"{self._elsewhere.url}/v2?key={KEY.text}")
            case "garbled":
                handler.wfile.write(f"HTTP/1.1 {KEY.text} {QUOTED}\r\n\r\n".encode())
                handler.hang_up()
            case "header":
                handler.wfile.write(f"HTTP/1.1 200 OK\r\nBearer {KEY.text}\r\n\r\n".encode())
                handler.hang_up()
            case "hangs":
                self.over.wait()
                handler.hang_up()
            case _:
                return False
        return True

    def _poll(self, task: Task, handler: Any) -> bool:
        name = task.request["lip_sync_tts_content"]
        document: dict[str, Any] = {"id": task.id, "status": "completed"}
        match name:
            case "given-up":
                detail = [{"msg": QUOTED, "type": "face_error", "input": task.request["video_url"], "key": KEY.text}]
                handler.answer(200, {"id": task.id, "status": "error", "error": {"detail": detail}})
            case "odd-status":
                handler.answer(200, {"id": task.id, "status": f"waiting for {KEY.text}"})
            case "poll-page":
                handler.answer(500, body=PAGE, Content_Type="text/html")
            case "poll-moved":
                handler.answer(302, {}, Location=f"{self._elsewhere.url}/v2?key={KEY.text}")
            case "key-in-link":
                handler.answer(200, {**document, "video": {"url": f"{self._elsewhere.url}/cdn/a.mp4?key={KEY.text}"}})
            case _:
                url = f"{self._elsewhere.url}/cdn/{name}.mp4?X-Amz-Signature={RESULT.text}"
                handler.answer(200, {**document, "video": {"url": url}})
        return True

    def _anything(self, handler: Any) -> bool:
        """Log, prices and balance are refused with the key in the answer."""
        if handler.command != "GET" or handler.path.startswith("/v2/video"):
            return False
        handler.answer(403, {"message": QUOTED, "statusCode": 403, "requestId": QUOTED, "path": handler.path})
        return True

    def _other_host(self, handler: Any) -> bool:
        self.seen_elsewhere.append(f"{handler.requestline}\n{handler.headers}")
        if handler.path.startswith("/cdn/cdn-moves"):
            handler.answer(302, {}, Location=f"/cdn/fine.mp4?X-Amz-Signature={RESULT.text}")
        elif handler.path.startswith("/cdn/cdn-page"):
            handler.answer(403, body=f"<html>{handler.path} {handler.headers}</html>".encode())
        else:
            handler.answer(200, body=self._video, Content_Type="video/mp4")
        return True


@dataclass
class Evidence:
    """What was left behind, and what was seen, when everything was over."""

    folder: Path
    said: dict[str, str] = field(default_factory=dict)
    """Both streams of each command, by the command line."""
    codes: dict[str, int] = field(default_factory=dict)
    titles: set[str] = field(default_factory=set)
    """Command lines and names of every process of ours, while it ran."""
    modes: dict[str, int] = field(default_factory=dict)
    """The permissions of what was in `_batch/` while a run went on."""
    keys_at_api: set[str] = field(default_factory=set)
    seen_elsewhere: list[str] = field(default_factory=list)


class Observer:
    """Runs commands in one project, and keeps what they say and what the system shows of them."""

    def __init__(self, folder: Path, api: OtherApi) -> None:
        self.evidence = Evidence(folder)
        places = {"TMPDIR": str(folder / "tmp"), "AIMLAPI_BASE_URL": api.url}
        self._by_variable = environment(folder / "home", AIMLAPI_API_KEY=KEY.text, **places)
        key_file = folder.with_name("key")
        key_file.write_text(KEY.text + "\n")
        self._by_file = environment(folder / "home", AIMLAPI_API_KEY_FILE=str(key_file), **places)

    @contextmanager
    def running(self, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """A command that is looked at while it runs. The key comes by its variable."""
        with start(*arguments, env=self._by_variable | variables, cwd=self.evidence.folder) as process:
            watching = threading.Thread(target=self._watch, args=(process,))
            watching.start()
            yield process
            self._keep(arguments, process.returncode, *process.communicate(timeout=60))
            watching.join()

    def call(self, *arguments: str) -> None:
        """A command, to its end. The key comes by a file."""
        how = run if arguments[0] in OWN_PROCESS else called
        done = how(*arguments, env=self._by_file, cwd=self.evidence.folder)
        self._keep(arguments, done.returncode, done.stdout, done.stderr)

    def _keep(self, arguments: tuple[str, ...], code: int, stdout: str, stderr: str) -> None:
        self.evidence.said[" ".join(arguments)] = stdout + stderr
        self.evidence.codes[" ".join(arguments)] = code

    def _watch(self, process: subprocess.Popen[str]) -> None:
        while process.poll() is None:
            for pid in family(process.pid):
                with suppress(OSError):
                    self.evidence.titles.add(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
                    self.evidence.titles.add(Path(f"/proc/{pid}/comm").read_text().strip())
            time.sleep(0.02)


def family(pid: int) -> Iterator[int]:
    """A process and all that it has started."""
    yield pid
    with suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from family(int(child))


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 30.0) -> None:
    """Until something has happened outside of this process; an error where the process ended before."""
    end = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def write_manifests(folder: Path) -> None:
    """A manifest with every kind of input, and one for a rehearsal."""
    clip = make_video(folder / "clip.mp4", seconds=0.5)
    signed = f"https://media.example/clip.mp4?X-Amz-Signature={INPUT.text}"
    inline = f"data:video/mp4;base64,{base64.b64encode(clip.read_bytes()).decode()}"
    rows = [
        f'{name},"{(signed, inline, "clip.mp4")[number % 3]}",{name},Emily,en'
        for number, name in enumerate((*REFUSALS, *ACCEPTED, *OPEN))
    ]
    header = "key,video,text,speaker,language"
    (folder / "spring.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    (folder / "clip.en.txt").write_text("Hello.", encoding="utf-8")
    (folder / "rehearsal.csv").write_text(f"{header}\nhello,clip.mp4,Hello,Emily,en\n", encoding="utf-8")


@contextmanager
def lost(state: Path) -> Iterator[None]:
    """A batch without its jobs.db. What is made in its place is kept as well."""
    for name in ("found", "rebuilt"):
        (state / name).mkdir()
    for path in state.glob("jobs.db*"):
        path.rename(state / "found" / path.name)
    yield
    for path in state.glob("jobs.db*"):
        path.rename(state / "rebuilt" / path.name)
    assert (state / "rebuilt" / "jobs.db").exists(), "nothing was rebuilt"
    for path in (state / "found").iterdir():
        path.rename(state / path.name)


@pytest.fixture
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    """Everything that the program does, done once."""
    monkeypatch.setattr("lipsync_batch.rebuilding.records.PAUSES", (0.0,))
    folder = tmp_path / "project"
    for name in ("home", "tmp"):
        (folder / name).mkdir(parents=True)
    write_manifests(folder)
    video = folder / "clip.mp4"
    with other_api(video, seconds=0.1) as api, other_api(video) as elsewhere:
        hostile = Hostile(api, elsewhere, video.read_bytes())
        observer = Observer(folder, api)
        try:
            interrupted_twice(observer, api, hostile)
        finally:
            hostile.over.set()
        rehearsed(observer)
        for command in COMMANDS:
            with lost(folder / "out" / "spring" / "_batch") if command == "rebuild" else nullcontext():
                for arguments in CASES[command]:
                    observer.call(*arguments)
        observer.evidence.keys_at_api |= api.keys_at_api
        observer.evidence.seen_elsewhere += hostile.seen_elsewhere
    return observer.evidence


def interrupted_twice(observer: Observer, api: OtherApi, hostile: Hostile) -> None:
    """A first run, until everything has been answered in its way; then one signal, and another that ends it at once."""
    out, state = observer.evidence.folder / "out" / "spring", observer.evidence.folder / "out" / "spring" / "_batch"
    options = ("--rate", "200/s", "--max-in-flight", "50", "--typical-seconds", "0.1")
    with observer.running("run", "spring.csv", "-v", *options) as process:
        landed = [out / "fine.mp4", out / "cdn-moves.mp4"]
        wait_until(lambda: all(file.exists() for file in landed), process)
        tasks = {task.request["lip_sync_tts_content"]: task for task in api.tasks.values()}
        wait_until(lambda: min(tasks[name].polls for name in ACCEPTED) >= 1, process)
        wait_until(lambda: tasks["poll-page"].polls >= 3, process)
        observer.evidence.modes |= {path.name: path.stat().st_mode & 0o777 for path in (state, *state.iterdir())}
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: '"stopping"' in (state / "run.log").read_text(), process)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def rehearsed(observer: Observer) -> None:
    """A run against a sandbox of its own, with its workers."""
    options = {
        "LIPSYNC_BATCH_SANDBOX_OPTIONS": "--median 1 --speed-up 20 --log-lag 0",
        "LIPSYNC_BATCH_NOTIFY": f"json://{ADDRESS.text}:pw@127.0.0.1:9/{ADDRESS.text}",
    }
    with observer.running("run", "rehearsal.csv", "--sandbox", "--typical-seconds", "0.2", **options) as process:
        process.wait(timeout=60)


def test_every_command_is_run_with_the_mark() -> None:
    """A new command brings its cases along, or this fails."""
    assert CASES.keys() == set(COMMANDS)


def test_nothing_secret_is_written_down_or_passed_on(evidence: Evidence) -> None:
    """Reports are sent on, terminals recorded, cron mails what is said, and `ps` shows command lines to everyone."""
    quoted_everywhere(evidence)

    assert not list(leaks(KEY, [evidence.folder])), "the key is in a file"
    assert not said(KEY, evidence), "the key is on a stream"
    assert not [title for title in evidence.titles if KEY.found_in(title)], "the key is in a process's title"
    assert evidence.keys_at_api == {f"Bearer {KEY.text}"}
    assert not [request for request in evidence.seen_elsewhere if KEY.found_in(request) or "uthorization" in request]
    assert not list(leaks(ADDRESS, [evidence.folder])), "a notification's address is in a file"
    assert not said(ADDRESS, evidence), "a notification's address is on a stream"
    assert not [title for title in evidence.titles if ADDRESS.found_in(title)]
    for mark in (INPUT, RESULT):
        files = {Path(leak.partition(": ")[0]).name for leak in leaks(mark, [evidence.folder])}
        assert files <= {"jobs.db", "jobs.db-wal", "spring.csv"}, "a signature is not in the ledger alone"
        assert not said(mark, evidence), "a signature is on a stream"
        assert not [title for title in evidence.titles if mark.found_in(title)]
    # Signed links are in the ledger, so nobody else may read it; while a run goes on, SQLite has two more files.
    private = {"jobs.db", "jobs.db-wal", "jobs.db-shm", "run.log", "lock"}
    assert {name: evidence.modes.get(name) for name in private} == dict.fromkeys(private, 0o600)
    assert evidence.modes["_batch"] == 0o700


def quoted_everywhere(evidence: Evidence) -> None:
    """Where a command stops at its first step, nothing can leak: each of them got as far as it should."""
    everything = "".join(evidence.said.values())
    assert {code for line, code in evidence.codes.items() if "--adopt" not in line} <= {0, 1, 3, 143}
    assert {name for name in (*REFUSALS, *ACCEPTED) if f"{name}: " in everything} >= {*REFUSALS, "given-up"}
    assert everything.count("You sent") > 10
    assert 'the API says "waiting for ***"' in everything
    assert "asked three times in vain" in everything
    assert "the notification was not sent: address 1 (json://***): " in everything
    assert HIDDEN in dump(evidence.folder / "out" / "spring" / "_batch" / "jobs.db")
    assert len(evidence.seen_elsewhere) > 3
    assert len(evidence.titles) > 4 or not Path("/proc/self").exists()


def said(mark: Mark, evidence: Evidence) -> dict[str, str]:
    """The commands that said it, with what they said."""
    return {line: found for line, text in evidence.said.items() if (found := mark.found_in(text))}


# When something is wrong before, or inside, the program

BUG = """
import os, sys
ADDRESSES = [part for text in sys.argv for part in text.split("/")] + os.environ["LIPSYNC_BATCH_NOTIFY"].split("/")
from lipsync_batch.providers.aimlapi import AimlApi

async def check(self, generation_id):
    raise RuntimeError(f"unexpected header: Bearer {os.environ['AIMLAPI_API_KEY']}, told to {ADDRESSES}")

AimlApi.check = check
from lipsync_batch.cli import main
main()
"""


def test_traceback_of_a_bug_holds_no_key(tmp_path: Path) -> None:
    """The one text that nobody worded: it is shown, kept in run.log, and pasted into an issue."""
    write_manifests(tmp_path)
    with other_api(tmp_path / "clip.mp4", seconds=0.0) as api:
        told = [f"--notify=json://127.0.0.1:9/{ADDRESS.text}/a", "--notify", f"json://127.0.0.1:9/{INPUT.text}/b"]
        command = [sys.executable, "-c", BUG, "run", "rehearsal.csv", "--typical-seconds", "0.1", *told]
        variables = {"AIMLAPI_API_KEY": KEY.text, "LIPSYNC_BATCH_NOTIFY": f"json://127.0.0.1:9/{RESULT.text}"}
        env = environment(tmp_path, api.url, **variables)

        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == exits.BUG
    assert "RuntimeError: unexpected header: Bearer ***" in done.stderr
    assert "RuntimeError" in (tmp_path / "out" / "rehearsal" / "_batch" / "run.log").read_text()
    for mark in (KEY, ADDRESS, INPUT, RESULT):
        assert not mark.found_in(done.stdout + done.stderr)
        assert not list(leaks(mark, [tmp_path / "out"]))


PASSWORD = Mark("proxy-pa55word-Gh7Lw")


def test_password_of_a_proxy_is_not_told_when_it_fails(tmp_path: Path) -> None:
    """Company proxies have it in an environment variable, as part of a link."""
    write_manifests(tmp_path)
    variables = {
        "AIMLAPI_BASE_URL": "https://api.invalid",
        "AIMLAPI_API_KEY": KEY.text,
        "HTTPS_PROXY": f"http://user:{PASSWORD.text}@127.0.0.1:1",
    }

    command = ("run", "rehearsal.csv", "-v", "--finish-by", "2s", "--typical-seconds", "0.2s")
    done = run(*command, env=environment(tmp_path, **variables), cwd=tmp_path)

    assert done.returncode == exits.AGAIN
    assert "cannot be reached" in done.stderr
    for mark in (KEY, PASSWORD):
        assert not mark.found_in(done.stdout + done.stderr)
        assert not list(leaks(mark, [tmp_path]))


SIGNED = f"clip.mp4?X-Amz-Signature={INPUT.text}"


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"AIMLAPI_BASE_URL": f"https://user:{KEY.text}@api.example"}, id="user info in the base URL"),
        pytest.param({"AIMLAPI_BASE_URL": f"https://api.example/v2?key={KEY.text}"}, id="query in the base URL"),
        pytest.param({"AIMLAPI_BASE_URL": KEY.text}, id="base URL and key exchanged"),
        pytest.param({"AIMLAPI_API_KEY": f"{KEY.text} {KEY.text}"}, id="key with a space"),
        pytest.param({"AIMLAPI_API_KEY": f"{KEY.text}ü"}, id="key that is not ASCII"),
        pytest.param({"HTTPS_PROXY": f"ftp://user:{KEY.text}@127.0.0.1:1"}, id="proxy of an unknown kind"),
        pytest.param({"HTTPS_PROXY": f"http://user:{KEY.text}@[::1"}, id="proxy that is no URL"),
        pytest.param({"LIPSYNC_BATCH_MEDIA_BASE_URL": f"https://u:{KEY.text}@m.example"}, id="media link with a user"),
    ],
)
def test_what_is_wrong_with_the_environment_is_told_without_it(tmp_path: Path, variables: dict[str, str]) -> None:
    """A key in the wrong variable is still a key."""
    write_manifests(tmp_path)
    right = {"AIMLAPI_BASE_URL": "https://api.invalid", "AIMLAPI_API_KEY": KEY.text}

    done = called(
        "run", "rehearsal.csv", "--finish-by", "1s", env=environment(tmp_path, **{**right, **variables}), cwd=tmp_path
    )

    assert done.returncode in (exits.MANIFEST, exits.ACT)
    assert "Hint: " in done.stderr
    assert not KEY.found_in(done.stdout + done.stderr)


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(f"settings: {{api_key: '{KEY.text}'}}", id="key in the settings"),
        pytest.param(f"settings: {{base_url: 'https://{KEY.text}@api.example'}}", id="base URL in the settings"),
        pytest.param(f"settings: {{notify: 'https://hooks.example/?{KEY.text}'}}", id="notification in the settings"),
        pytest.param(f"jobs: [{{video: 'ftp://media.example/{SIGNED}', text: Hi}}]", id="link of an unknown kind"),
        pytest.param(f"jobs: [{{video: 'http://[media.example/{SIGNED}', text: Hi}}]", id="link that is no URL"),
        pytest.param(f"jobs: [{{video: 'https://me:{KEY.text}@media.example/{SIGNED}'}}]", id="row without its speech"),
        pytest.param(f"jobs: [{{video: 'https://media.example/{SIGNED}', text: Hi, out: x}}]", id="unknown field"),
        pytest.param(f"jobs: [{{vidoe: 'https://media.example/{SIGNED}', text: Hi}}]", id="misspelt field"),
        pytest.param(f"jobs: [{{video: 'https://media.example/{{x}}{SIGNED}', text: Hi}}]", id="unknown name"),
        pytest.param(
            f"jobs: [{{video: 'data:text/{INPUT.text};base64,{INPUT.text}', text: Hi}}]", id="data of no video"
        ),
        pytest.param(f"jobs: [{{video: clip.mp4, audio: '{SIGNED}', speaker: A}}]", id="file with a signature"),
        pytest.param(f"jobs: [{{video: 's3://AK:{KEY.text}@studio/clip.mp4', text: Hi}}]", id="object with a password"),
        pytest.param(f"jobs: [{{video: 's3://AK:{KEY.text}@studio/*.mp4', text: Hi}}]", id="glob with a password"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_told_without_its_secrets(tmp_path: Path, manifest: str) -> None:
    """Its errors are read aloud in meetings."""
    write_manifests(tmp_path)
    (tmp_path / "wrong.yaml").write_text(f"version: 1\n{manifest}\n", encoding="utf-8")

    done = called("plan", "wrong.yaml", env=environment(tmp_path), cwd=tmp_path)

    assert done.returncode == exits.MANIFEST
    assert "wrong.yaml" in done.stderr
    assert not KEY.found_in(done.stdout + done.stderr)
    assert not INPUT.found_in(done.stdout + done.stderr)
