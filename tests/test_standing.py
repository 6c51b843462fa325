"""A manifest that has not changed is not read again; whatever has changed is noticed as if it were."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from command import environment
from media_factory import make_audio, make_video
from other_api import other_api

from lipsync_batch import inputs
from lipsync_batch.batch import Batch
from lipsync_batch.clock import Clock
from lipsync_batch.jobs import Selection
from lipsync_batch.manifest import Manifest
from lipsync_batch.plan import Planner
from lipsync_batch.providers.base import Price
from lipsync_batch.runlog import RunLog
from lipsync_batch.session import Orders
from lipsync_batch.settings import Settings
from lipsync_batch.standing import Standing
from lipsync_batch.store import Store
from lipsync_batch.store.reads import Reads

YAML = """
tables: {lines: {file: lines.csv, key: clip}}
jobs:
  - {key: de, video: clip.mp4, text: "{lines['clip'][language]}", speaker: Emily, language: de}
  - {key: fr, video: clip.mp4, text: "{lines['clip'][language]}", speaker: Emily, language: fr}
  - {key: en, video: https://media.example/odd.webm, audio: dub.wav, language: en}
"""
PRICE = Price(per_generation=240_000, per_second=1_000)
LONG_AGO = time.time() - 3_600


class Project:
    """A manifest with all that it depends on, and the store that it was taken into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_video(folder / "clip.mp4")
        make_audio(folder / "dub.wav")
        self.write("lines.csv", "clip,de,fr\nclip,Hallo.,Bonjour.\n")
        self.write("spring.yaml", YAML)
        for path in folder.iterdir():
            os.utime(path, (LONG_AGO, LONG_AGO))  # a file that was changed a moment ago is read again the next time
        self.store = Store.open(folder / "jobs.db", Clock())
        self.store.bind(provider="fake", origin="https://fake.example", manifest="spring.yaml")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def manifest(self) -> Manifest:
        return Manifest.load(self.folder / "spring.yaml")

    def settings(self, **flags: Any) -> Settings:
        return Settings.layered(flags, {}, {})

    def planner(self, **flags: Any) -> Planner:
        """The manifest, read whole."""
        planner = Planner(self.manifest(), self.store, self.settings(**flags))
        planner.stage()
        return planner

    def take_in(self, **flags: Any) -> None:
        """What a run does with the manifest before its lanes start."""
        self.planner(**flags).take_in()
        self.store.estimate(per_generation=PRICE.per_generation, per_second=PRICE.per_second)

    def standing(self, **flags: Any) -> Standing | None:
        return Standing.of(self.manifest(), self.store, self.settings(**flags))

    def set_states(self, state: str, **where: str) -> None:
        """As runs would have left the pairs of some jobs."""
        (label, value), *_ = where.items()
        self.store._database.execute(
            "UPDATE pairs SET state = :state WHERE fingerprint IN "
            "(SELECT fingerprint FROM jobs WHERE json_extract(labels, :label) = :value)",
            {"state": state, "label": f"$.{label}", "value": value},
        )


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    project.store.close()


@pytest.mark.parametrize("where", [{}, {"language": "de"}, {"language": "fr"}], ids=["all", "some", "done"])
@pytest.mark.parametrize("priced", [True, False], ids=["priced", "unpriced"])
def test_what_is_said_of_an_unchanged_manifest_is_what_reading_it_says(
    project: Project, where: Mapping[str, str], priced: bool
) -> None:
    """Jobs, pairs to pay for, cost and warnings: the first line must not depend on how it was found out."""
    project.take_in()
    project.set_states("done", language="fr")
    price = PRICE if priced else None

    standing = project.standing()

    assert standing is not None
    selection = Selection(where=where)
    said, read = standing.outlook(price, selection), project.planner().outlook(price, selection)
    assert {**vars_of(said), "remade": 0} == vars_of(read)
    assert read.warning_count == 1, "the odd format is told of each time"
    assert read.paid_pairs == (2 if not where else 1 if where["language"] == "de" else 0)


def vars_of(outlook: Any) -> dict[str, Any]:
    named = {name: getattr(outlook, name) for name in outlook.__dataclass_fields__}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in named.items()}


def test_manifest_that_was_saved_again_as_it_was_still_stands(project: Project) -> None:
    """An editor that saves without a change, a checkout, a copy: the bytes count, not when they were written."""
    project.take_in()

    project.write("spring.yaml", YAML)
    project.write("lines.csv", "clip,de,fr\nclip,Hallo.,Bonjour.\n")

    assert project.standing() is not None


def other_speaker(project: Project) -> None:
    project.write("spring.yaml", YAML.replace("Emily", "Oliver", 1))


def other_line(project: Project) -> None:
    project.write("lines.csv", "clip,de,fr\nclip,Hallo!,Bonjour.\n")


def other_bytes_of_the_same_size(project: Project) -> None:
    path = project.folder / "clip.mp4"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def file_replaced_with_its_time_kept(project: Project) -> None:
    path = project.folder / "dub.wav"
    content = path.read_bytes()
    path.rename(project.folder / "kept.wav")
    path.write_bytes(content)
    os.utime(path, (LONG_AGO, LONG_AGO))


def file_gone(project: Project) -> None:
    (project.folder / "dub.wav").unlink()


def asked_for_again(project: Project) -> None:
    project.set_states("done", language="de")
    pair = project.store.reads.wanted_by(["de"])[0].pair

    async def redo() -> None:
        with RunLog(project.folder / "run.log", Clock()) as log, project.store.writing(log.durable) as ledger:
            await ledger.redo(pair.fingerprint, replace(pair, take=2, fingerprint="v1:other"), reason="lips late")

    asyncio.run(redo())


@pytest.mark.parametrize(
    "change",
    [
        other_speaker,
        other_line,
        other_bytes_of_the_same_size,
        file_replaced_with_its_time_kept,
        file_gone,
        asked_for_again,
    ],
)
def test_whatever_a_job_depends_on_is_noticed(project: Project, change: Callable[[Project], None]) -> None:
    """A changed input that is used silently is a wrong video, paid for."""
    project.take_in()
    assert project.standing() is not None

    change(project)

    assert project.standing() is None


def test_cell_of_a_workbook_that_changes_changes_its_pair_alone(project: Project) -> None:
    """The translators go on in their sheet: what they did not touch is neither made nor paid for again."""

    def save(line: str) -> None:
        book = openpyxl.Workbook()
        for row in (["clip", "de", "fr"], ["clip", "Hallo.", line]):
            book.active.append(row)
        book.save(project.folder / "lines.xlsx")

    save("Bonjour.")
    project.write("spring.yaml", YAML.replace("lines.csv", "lines.xlsx"))
    project.take_in()
    for language in ("de", "fr", "en"):
        project.set_states("done", language=language)
    assert project.standing() is not None

    save("Salut.")

    assert project.standing() is None
    assert project.planner().outlook(PRICE).paid_pairs == 1


@pytest.mark.parametrize(
    "flags",
    [{"media_base_url": "https://media.example/"}, {"inline_limit": "10"}, {"skip_invalid": True}],
    ids=lambda flags: next(iter(flags)),
)
def test_setting_that_decides_what_is_right_is_noticed(project: Project, flags: dict[str, Any]) -> None:
    """A file that is too large to be sent inline is an error under one setting, and none under the other."""
    project.take_in()

    assert project.standing(**flags) is None
    assert project.standing() is not None


def test_other_version_of_the_program_reads_everything_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may find faults that the older one did not know of, or name pairs in another way."""
    project.take_in()

    monkeypatch.setattr("lipsync_batch.digest.VERSION", "99.0")

    assert project.standing() is None


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param("  - {video: '*.mp4', text: Hi, speaker: Emily}\n", id="a glob finds other files later"),
        pytest.param(
            "  - {key: k, video: 'clip[1].mp4', text: Hi, speaker: Emily}\n", id="a file that is called like a glob"
        ),
        pytest.param("  - {key: k, video: ~/clip.mp4, text: Hi, speaker: Emily}\n", id="a home folder moves"),
    ],
)
def test_rows_that_depend_on_more_than_their_text_are_read_each_time(
    project: Project, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is added to a folder between two runs becomes a job of its own."""
    monkeypatch.setenv("HOME", str(project.folder))
    (project.folder / "clip[1].mp4").write_bytes((project.folder / "clip.mp4").read_bytes())
    project.write("spring.yaml", f"jobs:\n{rows}")

    project.take_in()

    assert project.standing() is None


def test_reading_with_faults_is_made_again(project: Project) -> None:
    """What was skipped must be told of each time, and counts in the exit code."""
    project.write("spring.yaml", YAML + "  - {key: bad, video: gone.mp4, text: Hi, speaker: Emily}\n")

    project.take_in(skip_invalid=True)

    assert project.standing(skip_invalid=True) is None


def test_missing_input_of_a_paid_pair_is_looked_for_each_time(project: Project) -> None:
    """It is no error while it is gone, but it may come back as another recording."""
    project.take_in()
    project.set_states("done", language="en")
    (project.folder / "dub.wav").unlink()

    project.take_in()

    assert project.standing() is None


def test_file_that_was_changed_a_moment_ago_is_read_again(project: Project) -> None:
    """Within one tick of the file system's clock it may change once more, and look the same."""
    os.utime(project.folder / "clip.mp4", ns=(time.time_ns(), time.time_ns() + inputs.RACY_NS))

    project.take_in()

    assert project.standing() is None


def test_manifest_that_is_written_to_while_it_is_read_is_read_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest is of what stood there before; the rows may be of what stands there now."""
    planner = project.planner()
    os.utime(project.folder / "spring.yaml")

    planner.take_in()

    assert project.standing() is None


def test_reading_that_was_not_taken_in_is_not_gone_by(project: Project) -> None:
    """A person who answers no has changed nothing."""
    project.take_in()
    other_speaker(project)

    project.planner()

    assert project.standing() is None
    project.write("spring.yaml", YAML)
    assert project.standing() is not None


@pytest.mark.slow
def test_second_run_reads_no_row_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million rows take half a minute to read; a run that only goes on has no need to."""
    video = make_video(tmp_path / "clip.mp4")
    os.utime(video, (LONG_AGO, LONG_AGO))
    rows = "".join(f"j{n},clip.mp4,Text {n},Emily,{'de' if n else 'fr'}\n" for n in range(4))
    (tmp_path / "spring.csv").write_text(f"key,video,text,speaker,language\n{rows}")
    with other_api(video, seconds=0.1) as api:
        environ = environment(tmp_path, api.url, LIPSYNC_BATCH_PRICE_PER_JOB="0.25")
        said: list[str] = []
        first = Batch.find(tmp_path / "spring.csv", environ=environ)
        first.run(Orders(selection=Selection(where={"language": "fr"})), say=said.append)
        assert len(api.tasks) == 1
        monkeypatch.setattr(Planner, "stage", lambda _: pytest.fail("the rows were read"))

        outcome = Batch.find(tmp_path / "spring.csv", environ=environ).run(say=said.append)

        assert outcome.exit_code == 0
        assert len(api.tasks) == 4
        folder = tmp_path.resolve() / "out" / "spring"
        assert said == [
            f"NEW {folder}: 4 jobs, 1 to pay for, about $0.25",
            f"RESUMED {folder}: 4 jobs, 3 to pay for, about $0.75",
        ]


def test_start_of_a_run_looks_at_no_row_of_a_large_batch(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked before the first submit is answered by an index: its plan holds no scan of a table."""
    project.take_in()
    plans: list[str] = []
    rows = Reads._rows

    def explained(self: Reads, sql: str, **parameters: object) -> Iterator[Any]:
        plans.extend(row["detail"] for row in rows(self, f"EXPLAIN QUERY PLAN {sql}", **parameters))
        return rows(self, sql, **parameters)

    monkeypatch.setattr(Reads, "_rows", explained)
    reads = project.store.reads

    reads.select()
    for question in (reads.pair_counts, reads.interrupted, reads.is_placed, reads.flights, reads.doubts):
        list(question() or ())  # type: ignore[call-overload]
    reads.turns(10)
    reads.arrivals(1)
    reads.generation_seconds(10)
    reads.finished(0, 10)

    assert plans
    large = ("SCAN p", "SCAN j", "SCAN g", "SCAN o", "SCAN pairs", "SCAN jobs", "SCAN generations", "SCAN outputs")
    assert [plan for plan in plans if plan in large] == []
