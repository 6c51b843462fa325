"""What really happened: the sandbox's own records and the files on disk. What a batch says is checked against them."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash_sandbox import NO_FACE
from crash_scenarios import STRANGER, Scenario, batch_folder

_REQUEST_ID = re.compile(r'"client_request_id":\s*"(lb1\.([0-9a-f]+)\.[^"]+)"')
_UNALIKE = ("generation_id", "client_request_id", "submitted_at", "finished_at", "generation_seconds")
"""Of a job's report: what differs between any two batches."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A generation that the sandbox took."""

    client_request_id: str
    text: str
    """'' where it was the recording."""
    film: str | None
    """SHA-256 of its video; None before it is rendered."""
    charged: bool
    """Or to be charged at its end."""


class Truth:
    """What the sandbox accepted, by batch. Read from its database while it works."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._read = 0
        self._rows: dict[str, list[int]] = {}
        self.films: dict[str, str] = {}
        """SHA-256 of each text's video, as far as they were seen."""

    @property
    def batches(self) -> set[str]:
        """Every batch that something was accepted for, as of the last look."""
        return set(self._rows)

    def accepted(self, batch_id: str) -> list[Accepted]:
        """What was accepted for a batch."""
        with closing(sqlite3.connect(f"{self._database.as_uri()}?mode=ro", uri=True)) as database:
            for n, request_id in database.execute(
                "SELECT n, client_request_id FROM generations WHERE n > ? ORDER BY n", (self._read,)
            ):
                self._rows.setdefault(request_id.split(".")[1], []).append(n)
                self._read = n
            rows = database.execute(
                """
                SELECT client_request_id, wish, etag, error FROM generations JOIN renders USING (pair)
                WHERE n IN (SELECT value FROM json_each(?))
                """,
                (json.dumps(self._rows.get(batch_id, [])),),
            ).fetchall()
        found = [_accepted(*row) for row in rows]
        self.films |= {generation.text: generation.film for generation in found if generation.film}
        return found


def _accepted(request_id: str, wish: str, film: str | None, error: str | None) -> Accepted:
    text = json.loads(wish)["text"] or ""
    return Accepted(request_id, text, film, charged=error is None and text != NO_FACE)


@dataclass(frozen=True, slots=True)
class Ending:
    """What a finished batch looks like from outside, without what differs between any two of them."""

    exit_code: int
    report: Mapping[str, Any]
    files: frozenset[str]

    @classmethod
    def of(cls, manifest: Path, exit_code: int) -> Ending:
        folder = batch_folder(manifest)
        report = json.loads((folder / "report.json").read_text())
        del report["batch_id"]
        for job in report["jobs"]:
            for name in _UNALIKE:
                del job[name]
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        # How many posters a run makes depends on its time; a kill may leave none of their temporary files behind.
        files = {path for path in files if not (path.startswith("report.posters/") and path.endswith(".jpg"))}
        return cls(exit_code, report, frozenset(files))

    def differences(self, unbroken: Ending, *, sent_twice: frozenset[str]) -> Iterator[str]:
        """What is not as in an unbroken run. `sent_twice` are the keys of jobs that a person had submitted again."""
        if self.exit_code != unbroken.exit_code:
            yield f"exit code {self.exit_code} instead of {unbroken.exit_code}"
        for name in sorted(self.files - unbroken.files):
            yield f"a stray file: {name}"
        for name in sorted(unbroken.files - self.files):
            yield f"a file is missing: {name}"
        for name, value in unbroken.report.items():
            if name != "jobs" and self.report.get(name) != value:
                yield f"report.json: {name} is {self.report.get(name)} instead of {value}"
        yield from self._jobs(unbroken, sent_twice)

    def _jobs(self, unbroken: Ending, sent_twice: frozenset[str]) -> Iterator[str]:
        jobs = {job["key"]: job for job in self.report["jobs"]}
        if list(jobs) != [job["key"] for job in unbroken.report["jobs"]]:
            yield f"report.json: the jobs are {list(jobs)}"
            return
        for right in unbroken.report["jobs"]:
            for name, value in right.items():
                told = jobs[right["key"]].get(name)
                more = name == "attempts" and right["key"] in sent_twice
                if told != value and not (more and told > value):
                    yield f"report.json: {name} of {right['key']} is {told} instead of {value}"


class Intents:
    """run.log as a court would read it: every submit was written down before it left."""

    def __init__(self, manifest: Path) -> None:
        path = batch_folder(manifest) / "_batch" / "run.log"
        self._lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        found = [match for line in self._lines for match in _REQUEST_ID.finditer(line)]
        self.request_ids = {match[1] for match in found}
        self.batch_id = found[0][2] if found else ""

    def swallowed(self) -> Iterator[str]:
        """Lines that a torn one before them took along."""
        for line in self._lines:
            try:
                json.loads(line)
            except ValueError:
                if line.count('{"at"') > 1:
                    yield f"run.log: a torn line swallowed another: {line[:200]}"


def broken_laws(scenario: Scenario, manifest: Path, truth: Truth) -> Iterator[str]:
    """What must hold at every moment, whenever a process was killed."""
    intents = Intents(manifest)
    yield from intents.swallowed()
    accepted = truth.accepted(intents.batch_id) if intents.batch_id else []
    for generation in accepted:
        if generation.client_request_id not in intents.request_ids:
            yield f"{generation.client_request_id} was sent without a durable intent"
    for text, number in Counter(generation.text for generation in accepted if generation.charged).items():
        if number > 1 or text not in scenario.charged:
            yield f'the pair of "{text}" was paid for {number} times instead of {int(text in scenario.charged)}'
    yield from _wrong_videos(scenario, manifest, truth)


def _wrong_videos(scenario: Scenario, manifest: Path, truth: Truth) -> Iterator[str]:
    """Files under final names that are not whole, or not a video of the job."""
    for row in (*scenario.before, *scenario.rows):
        path = batch_folder(manifest) / row.output
        texts = [other.text for other in (*scenario.before, *scenario.rows) if other.output == row.output]
        if path.exists() and _digest(path) not in {truth.films.get(text) for text in texts} | {_STRANGER}:
            yield f"{row.output} stands there, and is not a video of its job"


def broken_promises(scenario: Scenario, manifest: Path, truth: Truth) -> Iterator[str]:
    """What must hold in the end."""
    yield from broken_laws(scenario, manifest, truth)
    charged = {generation.text for generation in truth.accepted(Intents(manifest).batch_id) if generation.charged}
    for text in sorted(scenario.charged - charged):
        yield f'the pair of "{text}" was never paid for'
    for output, text in scenario.delivered.items():
        path = batch_folder(manifest) / output
        if not path.exists() or _digest(path) != truth.films.get(text):
            yield f"{output} is not the video of its pair"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


_STRANGER = hashlib.sha256(STRANGER).hexdigest()
