"""Sheets of workbooks (.xlsx), read as people see them: an extra, for CSV needs no more than Python.

A number is the text that its cell shows, as far as that can be known. What cannot be (dates, currencies: they depend on
the country) is a fault of the cell; so is an error such as #REF!. A fault matters only to whoever looks the cell up.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lipsync_batch.errors import ManifestError, Problem
from lipsync_batch.jobs import Place
from lipsync_batch.manifest.faults import FieldError, nearest
from lipsync_batch.manifest.sheet import Record

ENDINGS = (".xlsx", ".xlsm")
AS_CSV = 'save the sheet as "CSV UTF-8"'
MOST_BYTES = 256 * 1024 * 1024
"""Of all that is packed in a workbook: a file of a few kilobytes may claim to hold terabytes."""
MOST_COLUMNS = 1_000
MOST_ROWS = 1_048_576
"""As many as spreadsheets have: a file may claim to have more."""
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How files of the old formats begin, and the envelope of those that are locked by a password."""
_LOCKED = "EncryptedPackage".encode("utf-16-le")
_LOOKED_AT = 8 * 1024 * 1024
_PLAIN_FORMAT = re.compile(r"(?P<thousands>#,##)?0(?:\.(?P<decimals>0+))?(?P<percent>%)?")
_AS_TEXT = "format the cell as text and write what is to be said"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkbookSheet:
    """One sheet, read whole: it is a table that people translate in."""

    name: str
    header: list[str]
    """Trimmed; empty where a column has no name."""
    first_line: int
    """The sheet's row with the header."""
    rows: list[Record] = field(repr=False)
    """`line` is the number of the sheet's row."""
    faults: Mapping[tuple[int, int], FieldError] = field(repr=False)
    """By the sheet's row and the column's index: cells whose text nobody can know."""

    def records(self) -> Iterator[Record | Problem]:
        yield from self.rows

    def place(self, line: int, index: int) -> Place:
        return Place(cell=f"sheet {self.name}, {cell_name(line, index)}")


def is_workbook(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS


def cell_name(line: int, index: int) -> str:
    """What a spreadsheet calls a cell; `index` counts columns from 0.

    >>> cell_name(7, 2), cell_name(1, 27)
    ('C7', 'AB1')
    """
    letters, rest = "", index + 1
    while rest:
        rest, letter = divmod(rest - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"{letters}{line}"


def sheet_names(path: Path) -> list[str]:
    """The sheets that people see, in their order."""
    with _opened(path) as book:
        return [sheet.title for sheet in book.worksheets if sheet.sheet_state == "visible"]


def open_sheet(path: Path, name: str | None) -> WorkbookSheet:
    """The sheet called `name`; without one the only one that can be seen.

    ManifestError where there is no such sheet, no header in it, or no workbook that can be read.
    """
    with _opened(path) as book:
        sheet = _chosen(path, book, name)
        sheet.reset_dimensions()  # what a file says of its own size is often wrong
        first, header = _header(sheet)
        if not header:
            place, remedy = Place(cell=f"sheet {sheet.title}"), "begin it with a row that names the columns"
            raise ManifestError(path, [Problem(place=place, cause="is empty", remedy=remedy)])
        rows, faults = _below(sheet, first, len(header))
        return WorkbookSheet(name=sheet.title, header=header, first_line=first, rows=rows, faults=faults)


def _chosen(path: Path, book: Any, name: str | None) -> Any:
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    seen = [title for title, sheet in sheets.items() if sheet.sheet_state == "visible"]
    if name is None and len(seen) == 1:
        return sheets[seen[0]]
    if name in sheets:
        return sheets[name]
    if name is None:
        names = ", ".join(seen or sheets)
        raise _unreadable(path, f"has {len(seen)} sheets: {names}", f"say which: sheet: {(seen or [*sheets])[0]}")
    meant = nearest(name, sheets)
    remedy = f'did you mean "{meant}"?' if meant else f"there are {', '.join(sheets)}"
    raise _unreadable(path, f'has no sheet "{name}"', remedy)


def _header(sheet: Any) -> tuple[int, list[str]]:
    """The first row that says anything: its number, and its texts up to the last one."""
    for line, cells in enumerate(sheet.iter_rows(max_row=MOST_ROWS, max_col=MOST_COLUMNS), 1):
        header = [_shown(cell)[0].strip() for cell in cells]
        while header and not header[-1]:
            header.pop()
        if header:
            return line, header
    return 0, []


def _below(sheet: Any, first: int, width: int) -> tuple[list[Record], dict[tuple[int, int], FieldError]]:
    """The rows below the header, without the empty ones, and the cells whose text nobody can know."""
    rows: list[Record] = []
    faults: dict[tuple[int, int], FieldError] = {}
    for line, cells in enumerate(sheet.iter_rows(min_row=first + 1, max_row=MOST_ROWS, max_col=width), first + 1):
        if all(cell.value is None for cell in cells):
            continue
        shown = [_shown(cell) for cell in cells]
        faults |= {(line, index): fault for index, (_, fault) in enumerate(shown) if fault is not None}
        rows.append(Record(len(rows) + 1, line, [text for text, _ in shown]))
    return rows, faults


def _shown(cell: Any) -> tuple[str, FieldError | None]:
    """What people see in a cell, and where that is not known, why."""
    value = cell.value
    match value:
        case None:
            return "", None
        case str() if cell.data_type == "e":
            return value, FieldError(f"holds the error {value}", "mend its formula")
        case str():
            return value, None
        case bool():
            return str(value).upper(), None
        case int() | float():
            return _number(value, cell.number_format)
        case _:
            return str(value), FieldError(
                f"holds a date or a time ({value}): each country writes it differently", _AS_TEXT
            )


def _number(value: float, shown_as: str) -> tuple[str, FieldError | None]:
    """A number as a cell shows it that is as wide as need be.

    >>> _number(3.0, "General")[0], _number(0.125, "0.0%")[0], _number(1234.5, "#,##0.00")[0]
    ('3', '12.5%', '1,234.50')
    """
    general = str(value) if isinstance(value, int) else format(value, ".10g")
    if shown_as in ("General", "@"):
        return general, None
    plain = _PLAIN_FORMAT.fullmatch(shown_as)
    if plain is None:
        return general, FieldError(f'holds a number ({general}) in the format "{shown_as}"', _AS_TEXT)
    percent = plain["percent"] or ""
    figures = f"{',' if plain['thousands'] else ''}.{len(plain['decimals'] or '')}f"
    return format(value * (100 if percent else 1), figures) + percent, None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The workbook, for as long as the block. ManifestError for all that is wrong with it, also while it is read."""
    _check(path)
    import openpyxl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it leaves out: styles, charts, checks of what is typed
            with closing(openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)) as book:
                yield book
    except ManifestError:
        raise
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror or error}", "check its permissions") from error
    except Exception as error:  # it has as many ways to fail as there are broken files
        cause = f"cannot be read as a workbook ({type(error).__name__})"
        raise _unreadable(path, cause, f"open it in a spreadsheet and save it again, or {AS_CSV}") from error


def _check(path: Path) -> None:
    """ManifestError unless a workbook can be opened without harm."""
    if find_spec("openpyxl") is None:
        remedy = f"pip install 'lipsync-batch[xlsx]', or {AS_CSV} and name that file"
        raise _unreadable(path, "is a workbook, which needs packages that are not installed", remedy)
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
    if start.startswith(_OLE):
        if _LOCKED in start:
            raise _unreadable(path, "is locked by a password", f"save it without one, or {AS_CSV}")
        raise _unreadable(path, "is a workbook of the old format (.xls)", f"save it as .xlsx, or {AS_CSV}")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        cause = "is damaged, or no workbook at all"
        raise _unreadable(path, cause, f"open it in a spreadsheet and save it again, or {AS_CSV}") from error
    if size > MOST_BYTES:
        cause = f"holds {size // 2**20:,} MiB when it is unpacked, more than the {MOST_BYTES // 2**20} that are read"
        raise _unreadable(path, cause, f"keep the texts alone in it, or {AS_CSV}")


def _unreadable(path: Path, cause: str, remedy: str) -> ManifestError:
    return ManifestError(path, [Problem(place=Place(), cause=cause, remedy=remedy)])
