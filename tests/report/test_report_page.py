"""report.html: needs nothing from anywhere, and shows whatever a manifest or a provider says as text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_factory import BATCH, EVENING, MORNING, FakeSource, a_night, failed, make_record, source_of, unfinished

from lipsync_batch import report
from lipsync_batch.jobs import Costs, JobRecord, RunRecord, State, StopReason
from lipsync_batch.report import Posters, Source, rows, write_live_page, write_reports

HOSTILE = "</script><!--<img src=x onerror=alert(1)>\"'`&amp;{{70007*70007}}{% raw %}\u2028"


@dataclass
class Parsed(HTMLParser):
    """A page as a browser takes it apart: its elements, and the text inside scripts and styles."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    blocks: dict[str, str] = field(default_factory=dict)
    text: str = ""
    inside: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = dict(attrs).get("id") or tag if tag in {"script", "style"} else ""

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.blocks[self.inside] = self.blocks.get(self.inside, "") + data
        else:
            self.text += data

    @property
    def policy(self) -> str:
        metas = (attributes for tag, attributes in self.elements if tag == "meta")
        found = next(meta for meta in metas if meta.get("http-equiv") == "Content-Security-Policy")
        return found["content"] or ""

    @property
    def jobs(self) -> list[dict[str, Any]]:
        return [dict(zip(rows.FIELDS, row, strict=True)) for row in json.loads(self.blocks["rows"])]


def page(source: Source, folder: Path, stop_reason: StopReason = StopReason.FINISHED) -> Parsed:
    return parse(write_reports(source, folder, stop_reason=stop_reason, written_at=MORNING).html)


def parse(path: Path) -> Parsed:
    parsed = Parsed()
    parsed.feed(path.read_text(encoding="utf-8"))
    return parsed


def hostile_source() -> FakeSource:
    changes: dict[str, Any] = {
        "key": HOSTILE,
        "output": HOSTILE,
        "labels": {HOSTILE: HOSTILE, "other": "x"},
        "video": HOSTILE,
        "speech": HOSTILE,
        "speaker": HOSTILE,
        "generation_id": HOSTILE,
        "client_request_id": HOSTILE,
    }
    run = RunRecord(started_at=EVENING, ended_at=None, stop_reason=StopReason.CRASHED, exit_code=None, version=HOSTILE)
    return source_of(
        make_record(0, suspect=HOSTILE, **changes),
        failed(1, code=HOSTILE, message=HOSTILE, **changes),
        failed(2, code=HOSTILE, message=HOSTILE + "!", **(changes | {"labels": {HOSTILE: "y", "other": HOSTILE}})),
        unfinished(3, State.UNCLEAR, error_code=HOSTILE, error_message=HOSTILE, **changes),
        about=replace(BATCH, batch_id=HOSTILE, provider=HOSTILE, origin=HOSTILE, manifest=HOSTILE),
        ran=[run],
    )


def test_policy_comes_before_all_that_it_governs(tmp_path: Path) -> None:
    """A browser holds to a policy from the element on in which it stands."""
    parsed = page(a_night(3), tmp_path)

    tags = [tag for tag, _ in parsed.elements]
    assert tags[:4] == ["html", "head", "meta", "meta"]
    assert parsed.elements[3][1]["http-equiv"] == "Content-Security-Policy"


def test_policy_allows_nothing_but_the_page_and_what_lies_beside_it(tmp_path: Path) -> None:
    """No request leaves: not for a font, not for a frame, not for a form."""
    directives = dict(part.split(" ", 1) for part in page(a_night(3), tmp_path).policy.split("; "))

    assert directives["default-src"] == "'none'"
    assert directives["base-uri"] == directives["form-action"] == "'none'"
    assert directives["img-src"] == directives["media-src"] == "'self'"
    assert "unsafe" not in " ".join(directives.values())


@pytest.mark.parametrize("kind", ["script", "style"])
def test_policy_holds_the_hash_of_what_the_page_runs(kind: str, tmp_path: Path) -> None:
    """With a wrong hash the page would be dead; with none, anything could be run in it."""
    parsed = page(a_night(3), tmp_path)

    digest = base64.b64encode(hashlib.sha256(parsed.blocks[kind].encode()).digest()).decode()
    assert f"{kind}-src 'sha256-{digest}'" in parsed.policy


def test_page_has_nothing_that_the_policy_would_refuse(tmp_path: Path) -> None:
    """No style attributes, no handlers, nothing fetched: the console stays empty."""
    for tag, attributes in page(a_night(3), tmp_path).elements:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        assert tag not in {"link", "img", "iframe", "object", "base", "form"}
        assert "src" not in attributes
        assert not re.match(r"\w+:|//", attributes.get("href") or "")


def test_hostile_texts_are_only_text(tmp_path: Path) -> None:
    """A key, a label or a provider's error that is markup is shown, and does nothing."""
    parsed = page(hostile_source(), tmp_path)
    tags = [tag for tag, _ in parsed.elements]

    assert tags.count("script") == 3
    assert "img" not in tags
    assert HOSTILE in parsed.text
    assert "4900980049" not in parsed.text
    assert parsed.jobs[0]["key"] == parsed.jobs[0]["labels"][0] == HOSTILE
    assert (parsed.jobs[1]["error"], parsed.jobs[1]["message"]) == (HOSTILE, HOSTILE)
    assert json.loads(parsed.blocks["about"])["labels"] == [HOSTILE, "other"]


def test_hostile_batch_folder_is_only_text(tmp_path: Path) -> None:
    """The folder's name is the page's title and part of a command: quoted for the shell, escaped for the page."""
    folder = tmp_path / "<b>it's $(here)"
    folder.mkdir()

    parsed = page(source_of(failed()), folder)

    assert "b" not in [tag for tag, attributes in parsed.elements if not attributes and tag == "h1"]
    assert "<b>it's $(here)" in parsed.text
    assert "'\"'\"'s $(here)'" in parsed.text


def test_headline_says_where_it_stands_and_what_to_do(tmp_path: Path) -> None:
    """The morning's first glance: how many, why it stopped, which command goes on."""
    source = source_of(make_record(0), failed(1), unfinished(2))

    parsed = page(source, tmp_path, StopReason.CREDITS)

    assert "1 of 3 videos are done, 1 failed, 1 is left." in parsed.text
    assert "out of credits" in parsed.text
    assert f"lipsync-batch run {tmp_path}" in parsed.text
    assert f"lipsync-batch retry {tmp_path}" in parsed.text


def test_cost_tells_a_quote_from_a_charge(tmp_path: Path) -> None:
    """What the provider named is not yet what it took."""
    text = " ".join(page(source_of(make_record(), spent=Costs(quoted=1_000_000)), tmp_path).text.split())

    assert "$1.00 quoted" in text
    assert "settled" not in text.split("A generation takes")[0]


@pytest.mark.parametrize("stop_reason", list(StopReason))
@pytest.mark.parametrize(
    "records",
    [
        [],
        [unfinished()],
        [make_record()],
        [make_record(finished_at=None, submitted_at=None, generation_seconds=None, duration_seconds=None)],
        [unfinished(0, State.SUBMITTED), unfinished(1, State.READY), unfinished(2, State.SUBMITTING)],
        [unfinished(0, State.FAILED)],
    ],
    ids=["no job", "nothing done", "one done", "done long ago", "in between", "without a word"],
)
def test_page_is_there_however_the_batch_stands(
    records: list[JobRecord], stop_reason: StopReason, tmp_path: Path
) -> None:
    """A chart without values or a run without an end must not cost the page."""
    run = RunRecord(started_at=EVENING, ended_at=None, stop_reason=stop_reason, exit_code=None, version="0.1.0")

    parsed = page(source_of(*records, ran=[run], spent=Costs()), tmp_path, stop_reason)

    assert len(parsed.jobs) == len(records)


def test_too_many_jobs_are_shown_problems_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million jobs those that need somebody are on the page, and it says where the others are."""
    monkeypatch.setattr(rows, "KEPT_ROWS", 4)
    records = [make_record(number) for number in range(5)]
    records += [unfinished(5), make_record(6, suspect="short"), failed(7), unfinished(8, State.UNCLEAR), unfinished(9)]

    parsed = page(source_of(*records), tmp_path)

    assert [job["position"] for job in parsed.jobs] == [5, 6, 7, 8]
    assert "Of 10 jobs, 4 are here" in parsed.text
    assert json.loads(parsed.blocks["about"])["complete"] is False


def test_page_of_a_run_that_goes_on_says_so(tmp_path: Path) -> None:
    """Nobody takes the picture of half a night for its end."""
    source = source_of(make_record(0), unfinished(1))
    write_live_page(source, tmp_path, written_at=MORNING, again_after=30.0, posters=Posters(tmp_path))

    parsed = parse(tmp_path / "report.html")

    assert json.loads(parsed.blocks["about"])["again_after"] == 30.0
    assert "A run is going on." in parsed.text
    assert "it is written again every 30 s, and loads itself" in parsed.text
    assert "lipsync-batch run" not in parsed.text
    assert not {path.name for path in tmp_path.iterdir()} - {"report.html"}
    assert "report.csv" not in [attributes.get("href") for _, attributes in parsed.elements]


def test_shares_by_label_charge_a_shared_pair_once(tmp_path: Path) -> None:
    """The sums by language are the sum of the batch, though two clients share a video."""
    records: Iterator[JobRecord] = (
        make_record(number, fingerprint="v1:same", labels={"client": name}, settled=480_000)
        for number, name in enumerate(("Nordwind", "Südlicht"))
    )

    text = page(source_of(*records), tmp_path).text

    share = text.split("By label")[1]
    assert share.count("$0.48") == 1
    assert share.count("1 of 1") == 2


def test_installed_package_holds_what_the_page_is_made_of() -> None:
    """`pip install` takes only files that pyproject.toml names; without its style the page could not be written."""
    package = Path(report.__file__).parent
    project = tomllib.loads((package.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["*"]

    parts = [path for path in package.iterdir() if path.is_file() and path.suffix != ".py"]

    assert {path.name for path in parts} == {"page.html.j2", "page.css", "page.js"}
    assert [path.name for path in parts if not any(path.match(pattern) for pattern in patterns)] == []
