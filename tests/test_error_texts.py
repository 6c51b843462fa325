"""What people read when something goes wrong: what, why, and what to do, with the command to type.

Each class of error is met through the real command line, and its whole text is read.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from command import KEY, called, environment, run
from media_factory import make_video
from object_store import object_server
from other_api import OtherApi, other_api

from lipsync_batch import account, errors, exits, lock
from lipsync_batch.errors import LipsyncBatchError


class Scene:
    """A project with one clip, a manifest, and an API; `left` holds what is to be undone in the end."""

    def __init__(self, folder: Path, left: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.left = left
        self.monkeypatch = monkeypatch
        make_video(folder / "clip.mp4", seconds=0.5)
        self.write("spring.csv", "a,clip.mp4,Hello,Emily")
        self.variables: dict[str, str] = {"AIMLAPI_BASE_URL": "http://127.0.0.1:9", "AIMLAPI_API_KEY": KEY}

    def write(self, name: str, *rows: str) -> None:
        (self.folder / name).write_text("\n".join(["key,video,text,speaker", *rows]), encoding="utf-8")

    def api(self) -> OtherApi:
        api = self.left.enter_context(other_api(self.folder / "clip.mp4", key=KEY, seconds=0.0))
        self.variables["AIMLAPI_BASE_URL"] = api.url
        return api

    def batch(self) -> Path:
        """A batch that was run; its state folder."""
        self.api()
        assert self.call("run", "spring.csv").returncode == exits.DONE
        return self.folder / "out" / "spring" / "_batch"

    def call(self, *arguments: str) -> CompletedProcess[str]:
        how = run if arguments[0] == "run" else called  # a run takes over signals
        return how(*arguments, env=environment(self.folder, **self.variables), cwd=self.folder)


def usage(scene: Scene) -> CompletedProcess[str]:
    return scene.call("plan", "sprig.csv")


def manifest(scene: Scene) -> CompletedProcess[str]:
    scene.write("spring.csv", "a,clip.mp4,Hello,Emilly", "b,gone.mp4,Hello,Emily")
    return scene.call("plan", "spring.csv")


def batch(scene: Scene) -> CompletedProcess[str]:
    scene.batch()
    scene.write("summer.csv", "a,clip.mp4,Hello,Emily")
    return scene.call("plan", "summer.csv", "--out", "out/spring")


def held(scene: Scene) -> CompletedProcess[str]:
    state = scene.batch()
    scene.left.enter_context(lock.held(state))
    return scene.call("retry", "spring.csv")


def disk(scene: Scene) -> CompletedProcess[str]:
    state = scene.batch()
    (state / "jobs.db").rename(state / "kept.db")
    (state / "jobs.db").mkdir()
    return scene.call("status", "spring.csv")


def silent_store(scene: Scene) -> CompletedProcess[str]:
    scene.api()
    scene.variables |= {
        "AWS_ACCESS_KEY_ID": "A",
        "AWS_SECRET_ACCESS_KEY": "S",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    }
    return scene.call("run", "spring.csv", "--store", "s3://deliveries/spring")


def odd_name(scene: Scene) -> CompletedProcess[str]:
    scene.api()
    server = scene.left.enter_context(object_server())
    server.empty()  # what servers of one process hold is one
    server.bucket("deliveries")
    server.client.put_object(Bucket="deliveries", Key="spring/_batch/arriving//odd", Body=b"a stranger's")
    scene.variables |= server.environment
    return scene.call("run", "spring.csv", "--store", "s3://deliveries/spring")


def damaged(scene: Scene) -> CompletedProcess[str]:
    (scene.batch() / "jobs.db").write_text("this is no database, but a text of some length" * 100, encoding="utf-8")
    return scene.call("status", "spring.csv")


def unreachable(scene: Scene) -> CompletedProcess[str]:
    api = scene.api()
    api.lose_answers, api.log_status = 1.0, 404
    assert scene.call("run", "spring.csv", "--resolve-for", "0s").returncode == exits.LOOK
    api.on_request = lambda handler: handler.answer(503, body=b"") or True
    scene.monkeypatch.setattr("lipsync_batch.resolving.ASKED", 1)
    return scene.call("resolve", "spring.csv", "a", "--adopt=an-id")


def action(scene: Scene) -> CompletedProcess[str]:
    del scene.variables["AIMLAPI_API_KEY"]
    return scene.call("run", "spring.csv")


def extra(scene: Scene) -> CompletedProcess[str]:
    scene.monkeypatch.setattr(account, "find_spec", lambda name: None if name == "uvicorn" else util.find_spec(name))
    return called("run", "spring.csv", "--sandbox", env=environment(scene.folder), cwd=scene.folder)


def stale(scene: Scene) -> CompletedProcess[str]:
    """Somebody edits jobs.db while a submit is on its way."""
    api = scene.api()

    def edit(*_: object) -> bool:
        with closing(sqlite3.connect(scene.folder / "out/spring/_batch/jobs.db", timeout=5)) as database:
            database.execute("UPDATE pairs SET state = 'failed'")
            database.commit()
        return False

    api.on_submit = edit
    return scene.call("run", "spring.csv")


@dataclass(frozen=True)
class Text:
    """How an error is met, and what must be read then."""

    provoke: Callable[[Scene], CompletedProcess[str]]
    code: int
    words: tuple[str, ...]


TEXTS: dict[type[LipsyncBatchError], Text] = {
    errors.UsageError: Text(
        usage,
        2,
        ("Error: sprig.csv: there is no such manifest or batch folder", "Hint: Check its name", "lipsync-batch init"),
    ),
    errors.ManifestError: Text(
        manifest,
        2,
        (
            'spring.csv, row 1, line 2, speaker: unknown speaker "Emilly"; did you mean "Emily"?',
            'spring.csv, row 2, line 3, video: "',
            "gone.mp4",
            "Hint: Nothing was submitted. Mend these, or go on without them: --skip-invalid",
        ),
    ),
    errors.BatchError: Text(
        batch,
        2,
        (
            "out/spring: this batch belongs to another manifest, ../../spring.csv",
            "Hint: Choose another folder",
            "--out",
        ),
    ),
    errors.BatchHeldError: Text(
        held,
        4,
        ("Error: another run holds this batch (process ", "out/spring", "Hint: Wait", "`lipsync-batch status`"),
    ),
    errors.DiskError: Text(
        disk,
        3,
        ("_batch/jobs.db: cannot be written or read (", "run the same command again"),
    ),
    errors.OutputStoreError: Text(
        silent_store,
        3,
        (
            "Error: s3://deliveries/spring/_batch/batch.json: cannot be written or read (",
            "Hint: Look after that store",
            "run the same command again",
        ),
    ),
    errors.UnlistableError: Text(
        odd_name,
        3,
        ("Error: s3://deliveries/spring/_batch/arriving: cannot be listed (", "Hint: Rename that object"),
    ),
    errors.DamagedError: Text(
        damaged,
        2,
        (
            "_batch/jobs.db: not a database that can be used",
            "Hint: Have it made again: `lipsync-batch rebuild MANIFEST`",
        ),
    ),
    errors.UnreachableError: Text(
        unreachable,
        3,
        ("Error: the API does not say whether it knows the generation: ", "Nothing was changed", "resolve BATCH KEY"),
    ),
    errors.ActionNeededError: Text(
        action,
        5,
        ("Error: There is no API key", "Hint: Set AIMLAPI_API_KEY, or AIMLAPI_API_KEY_FILE", "--sandbox"),
    ),
    errors.MissingExtraError: Text(
        extra,
        2,
        ("Error: --sandbox needs packages that are not installed", "Hint: pip install 'lipsync-batch[sandbox]'"),
    ),
    errors.StalePairError: Text(
        stale,
        70,
        ("Error: jobs.db: 0 rows changed instead of 1", "Hint: Was jobs.db edited", "run the same command again"),
    ),
}


def classes(root: type[LipsyncBatchError]) -> Iterator[type[LipsyncBatchError]]:
    for child in root.__subclasses__():
        yield child
        yield from classes(child)


def test_every_class_of_error_has_its_text_read() -> None:
    """A new class brings its way to be met along, or this fails; and it is drawn in the tree."""
    ours = {found for found in classes(LipsyncBatchError) if found.__module__.startswith("lipsync_batch")}

    assert set(TEXTS) == ours
    assert {found.__name__ for found in ours if found.__name__ not in (errors.__doc__ or "")} == set()


@pytest.mark.slow
@pytest.mark.parametrize("kind", TEXTS, ids=lambda kind: kind.__name__)
def test_error_says_what_why_and_what_to_do(
    kind: type[LipsyncBatchError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At night it is read in a mail, by somebody who did not write the program."""
    with ExitStack() as left:
        told = TEXTS[kind].provoke(Scene(tmp_path, left, monkeypatch))

    assert told.returncode == TEXTS[kind].code, told.stderr
    for words in TEXTS[kind].words:
        assert words in told.stderr, told.stderr
    assert "\nHint: " in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1 2"])
def test_streams_that_are_closed_do_no_harm(tmp_path: Path, closed: str) -> None:
    """Some who start programs close what they do not use. The next file, jobs.db say, must not be printed into."""
    (tmp_path / "spring.csv").write_text("key,video,text,speaker\na,gone.mp4,Hi,Emily\n", encoding="utf-8")
    script = f"import os, sys; [os.close(int(n)) for n in '{closed}'.split()]; os.execv(sys.executable, sys.argv[1:])"

    began = time.monotonic()
    ended = run_python(script, "plan", "spring.csv", folder=tmp_path)

    assert ended.returncode == exits.MANIFEST, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ("gone.mp4" in ended.stderr) == ("2" not in closed)
    assert time.monotonic() - began < 30


def run_python(script: str, *arguments: str, folder: Path) -> CompletedProcess[str]:
    """The command line, started by a script of Python."""
    command = [sys.executable, "-c", script, sys.executable, "-m", "lipsync_batch", *arguments]
    env = environment(folder)
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("rum", "spring.csv"), "Did you mean `lipsync-batch run`?"),
        (("frobnicate",), "Did you mean `lipsync-batch --help`?"),
        (("run", "spring.csv", "--budgett", "4"), "'--budget'"),
        (("run", "spring.csv", "--rate", "fast"), '--rate: "fast" is not a rate; write it like 60/m'),
        (("run", "spring.csv", "--budget", "forty"), '"forty" is not an amount in USD; write it like 40'),
        (("run", "spring.csv", "--finish-by", "tomorrow"), "neither a time of day nor a duration; write it like 06:00"),
        (("status", "spring.csv"), "`lipsync-batch run spring.csv` makes the batch"),
        (("init", "nowhere"), "Name a folder with videos, a CSV file or a workbook."),
        (("plan", "empty.csv"), "empty.csv: is empty; begin it with a row that names the columns"),
        (("plan", "."), "Name a manifest, or the folder that `run` made for it."),
    ],
)
def test_what_was_typed_wrong_is_told_with_what_is_right(tmp_path: Path, typed: tuple[str, ...], words: str) -> None:
    (tmp_path / "spring.csv").write_text("key,video,text,speaker\na,gone.mp4,Hi,Emily\n", encoding="utf-8")
    (tmp_path / "empty.csv").touch()

    told = called(*typed, env=environment(tmp_path), cwd=tmp_path)

    assert told.returncode == exits.MANIFEST
    assert words in told.stderr, told.stderr
    assert "Traceback" not in told.stderr
