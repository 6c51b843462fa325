"""Makes the folders beside it: batches as the program leaves them when it is killed, one set for each released schema.

    PYTHONPATH=<a checkout of that release> python tests/old_batches/make.py m003

The program that PYTHONPATH names (else the present one) is run against tests/other_api.py, and killed with -9: once
while submits are on the wire (`m003/`), once between two renames of a swap (`m003-moving/`). README.md tells what is in
such a folder.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from command import environment, run, start  # noqa: E402 - the tests' own folder had to be named first
from media_factory import make_video  # noqa: E402
from other_api import OtherApi, Task, other_api, task_of  # noqa: E402

MANIFEST = "spring.csv"
BATCH = Path("out", "spring")
NEVER = float("inf")
WAIT = 60.0
"""Seconds until a state that does not come is a fault of this script, or a change in the program."""

FIRST_NIGHT = (
    # key, text; what the server makes of each text is said below.
    ("done", "Good morning."),
    ("twin-1", "Said in two films."),
    ("doubtful", "Accepted, and the answer lost."),
    ("refused", "Refused with 400."),
    ("twin-2", "Said in two films."),
    ("unheard", "Lost before it was accepted."),
    ("given-up", "The provider gives up."),
    ("bad-file", "The file is no video."),
    ("removed", "Paid for, and then removed from the manifest."),
    ("slow", "Takes all night."),
    ("slow-twin-1", "Takes all night, in two films."),
    ("slow-twin-2", "Takes all night, in two films."),
    ("stranded", "Finished, and its file does not come."),
)
SECOND_NIGHT = (
    *(row for row in FIRST_NIGHT if row[0] != "removed"),
    ("on-the-wire", "Accepted, and the answer still to come."),
    ("on-the-way", "Not accepted yet, and the answer still to come."),
    ("waiting", "Waits for a slot."),
    ("waiting-too", "Waits for a slot as well."),
)
KEYS_BY_STATE = {
    "done": ("done", "twin-1", "twin-2"),
    "unclear": ("doubtful", "unheard"),
    "failed": ("refused", "given-up", "bad-file"),
    "submitted": ("slow", "slow-twin-1", "slow-twin-2"),
    "ready": ("stranded",),
    "submitting": ("on-the-wire", "on-the-way"),
    "pending": ("waiting", "waiting-too"),
}
ALL_STATES = {key: state for state, keys in KEYS_BY_STATE.items() for key in keys}

DIES_AT_THE_LAST_RENAME = """
import os, signal, sys
renames = 0
def watch(event, arguments):
    global renames
    if event == "os.rename" and ".mp4" in str(arguments[0]) and ".part" not in str(arguments[0]):
        renames += 1
        if renames == 4:  # two files leave their names, then each takes its new one
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
from lipsync_batch.cli import main
main()
"""


class Night:
    """What the server makes of each text, so that jobs end up in every state."""

    def __init__(self, api: OtherApi) -> None:
        self.over = threading.Event()
        self._api = api
        api.on_submit, api.on_poll, api.on_file = self._submit, self._poll, self._file

    def _submit(self, request: dict[str, Any], handler: Any) -> bool:
        text, request_id = request["lip_sync_tts_content"], handler.headers.get("X-Client-Request-Id")
        if text == "Refused with 400.":
            handler.error(400, "Body validation error: the video cannot be read")
            return True
        loses_answer = "lost" in text.lower()
        keeps_answer = "still to come" in text
        accepted = text.startswith(("Accepted", "Takes", "Paid"))
        if accepted:
            # Not finished, and not in the log either: that holds finished generations alone.
            task = self._api.accept(request, request_id)
            task.due = NEVER
            if not (loses_answer or keeps_answer):
                handler.answer(200, {"id": task.id, "status": "queued", "meta": {"usage": {"credits_used": 480_000}}})
        if keeps_answer:
            self.over.wait()
        if loses_answer or keeps_answer:
            handler.hang_up()
        return accepted or loses_answer or keeps_answer

    def _poll(self, task: Task, handler: Any) -> bool:
        if task.request["lip_sync_tts_content"] != "The provider gives up.":
            return False
        error = {"name": "GenerationError", "message": "No face found in the video"}
        handler.answer(200, {"id": task.id, "status": "error", "error": error})
        return True

    def _file(self, path: str, handler: Any) -> bool:
        text = self._api.tasks[task_of(path)].request["lip_sync_tts_content"]
        if text == "The file is no video.":
            handler.answer(200, body=b"\0" * 2_000, Content_Type="video/mp4")
        elif text == "Finished, and its file does not come.":
            self.over.wait()
        else:
            return False
        return True


@contextmanager
def night(api: OtherApi) -> Iterator[None]:
    """The server behaves like that until the context ends; then whatever it keeps waiting is let go."""
    behaviour = Night(api)
    try:
        yield
    finally:
        behaviour.over.set()


def write_manifest(folder: Path, rows: tuple[tuple[str, str], ...], outputs: Mapping[str, str] = {}) -> Path:
    """Links and texts only, so that nothing else is needed to go on with the batch."""
    with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["key", "video", "text", "speaker", "output", "language"])
        for key, text in rows:
            video = "https://media.example/clips/" + key.removesuffix("-1").removesuffix("-2") + ".mp4"
            table.writerow([key, video, text, "Emily", outputs.get(key, f"en/{key}.mp4"), "en"])
    return folder / MANIFEST


def killed_while_submitting(folder: Path, api: OtherApi) -> None:
    """A night that was ended in order, a manifest that was edited, and a night that was killed: every state."""
    env = child_environment(folder, api)
    arguments = ("run", MANIFEST, "--rate", "50/s", "--typical-seconds", "1")
    write_manifest(folder, FIRST_NIGHT)
    with started(*arguments, env=env, cwd=folder) as process:
        names = [key for key, _ in FIRST_NIGHT if key != "removed"]
        wait_for(folder, lambda states: all(states.get(name) == ALL_STATES[name] for name in names))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT)
    write_manifest(folder, SECOND_NIGHT)
    # Three generations run, two submits are on the wire: the rest waits for a slot.
    with started(*arguments, "--max-in-flight", "5", env=env, cwd=folder):
        wait_for(folder, lambda states: states == ALL_STATES)


def killed_while_moving(folder: Path, api: OtherApi) -> None:
    """Two finished jobs that swap their outputs: one file has its new name, the other is under way."""
    rows = FIRST_NIGHT[:2]
    env = child_environment(folder, api)
    run("run", write_manifest(folder, rows), env=env, cwd=folder)
    write_manifest(folder, rows, {"done": "en/twin-1.mp4", "twin-1": "en/done.mp4"})
    killed = subprocess.run(
        [sys.executable, "-c", DIES_AT_THE_LAST_RENAME, "run", MANIFEST],
        env=env,
        cwd=folder,
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()


@contextmanager
def started(*arguments: str, env: Mapping[str, str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """The program, until the context ends: then it is killed, if it has not ended by itself."""
    with start(*arguments, env=env, cwd=cwd) as process:
        try:
            yield process
        finally:
            process.kill()


def child_environment(folder: Path, api: OtherApi) -> dict[str, str]:
    chosen = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    return environment(folder / "home", api.url, LIPSYNC_BATCH_PRICE_PER_JOB="0.25", **chosen)


def wait_for(folder: Path, reached: Callable[[dict[str, str]], bool]) -> None:
    """Look at the states of all jobs until they are as wanted."""
    end = time.monotonic() + WAIT
    states: dict[str, str] = {}
    while not reached(states):
        assert time.monotonic() < end, f"the jobs are {states}"
        time.sleep(0.01)
        states = states_of(folder / BATCH / "_batch" / "jobs.db")


def states_of(path: Path) -> dict[str, str]:
    """The state of each job by its key; empty where there is no batch yet."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        try:
            return dict(database.execute("SELECT key, state FROM jobs JOIN pairs USING (fingerprint)").fetchall())
        except sqlite3.OperationalError:  # the tables are not there yet
            return {}


def keep(folder: Path, target: Path, api: OtherApi) -> None:
    """What is needed to go on with the batch, in as little as possible."""
    target.mkdir(exist_ok=True)
    database = folder / BATCH / "_batch" / "jobs.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in (database, folder / MANIFEST, folder / "result.mp4"):
        shutil.copyfile(path, target / path.name)
    tasks = [
        {"id": task.id, "client_request_id": task.client_request_id, "request": task.request}
        for task in api.tasks.values()
    ]
    document = {"url": api.url, "tasks": tasks, "files": files(folder / BATCH, api)}
    (target / "server.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def files(batch: Path, api: OtherApi) -> dict[str, str]:
    """The videos in a batch folder, each with the generation that it is of."""
    films = {api.film(task_id): task_id for task_id in api.tasks}
    found = {path.relative_to(batch).as_posix(): path.read_bytes() for path in sorted(batch.rglob("*.mp4*"))}
    return {path: films[content] for path, content in found.items() if content in films}


def main() -> None:
    """One folder for each way to be killed."""
    for ending, kill in {"": killed_while_submitting, "-moving": killed_while_moving}.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (folder / "home").mkdir()
            video = make_video(folder / "result.mp4", seconds=0.5, size=(32, 32))
            with other_api(video) as api, night(api):
                kill(folder, api)
                keep(folder, HERE / f"{sys.argv[1]}{ending}", api)


if __name__ == "__main__":
    main()
