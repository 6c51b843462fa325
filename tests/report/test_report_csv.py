"""report.csv: opens in a spreadsheet as it is meant, and never as a program."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_factory import EVENING, failed, make_record, many, source_of

from lipsync_batch.jobs import JobRecord, StopReason
from lipsync_batch.report import write_reports
from lipsync_batch.report.csv_file import defused, writing_csv

FORMULA_SIGNS = "=+-@\t\r\n＝＋－＠"  # noqa: RUF001 - the full-width ones are the point


def restored(cell: str) -> str:
    """What the docs tell: drop the first character of a cell that begins with an apostrophe."""
    return cell.removeprefix("'")


def table(*records: JobRecord, labels: tuple[str, ...] = ()) -> list[dict[str, str]]:
    out = io.StringIO(newline="")
    list(writing_csv(out, labels, records))
    return list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))


@given(st.text(alphabet=st.one_of(st.sampled_from(FORMULA_SIGNS + " '\"\u00a0\u3000\u200b\ufeffaA1"), st.characters())))
def test_no_cell_runs_and_every_cell_comes_back(text: str) -> None:
    """A translation that begins with = is a translation, on the screen and after the way back."""
    cell = defused(text)

    assert isinstance(cell, str)
    assert restored(cell) == text
    assert not cell.strip(' \u00a0\u3000"\u200b\ufeff').startswith(tuple(FORMULA_SIGNS)) or cell.startswith("'")


@pytest.mark.parametrize("sign", FORMULA_SIGNS)
@pytest.mark.parametrize("before", ["", " ", '"', ' "', "\u200b", "\u3000", "\ufeff"])
def test_formulas_are_defused(sign: str, before: str) -> None:
    """Behind blanks and quotes too, which a spreadsheet skips."""
    assert defused(f"{before}{sign}HYPERLINK(1)") == f"'{before}{sign}HYPERLINK(1)"


@pytest.mark.parametrize("harmless", ["", "de/intro", "a=b", "1+1", "10:30", "Straße", "مرحبا"])
def test_other_cells_stay_as_they_are(harmless: str) -> None:
    """Only what is dangerous is touched."""
    assert defused(harmless) == harmless


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    """Costs and lengths can be summed, and small costs do not turn into 1e-06."""
    row = table(make_record(settled=1, quoted=-5, duration_seconds=1.5))[0]

    assert row["settled_usd"] == "0.000001"
    assert row["quoted_usd"] == "-0.000005"
    assert row["duration_seconds"] == "1.5"


def test_generation_id_that_begins_with_a_dash_comes_back(tmp_path: Path) -> None:
    """The provider gives such ids; one of them must still be found by its own name."""
    row = table(make_record(generation_id="-G3b3vVKdoC42fMNeK1T5"))[0]

    assert row["generation_id"] == "'-G3b3vVKdoC42fMNeK1T5"
    assert restored(row["generation_id"]) == "-G3b3vVKdoC42fMNeK1T5"


def test_file_is_what_spreadsheets_expect(tmp_path: Path) -> None:
    """Excel takes a file for UTF-8 by its first bytes; without them, umlauts are rubbish."""
    records = (make_record(0, speech="Tschüß, 日本"), make_record(1, speech="two\nlines"))
    paths = write_reports(source_of(*records), tmp_path, stop_reason=StopReason.FINISHED, written_at=EVENING)

    raw = paths.csv.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.count(b"\xef\xbb\xbf") == 1
    assert raw.count(b"\r\n") == 3
    with paths.csv.open(encoding="utf-8-sig", newline="") as file:
        assert [row["speech"] for row in csv.DictReader(file)] == ["Tschüß, 日本", "two\nlines"]


def test_labels_are_columns_though_only_the_last_job_has_them(tmp_path: Path) -> None:
    """The header holds the labels of all jobs, not only of the first."""
    source = source_of(
        make_record(0), make_record(1, labels={"language": "de"}), make_record(2, labels={"client": "N"})
    )
    paths = write_reports(source, tmp_path, stop_reason=StopReason.FINISHED, written_at=EVENING)

    with paths.csv.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["language"], row["client"]) for row in rows] == [("", ""), ("de", ""), ("", "N")]


def test_label_that_is_named_like_a_column_takes_nothing_from_it() -> None:
    """A label called `state` stands beside the state."""
    row = table(failed(labels={"state": "Bavaria"}), labels=("state",))[0]

    assert (row["state"], row["label.state"]) == ("failed", "Bavaria")


def test_label_names_are_defused_as_well() -> None:
    """The header is cells too."""
    row = table(make_record(labels={"=cmd()": "x"}), labels=("=cmd()",))[0]

    assert row["'=cmd()"] == "x"


def test_rows_stand_in_manifest_order() -> None:
    """The sheet can be laid beside the manifest."""
    assert [row["key"] for row in table(*many(3).records())] == ["job-000000", "job-000001", "job-000002"]
