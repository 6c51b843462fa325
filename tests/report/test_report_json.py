"""report.json: true to its published schema, exact, and written without holding the jobs."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from report_factory import EVENING, FakeSource, a_night, failed, make_record, many, source_of, unfinished

from lipsync_batch.jobs import Costs, JobRecord, State, StopReason
from lipsync_batch.report import Source, breakdown, rows, write_reports
from lipsync_batch.report.schema import Counts, json_schema, json_schema_text

PUBLISHED = Path(__file__).parents[2] / "docs" / "report.schema.json"


def written(source: Source, folder: Path, stop_reason: StopReason = StopReason.FINISHED) -> dict[str, Any]:
    paths = write_reports(source, folder, stop_reason=stop_reason, written_at=EVENING)
    document: dict[str, Any] = json.loads(paths.json.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    return document


def test_published_schema_is_the_one_the_program_writes_by() -> None:
    """Someone who builds on docs/report.schema.json builds on what the program does."""
    assert PUBLISHED.read_text(encoding="utf-8") == json_schema_text(), (
        "write json_schema_text() of lipsync_batch.report.schema there"
    )


def test_schema_is_valid_and_closed() -> None:
    """A schema that lets anything pass would promise nothing."""
    jsonschema.Draft202012Validator.check_schema(json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema_version": 1}, json_schema())


@pytest.mark.parametrize("stop_reason", list(StopReason))
def test_report_fits_its_schema(stop_reason: StopReason, tmp_path: Path) -> None:
    """Every stop reason and every state is a value that the schema knows."""
    source = source_of(*(unfinished(number, state) for number, state in enumerate(State)), failed(9), make_record(10))

    document = written(source, tmp_path, stop_reason)

    jsonschema.validate(document, json_schema(), format_checker=jsonschema.FormatChecker())
    assert document["stop_reason"] == stop_reason.value


def test_a_night_fits_the_schema(tmp_path: Path) -> None:
    """Labels, other scripts and emoji included."""
    document = written(a_night(5), tmp_path)

    jsonschema.validate(document, json_schema())


def test_empty_batch_is_a_whole_report(tmp_path: Path) -> None:
    """A manifest whose rows were all skipped still gives a document that programs can read."""
    document = written(source_of(), tmp_path)

    jsonschema.validate(document, json_schema())
    assert document["jobs"] == []


def test_every_state_is_counted_even_without_jobs(tmp_path: Path) -> None:
    """`counts.failed == 0` can be asked without first asking whether it is there."""
    document = written(source_of(make_record()), tmp_path)

    assert document["counts"] == {state.value: int(state is State.DONE) for state in State}
    assert set(Counts.model_fields) == {state.value for state in State}


def test_money_is_exact_and_names_its_unit(tmp_path: Path) -> None:
    """Sums over a month of reports are right to the last micro-dollar."""
    document = written(source_of(spent=Costs(estimated=3, quoted=None, settled=1_234_567)), tmp_path)

    assert document["cost"] == {"unit": "micro-USD", "estimated": 3, "quoted": None, "settled": 1_234_567}


def test_times_are_utc_and_durations_are_milliseconds(tmp_path: Path) -> None:
    """Two machines in two zones write the same night down alike."""
    record = make_record(
        finished_at=datetime(2026, 11, 22, 22, 0, 0, 123_456, tzinfo=UTC),
        duration_seconds=12.34567,
        generation_seconds=3,
    )

    job = written(source_of(record), tmp_path)["jobs"][0]

    assert job["finished_at"] == "2026-11-22T22:00:00.123Z"
    assert job["duration_seconds"] == 12.346
    assert job["generation_seconds"] == 3.0


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_damaged_media_do_not_break_the_document(broken: float, tmp_path: Path) -> None:
    """JSON knows no NaN; one odd file must not make the whole report unreadable."""
    job = written(source_of(make_record(duration_seconds=broken)), tmp_path)["jobs"][0]

    assert job["duration_seconds"] is None


def test_broken_characters_do_not_cost_the_report(tmp_path: Path) -> None:
    """A provider's half an emoji in an error message is kept as it came, and the report is whole."""
    job = written(source_of(failed(message="no face \ud83d")), tmp_path)["jobs"][0]

    assert job["error"]["message"] == "no face \ud83d"


def test_error_is_null_where_there_is_none(tmp_path: Path) -> None:
    """`job["error"]` is either an object with code and message or null, never half of one."""
    jobs = written(source_of(make_record(0), failed(1, code="lost", message="gone")), tmp_path)["jobs"]

    assert [job["error"] for job in jobs] == [None, {"code": "lost", "message": "gone"}]


def test_jobs_stand_in_manifest_order_one_a_line(tmp_path: Path) -> None:
    """`diff` of two mornings shows the jobs that changed, and only those."""
    write_reports(many(3), tmp_path, stop_reason=StopReason.FINISHED, written_at=EVENING)

    lines = (tmp_path / "report.json").read_text(encoding="utf-8").splitlines()

    jobs = [json.loads(line.rstrip(",")) for line in lines if line.startswith('{"key"')]
    assert [job["key"] for job in jobs] == ["job-000000", "job-000001", "job-000002"]


def test_same_batch_gives_the_same_bytes(tmp_path: Path) -> None:
    """Reports under version control change when the batch does, and not before."""
    first, second = tmp_path / "a" / "spring", tmp_path / "b" / "spring"
    for folder in (first, second):
        folder.mkdir(parents=True)
        paths = write_reports(a_night(4), folder, stop_reason=StopReason.FINISHED, written_at=EVENING)

    assert first.joinpath("report.json").read_bytes() == paths.json.read_bytes()
    assert first.joinpath("report.csv").read_bytes() == paths.csv.read_bytes()
    page, other = first.joinpath("report.html").read_text(), paths.html.read_text()
    assert page.replace(str(first), str(second)) == other


def troubled(count: int) -> FakeSource:
    """Jobs that have nothing in common: each with a pair, a label's value and an error of its own."""

    def records() -> Iterator[JobRecord]:
        for number in range(count):
            yield JobRecord(
                key=f"clip-{number}",
                output=f"clip-{number}.mp4",
                labels={"language": f"l{number % 13}", "line": f"{number}"},
                position=number,
                fingerprint=f"v1:{number:064x}",
                state=State.FAILED if number % 2 else State.DONE,
                video=f"clips/{number}.mp4",
                speech="Welcome back.",
                error_code=f"code-{number}",
                error_message=f"message {number}",
                generation_seconds=number / 7,
                submitted_at=EVENING,
                finished_at=EVENING + timedelta(minutes=number),
            )

    return FakeSource(make=records)


def peak_of(count: int, folder: Path) -> int:
    """Bytes held at most while the three reports are written."""
    tracemalloc.start()
    try:
        write_reports(troubled(count), folder, stop_reason=StopReason.FINISHED, written_at=EVENING)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million jobs no more is held than of those that the page shows."""
    monkeypatch.setattr(rows, "KEPT_ROWS", 1_000)
    monkeypatch.setattr(breakdown, "KEPT_PAIRS", 1_000)
    write_reports(many(1), tmp_path, stop_reason=StopReason.FINISHED, written_at=EVENING)

    assert peak_of(12_000, tmp_path) < 1.25 * peak_of(3_000, tmp_path)
