"""CSV: one row a job. Every column that is no field is a label, in lower case; an empty cell is a value not given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lipsync_batch.errors import ManifestError, Problem
from lipsync_batch.jobs import Place
from lipsync_batch.manifest.faults import FieldError
from lipsync_batch.manifest.fields import FIELDS, MISNAMED, Row, judge
from lipsync_batch.manifest.sheet import Record, Sheet

_COLUMNS = FIELDS - {"each", "labels"}
_KNOWN = _COLUMNS | MISNAMED.keys()


@dataclass(slots=True)
class _Columns:
    """What the columns of a sheet mean."""

    fields: list[tuple[int, str]] = field(default_factory=list)
    """Index and name of the columns that count."""
    names: tuple[str, ...] = ()
    """Of all columns, where each of them counts: a full row is then told quickest."""
    nameless: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    excused: frozenset[str] = frozenset()


def has_rows(path: Path) -> bool:
    return next(Sheet.open(path, _KNOWN).records(), None) is not None


def rows(path: Path) -> Iterator[Row | Problem]:
    """The rows of a CSV manifest. What is wrong with a column is said once, before them."""
    sheet = Sheet.open(path, _KNOWN)
    columns = _columns(sheet)
    yield from columns.problems
    for record in sheet.records():
        if isinstance(record, Problem):
            yield record
            continue
        place = Place(row=record.row, line=record.line)
        cells = record.cells
        if columns.names and all(map(str.strip, cells)):
            given = dict(zip(columns.names, cells, strict=True))
        else:
            # Spaces alone are nothing, but in a text that someone meant to fill in.
            given = {
                name: cell
                for index, name in columns.fields
                if (cell := cells[index]) and (name == "text" or not cell.isspace())
            }
        problems = list(_nameless(columns, record, place)) if columns.nameless else ()
        yield Row(given=given, place=place, excused=columns.excused, problems=problems)


def _nameless(columns: _Columns, record: Record, place: Place) -> Iterator[Problem]:
    for index in columns.nameless:
        if cell := record.cells[index].strip():
            cause = f'"{cell[:40]}" is under a column without a name'
            yield Problem(place=place, field=f"column {index + 1}", cause=cause, remedy="name the column")


def _columns(sheet: Sheet) -> _Columns:
    columns = _Columns()
    seen: dict[str, str] = {}
    place = Place(line=sheet.first_line)
    for index, written in enumerate(sheet.header):
        name = written.casefold()
        if not name:
            columns.nameless.append(index)
        elif name in seen:
            cause = f'two columns are called "{written}"'
            columns.problems.append(Problem(place=place, field=written, cause=cause, remedy="rename one of them"))
        else:
            seen[name] = written
            _add(columns, index, name, written, place)
    if len(columns.fields) == len(sheet.header):
        columns.names = tuple(name for _, name in columns.fields)
    _check_absent(columns, place)
    return columns


def _add(columns: _Columns, index: int, name: str, written: str, place: Place) -> None:
    misnamed = None if name in FIELDS else judge(name)
    error = misnamed.error if misnamed is not None else None
    if name in FIELDS - _COLUMNS:
        error = FieldError("is not possible in CSV", "every column that is no field is a label; a grid needs YAML")
    if error is None:
        columns.fields.append((index, name))
        return
    columns.problems.append(Problem(place=place, field=written, cause=error.cause, remedy=error.remedy))
    if misnamed is not None and misnamed.meant:
        columns.excused |= {misnamed.meant}


def _check_absent(columns: _Columns, place: Place) -> None:
    """A field that no row can give is said once, and not again for every row."""
    names = {name for _, name in columns.fields} | columns.excused
    if "video" not in names:
        _note_absent(columns, place, "video", "there is no column video", "add it, with a path or an https link a row")
    if not names & {"audio", "text"}:
        _note_absent(columns, place, "audio", "there is no column audio, and no column text", "add one of them")


def _note_absent(columns: _Columns, place: Place, name: str, cause: str, remedy: str) -> None:
    columns.problems.append(Problem(place=place, field=name, cause=cause, remedy=remedy))
    columns.excused |= {name}


def check(path: Path) -> None:
    """ManifestError unless there is a header and something below it."""
    if not has_rows(path):
        cause, remedy = "there is no row below the header", "add a row a job"
        raise ManifestError(path, [Problem(place=Place(), cause=cause, remedy=remedy)])
