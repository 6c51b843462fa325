"""What `plan` says: what would be made, why, for how much and how long; and that `run --dry-run` says the same."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from lipsync_batch.batch import Batch
from lipsync_batch.cli import cli
from lipsync_batch.cli.tables import table
from lipsync_batch.clock import Clock
from lipsync_batch.errors import UsageError
from lipsync_batch.jobs import Selection
from lipsync_batch.plan import SHOWN_VALUES, Plan, Planner
from lipsync_batch.store import Store
from lipsync_batch.store.staging import Change

DOCS = Path(__file__).parent.parent / "docs" / "plan-and-status.md"
COLUMNS = ("key", "video", "audio", "text", "speaker", "take", "language")


def row(key: str, language: str = "de", **changes: str) -> dict[str, str]:
    video = "https://media.example/clip.mp4"
    return {"key": key, "video": video, "text": f"Text of {key}", "speaker": "Emily", "language": language, **changes}


class Project:
    """A manifest whose batch is made without a run: what counts is what the store holds."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "spring.csv"
        self.rows: list[dict[str, str]] = []

    def write(self, *rows: Mapping[str, str]) -> None:
        self.rows = [dict(row) for row in rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        self.path.write_text(text.getvalue(), encoding="utf-8")

    def batch(self, **settings: Any) -> Batch:
        return Batch.find(self.path, sandbox=True, flags=settings, environ={})

    def plan(self, selection: Selection | None = None, **options: Any) -> Plan:
        settings = {name: options.pop(name) for name in ("rate", "finish_by") if name in options}
        return self.batch(**settings).plan(selection or Selection(), **options)

    def store(self) -> Store:
        database = self.batch().location.database
        database.parent.mkdir(parents=True, exist_ok=True)
        return Store.open(database, Clock())

    def take_in(self, *rows: Mapping[str, str]) -> None:
        """What a run does before its lanes start."""
        self.write(*rows)
        batch = self.batch()
        with closing(self.store()) as store:
            if store.reads.bound() is None:
                store.bind(provider="sandbox", origin="sandbox", manifest="../../spring.csv")
            planner = Planner(batch._sound_manifest(), store, batch.settings)
            planner.stage()
            planner.check()
            planner.take_in()
            store.estimate(per_generation=240_000, per_second=0)

    def set_state(self, state: str, *keys: str) -> None:
        with closing(self.store()) as store:
            wanted = f"SELECT fingerprint FROM jobs WHERE key IN ({', '.join('?' * len(keys))})"
            store._database.execute(f"UPDATE pairs SET state = ? WHERE fingerprint IN ({wanted})", (state, *keys))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("change", "inputs"),
    [
        pytest.param({"text": "Another text"}, ("text",), id="text"),
        pytest.param({"speaker": "Oliver"}, ("speaker",), id="speaker"),
        pytest.param({"text": "Another", "speaker": "Oliver"}, ("text", "speaker"), id="text and speaker"),
        pytest.param({"video": "https://media.example/other.mp4"}, ("video",), id="video"),
        pytest.param({"take": "2"}, ("take",), id="take"),
        pytest.param({"text": "", "speaker": "", "audio": "https://media.example/a.wav"}, ("audio",), id="audio"),
        pytest.param(
            {"video": "https://media.example/clip.mp4?X-Amz-Signature=ab&X-Amz-Expires=60", "text": "Another"},
            ("text",),
            id="a link that was only signed anew is no other video",
        ),
    ],
)
def test_plan_says_which_input_changed(project: Project, change: dict[str, str], inputs: tuple[str, ...]) -> None:
    """Who sees 40 changed rows wants to know whether it was the translation or a clip that somebody cut again."""
    project.take_in(row("a"), row("b"), row("c"))
    project.set_state("done", "a", "b", "c")
    project.write(row("a", **change), row("b"), row("c"))

    plan = project.plan()

    assert plan.changes[Change.CHANGED] == 1
    assert [(reason.inputs, reason.jobs, reason.keys) for reason in plan.changed] == [(inputs, 1, ["a"])]


def test_other_recording_is_told_as_the_audio(project: Project) -> None:
    """The clip stays, the dub was recorded again."""
    spoken = {"text": "", "speaker": "", "audio": "https://media.example/a.wav"}
    project.take_in(row("a", **spoken))
    project.write(row("a", **{**spoken, "audio": "https://media.example/b.wav"}))

    assert [reason.inputs for reason in project.plan().changed] == [("audio",)]


def test_take_that_redo_chose_is_not_told_as_a_change(project: Project) -> None:
    """The user never touched the take: only the text."""
    project.take_in(row("a"))
    project.set_state("done", "a")
    project.batch().redo(["a"], reason="lips late")
    project.write(row("a", text="Another text"))

    assert [reason.inputs for reason in project.plan().changed] == [("text",)]


def test_reasons_add_up_to_the_changed_rows(project: Project) -> None:
    """Each row is in one line only, with the first few keys by name."""
    project.take_in(*(row(f"job-{number}") for number in range(9)))
    changed = [row(f"job-{number}", text="Another") for number in range(7)]
    project.write(*changed, row("job-7", speaker="Oliver"), row("job-8"))

    plan = project.plan()

    assert [(reason.inputs, reason.jobs) for reason in plan.changed] == [(("text",), 7), (("speaker",), 1)]
    assert plan.changed[0].keys == [f"job-{number}" for number in range(5)]


def test_removed_rows_are_counted_named_and_in_their_label(project: Project) -> None:
    """A sheet that lost its Japanese column must not look like a plan in which nothing happens."""
    project.take_in(row("a-de"), row("a-ja", "ja"), row("b-ja", "ja"))
    project.write(row("a-de"))

    plan = project.plan(by="language")

    assert plan.changes[Change.REMOVED] == 2
    assert plan.removed == ["a-ja", "b-ja"]
    assert plan.by["ja"].changes[Change.REMOVED] == 2
    assert plan.by["de"].changes[Change.REMOVED] == 0


def test_selection_narrows_everything(project: Project) -> None:
    """`--where language=de` is about German alone: counts, removed rows, cost, what changed."""
    project.take_in(row("a-de"), row("a-ja", "ja"), row("old-ja", "ja"))
    project.write(row("a-de", text="Another"), row("a-ja", "ja", text="Another"), row("b-ja", "ja"))

    german = project.plan(Selection(where={"language": "de"}))
    japanese = project.plan(Selection(where={"language": "ja"}))

    assert (german.jobs, german.selected, german.paid_pairs, german.cost) == (3, 1, 1, 240_000)
    assert (german.changes[Change.CHANGED], german.changes[Change.REMOVED]) == (1, 0)
    assert [japanese.changes[change] for change in (Change.NEW, Change.CHANGED, Change.REMOVED)] == [1, 1, 1]
    assert [reason.keys for reason in german.changed] == [["a-de"]]


def test_only_and_limit_are_planned_as_they_are_run(project: Project) -> None:
    """`--limit` leaves out the unfinished jobs behind the first so many, and no finished one."""
    project.take_in(row("a"), row("b"), row("c"), row("d"))
    project.set_state("done", "d")

    plan = project.plan(Selection(limit=2))

    assert (plan.changes[Change.WAITING], plan.changes[Change.DONE], plan.paid_pairs) == (2, 1, 2)
    assert project.plan(Selection(only=["[bc]"])).paid_pairs == 2
    with closing(project.store()) as store:
        assert store.reads.select(Selection(limit=2)) == plan.selected


def test_parts_by_label_add_up(project: Project) -> None:
    """A video that two languages share is paid for once, and so its cost is in one of the two."""
    shared = row("a", "de"), row("a-copy", "fr", text="Text of a"), row("b", "fr")
    project.write(*shared)

    plan = project.plan(by="language")

    assert plan.paid_pairs == 2
    assert {value: (part.paid_pairs, part.cost) for value, part in plan.by.items()} == {
        "de": (1, 240_000),
        "fr": (1, 240_000),
    }


def test_label_with_countless_values_is_summarised(project: Project) -> None:
    """`--by key-like-label` on a million rows must neither print nor hold a million lines."""
    project.write(*(row(f"job-{number:04}", f"l{number:04}") for number in range(SHOWN_VALUES + 50)))

    plan = project.plan(by="language")
    lines = CliRunner().invoke(cli, ["plan", str(project.path), "--sandbox", "--by", "language"]).output

    assert (len(plan.by), plan.more_values) == (SHOWN_VALUES, 50)
    assert len(lines.splitlines()) < 70
    assert "more values of language" in lines


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"where": {"language": "dee"}}, 'no job has language "dee"; there are de, fr, ja'),
        ({"where": {"lang": "de"}}, 'no job has a label "lang"; there is language'),
        ({"only": ["x*"]}, "no job's key fits --only x*"),
        ({"where": {"language": "de"}, "only": ["*-fr"]}, "no job's key fits --only *-fr among those with language=de"),
    ],
)
def test_selection_that_fits_nothing_says_what_there_is(
    project: Project, selection: dict[str, Any], message: str
) -> None:
    """A typo in a cron line must neither report success nor send anybody to the manifest to look."""
    project.take_in(row("a-de"), row("a-fr", "fr"), row("a-ja", "ja"))

    with pytest.raises(UsageError, match=re.escape(message)):
        project.plan(Selection(**selection))


def test_label_that_no_job_has_is_an_error_of_by(project: Project) -> None:
    """A table with one empty line would hide the typo."""
    project.write(row("a"))

    with pytest.raises(UsageError, match='no job has a label "langauge"; there is language'):
        project.plan(by="langauge")


DRY_RUNS = [
    pytest.param([], id="plain"),
    pytest.param(["--by", "language", "--where", "language=de"], id="by"),
    pytest.param(["--limit", "1", "--only", "a*"], id="selection"),
    pytest.param(["--rate", "2/m", "--budget", "0.30", "--max-in-flight", "3", "--typical-seconds", "50"], id="pace"),
    pytest.param(["--retry-failed"], id="retry"),
    pytest.param(["--collect-only"], id="collect"),
    pytest.param(["--json"], id="json"),
]


@pytest.mark.parametrize("flags", DRY_RUNS)
def test_dry_run_prints_what_plan_prints(project: Project, flags: list[str]) -> None:
    """`run ... -n` is how one makes sure of a long command line: it must not be another, coarser answer."""
    project.take_in(row("a"), row("b"), row("c", "fr"))
    project.set_state("failed", "b")
    project.write(row("a", text="Another"), row("b"), row("d", "fr"))

    planned = CliRunner().invoke(cli, ["plan", str(project.path), "--sandbox", *flags], catch_exceptions=False)
    tried = CliRunner().invoke(cli, ["run", str(project.path), "--sandbox", *flags, "-n"], catch_exceptions=False)

    assert planned.exit_code == tried.exit_code == 0
    assert planned.output == tried.output


def test_next_is_the_command_with_the_same_flags(project: Project) -> None:
    """It can be pasted as it is: paths with spaces are quoted, and a rehearsal stays one."""
    project.path = project.path.with_name("spring 1.csv")
    project.write(row("a"))

    flags = ["--sandbox", "--rate", "60/m", "--where", "language=de"]
    printed = CliRunner().invoke(cli, ["plan", str(project.path), *flags])

    command = f"lipsync-batch run '{project.path}' --sandbox --where language=de --rate 60/m"
    assert printed.output.splitlines()[-1] == f"Next:       {command}"


def test_plan_is_read_in_80_columns(project: Project) -> None:
    """Every kind of change at once, by a label with long and wide values."""
    wide = "日本語のとても長いラベルの値がここにあります、八十桁には収まりません"
    rows = [row(f"job-{number}", wide if number % 2 else "de-" + "x" * 70) for number in range(8)]
    project.take_in(*rows)
    for number, state in enumerate(("done", "failed", "unclear", "ready")):
        project.set_state(state, f"job-{number}")
    project.write(*rows[:4], {**rows[4], "text": "Another"}, rows[5], row("new", wide))

    plan = ["plan", str(project.path), "--sandbox", "--by", "language", "--rate", "1/m", "--finish-by", "8h"]
    lines = CliRunner().invoke(cli, plan, catch_exceptions=False).output.splitlines()

    paths = [lines[0], lines[-1]]
    assert [line for line in lines if cell_len(line) > 80 and line not in paths] == []
    assert set(Change) <= set(" ".join(lines).split())


@pytest.mark.parametrize("most", [30, 60, 80])
def test_table_fits_whatever_stands_in_it(most: int) -> None:
    """Columns that have no room go into a table below; none is lost, and none is smeared."""
    columns = [change.value for change in Change]
    rows = {"ジャパン" * 12: ["1,000,000"] * len(columns), "de": ["7"] * len(columns)}

    lines = list(table("language", columns, rows, most=most))

    assert all(cell_len(line) <= most for line in lines)
    assert " ".join(lines).count("1,000,000") == len(columns)
    assert set(columns) <= set(" ".join(lines).split())


def test_plan_takes_only_what_is_given_for_its_time(project: Project) -> None:
    """A submit and a poll a video, one a second, then the last generation: said with where each figure is from."""
    project.write(*(row(f"job-{number}") for number in range(200)))

    plan = project.plan(rate="1/s")

    assert plan.estimate.short_of_requests
    assert plan.estimate.seconds == pytest.approx(200 * 2.1 + 50, abs=5)
    assert (plan.estimate.speed.times_from, plan.estimate.speed.rate_from) == ("default", "given")


def test_plan_says_what_a_night_holds(project: Project) -> None:
    """The cron line that starts at 22:00 must know whether it is one night or five."""
    project.write(*(row(f"job-{number}") for number in range(200)))

    night = project.plan(rate="1/m", finish_by="1h").estimate.night

    assert night is not None
    assert night.pairs == 28
    assert night.nights == 8


def documented() -> Iterator[tuple[str, set[str]]]:
    """The tables of the document that name fields: (heading, names)."""
    for section in re.split(r"^#+ ", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        names = set(re.findall(r"^\| `([a-z_]+)`", section, re.MULTILINE))
        yield section.splitlines()[0], names


def test_document_of_a_plan_has_the_documented_fields(project: Project) -> None:
    """Programs read it: what is not in the documentation does not exist, and the other way round."""
    project.take_in(row("a"))
    project.write(row("a", text="Another"), row("b"))

    flags = ["--by", "language", "--json", "--finish-by", "8h"]
    printed = CliRunner().invoke(cli, ["plan", str(project.path), "--sandbox", *flags], catch_exceptions=False)

    document = json.loads(printed.output)
    fields = dict(documented())
    assert set(document) == fields["The document of `plan --json`"]
    assert set(document["time"]) == fields["`time`"]
    assert set(document["finish_by"]) == fields["`finish_by`"]
    assert set(document["by"]["de"]) == fields["A value in `by`"]
