"""Workbooks as tables: texts as people see them, faults with the cell's name, and files that are none."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from datetime import date
from importlib import util
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from manifest_folder import Folder

from lipsync_batch.errors import Problem
from lipsync_batch.manifest import Manifest, workbook
from lipsync_batch.manifest.workbook import cell_name

EXAMPLES = Path(__file__).parents[2] / "manifests"
JOBS = "jobs:\n  - {video: a.mp4, speaker: Emily, text: \"{lines['intro']['de']}\"}\n"
Cells = list[list[Any]]


def saved(path: Path, sheets: dict[str, Cells], **changes: Callable[[Any], None]) -> None:
    """A workbook with these sheets; `changes` are made to the sheets of their names."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        changes.get(name, lambda _: None)(sheet)
    book.save(path)


def manifest(spec: str = "{file: lines.xlsx}") -> str:
    return f"tables: {{lines: {spec}}}\n{JOBS}"


def text_of(folder: Folder, value: object, shown_as: str = "General") -> str:
    """What a job says whose text is a cell with this value."""

    def format_it(sheet: Any) -> None:
        sheet["B2"].number_format = shown_as

    saved(folder.path / "lines.xlsx", {"Texts": [["clip", "de"], ["intro", value]]}, Texts=format_it)
    (job,) = folder.jobs("a.yaml", manifest())
    return job.want.speech.text


def problem_of(folder: Folder, cells: Cells, spec: str = "{file: lines.xlsx}", **changes: Any) -> Problem:
    saved(folder.path / "lines.xlsx", {"Texts": cells}, **changes)
    return folder.problem("a.yaml", manifest(spec))


@pytest.mark.parametrize(
    ("value", "shown_as", "text"),
    [
        ("Grüß dich, {du}!", "General", "Grüß dich, {du}!"),
        (" two\nlines ", "General", "two\nlines"),
        (3, "General", "3"),
        (3.0, "General", "3"),
        (1.5, "General", "1.5"),
        (0.1 + 0.2, "General", "0.3"),
        (3, "@", "3"),
        (3, "0.00", "3.00"),
        (12345.5, "#,##0.0", "12,345.5"),
        (0.25, "0%", "25%"),
        (True, "General", "TRUE"),
    ],
)
def test_text_is_what_the_cell_shows(folder: Folder, value: object, shown_as: str, text: str) -> None:
    """1.0 is what the file holds; "1" is what the translator wrote."""
    assert text_of(folder, value, shown_as) == text


@pytest.mark.parametrize(
    ("value", "shown_as", "cause"),
    [
        (date(2026, 5, 1), "General", "holds a date or a time (2026-05-01 00:00:00)"),
        (9.5, '#,##0.00 "€"', 'holds a number (9.5) in the format "#,##0.00 "€""'),
        ("#REF!", "General", "holds the error #REF!"),
        (None, "General", "has an empty cell"),
        ("=A1", "General", "has an empty cell"),
    ],
    ids=["date", "currency", "error", "empty", "formula that was never calculated"],
)
def test_cell_whose_text_nobody_knows_is_named(folder: Folder, value: object, shown_as: str, cause: str) -> None:
    """A guess would be spoken, and paid for."""

    def format_it(sheet: Any) -> None:
        if value == "#REF!":
            sheet["B2"].data_type = "e"
        if shown_as != "General":
            sheet["B2"].number_format = shown_as

    problem = problem_of(folder, [["clip", "de"], ["intro", value]], Texts=format_it)

    assert problem.field == "text"
    assert "lines.xlsx, sheet Texts, B2" in problem.cause
    assert cause in problem.cause
    assert problem.remedy


def test_fault_of_a_cell_that_nobody_looks_up_is_none(folder: Folder) -> None:
    """A column with a date of delivery is ordinary."""
    cells: Cells = [["clip", "due", "de"], ["intro", date(2026, 5, 1), "Hallo"]]
    saved(folder.path / "lines.xlsx", {"Texts": cells})

    (job,) = folder.jobs("a.yaml", manifest())

    assert job.want.speech.text == "Hallo"


@pytest.mark.parametrize(
    ("cells", "where", "words"),
    [
        ([["clip", "de"], ["intro", "Hallo"], [None, "Ja"]], "sheet Texts, A3, clip", "the row has no name"),
        ([["clip", "de"], ["intro", "a"], ["intro", "b"]], "sheet Texts, A3, clip", '"intro" is in A2 too'),
        ([["clip", "de", "de"], ["intro", "a", "b"]], "sheet Texts, B1, de", 'two columns are called "de"'),
        ([[None], [None]], "sheet Texts", "is empty"),
    ],
)
def test_fault_of_the_sheet_names_file_sheet_and_cell(folder: Folder, cells: Cells, where: str, words: str) -> None:
    problem = problem_of(folder, cells)

    assert str(problem).startswith(f"{where}: ")
    assert words in problem.cause
    assert problem.file == folder.path / "lines.xlsx"


def test_titles_gaps_and_notes_beside_do_no_harm(folder: Folder) -> None:
    """As people keep their sheets; rows are counted as the spreadsheet counts them."""
    cells: Cells = [[], [None, None], ["clip", "fr", "de"], [], ["intro", "Salut", "Hallo", "a note under no column"]]
    saved(folder.path / "lines.xlsx", {"Texts": cells})
    (job,) = folder.jobs("a.yaml", manifest())

    assert job.want.speech.text == "Hallo"


def test_sheet_is_chosen_by_name_else_the_only_visible_one(folder: Folder) -> None:
    """Hidden ones hold lists for drop-downs, as a rule."""

    def hide(sheet: Any) -> None:
        sheet.sheet_state = "hidden"

    texts: Cells = [["clip", "de"], ["intro", "Hallo"]]
    saved(folder.path / "lines.xlsx", {"Lists": [["a"]], "Texts": texts}, Lists=hide)
    (job,) = folder.jobs("a.yaml", manifest())
    saved(folder.path / "lines.xlsx", {"Notes": [["a"]], "Texts": texts})
    (named,) = folder.jobs("a.yaml", manifest("{file: lines.xlsx, sheet: Texts}"))
    unnamed = folder.problem("a.yaml", manifest())
    misnamed = folder.problem("a.yaml", manifest("{file: lines.xlsx, sheet: texts}"))

    assert job.want.speech.text == named.want.speech.text == "Hallo"
    assert "has 2 sheets: Notes, Texts; say which: sheet: Notes" in str(unnamed)
    assert 'has no sheet "texts"; did you mean "Texts"?' in str(misnamed)
    assert str(misnamed).startswith("line 1, column 18, tables.lines.file: ")


def test_sheet_of_a_text_file_is_refused(folder: Folder) -> None:
    folder.write("lines.csv", "clip,de\nintro,Hallo\n")

    problem = folder.problem("a.yaml", manifest("{file: lines.csv, sheet: Texts}"))

    assert "lines.csv: has no sheets: it is text; leave sheet: away" in str(problem)


def _bomb() -> bytes:
    """Some kilobytes that unpack to 300 MB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/big.xml", "w") as part:
        for _ in range(300):
            part.write(bytes(1_000_000))
    return packed.getvalue()


def _far_cell() -> bytes:
    """A workbook whose only cell below the header claims to stand in the thousand millionth row."""
    plain, odd = io.BytesIO(), io.BytesIO()
    book = openpyxl.Workbook()
    book.active.append(["clip", "de"])
    book.active.append(["intro", "Hallo"])
    book.save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(odd, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("sheet1.xml"):
                content = content.replace(b'r="2"', b'r="999999999"').replace(b'2"', b'999999999"')
            target.writestr(name, content)
    return odd.getvalue()


def _without(part: str) -> bytes:
    plain, odd = io.BytesIO(), io.BytesIO()
    openpyxl.Workbook().save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(odd, "w") as target:
        for name in source.namelist():
            if name != part:
                target.writestr(name, source.read(name))
    return odd.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: b"clip;de\nintro;Hallo\n", "is damaged, or no workbook at all; open it in a spreadsheet"),
        (lambda: b"", "is damaged, or no workbook at all"),
        (lambda: _without("xl/worksheets/sheet1.xml"), "cannot be read as a workbook"),
        (lambda: _without("[Content_Types].xml"), "cannot be read as a workbook"),
        (lambda: workbook._OLE + bytes(600) + workbook._LOCKED, "is locked by a password; save it without one"),
        (lambda: workbook._OLE + bytes(600), "is a workbook of the old format (.xls); save it as .xlsx"),
        (_bomb, "holds 286 MiB when it is unpacked, more than the 256 that are read"),
        (_far_cell, 'has no row "intro"'),
    ],
    ids=["csv", "empty", "without its sheet", "without its list", "locked", "old", "bomb", "a cell far away"],
)
def test_file_that_is_no_workbook_is_told_with_the_remedy(
    folder: Folder, content: Callable[[], bytes], words: str
) -> None:
    """Never a traceback, and never more memory than a sheet of texts may need."""
    (folder.path / "lines.xlsx").write_bytes(content())

    problem = folder.problem("a.yaml", manifest())

    assert words in str(problem)


def test_without_the_extra_the_remedy_is_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(folder.path / "lines.xlsx", {"Texts": [["clip", "de"], ["intro", "Hallo"]]})
    monkeypatch.setattr(workbook, "find_spec", lambda name: None if name == "openpyxl" else util.find_spec(name))

    problem = folder.problem("a.yaml", manifest())

    assert "lines.xlsx: is a workbook, which needs packages that are not installed" in problem.cause
    assert problem.remedy.startswith("pip install 'lipsync-batch[xlsx]', or save the sheet as \"CSV UTF-8\"")


def test_example_says_the_same_from_a_workbook(tmp_path: Path) -> None:
    """Who changes from CSV to a workbook pays for nothing again: the texts, and so the pairs, are the same."""
    with (EXAMPLES / "translations.csv").open(encoding="utf-8-sig", newline="") as file:
        saved(tmp_path / "translations.xlsx", {"Texts": list(csv.reader(file))})
    grid = (EXAMPLES / "grid.yaml").read_text(encoding="utf-8").replace("media/", f"{EXAMPLES}/media/")
    (tmp_path / "csv.yaml").write_text(grid.replace("translations.csv", f"{EXAMPLES}/translations.csv"), "utf-8")
    (tmp_path / "xlsx.yaml").write_text(grid.replace("file: translations.csv", "file: translations.xlsx"), "utf-8")

    from_csv, from_workbook = (list(Manifest.load(tmp_path / f"{kind}.yaml").jobs()) for kind in ("csv", "xlsx"))

    assert [(job.key, job.want) for job in from_workbook] == [(job.key, job.want) for job in from_csv]
    assert len(from_workbook) == 6


@pytest.mark.parametrize(("index", "name"), [(0, "A5"), (25, "Z5"), (26, "AA5"), (701, "ZZ5"), (702, "AAA5")])
def test_cells_are_called_as_spreadsheets_call_them(index: int, name: str) -> None:
    assert cell_name(5, index) == name
