"""Tables: sheets that templates look up, such as one row a clip and one column a language.

A table is held in memory: it is a sheet that people translate in, not the manifest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lipsync_batch.errors import Problem
from lipsync_batch.jobs import Place
from lipsync_batch.manifest.encoding import Checked, check_text
from lipsync_batch.manifest.faults import FieldError, nearest
from lipsync_batch.manifest.sheet import Record, Sheet


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A sheet by the values of its key column."""

    name: str
    path: Path
    columns: dict[str, int]
    """Where each column stands, from 0."""
    rows: dict[str, Record] = field(repr=False)
    checked: Checked
    problems: list[Problem] = field(default_factory=list)
    """What is wrong with the file itself, each with `file` set."""

    @classmethod
    def load(cls, name: str, path: Path, key: str | None) -> Table:
        """Read the sheet at `path`, whose rows are named by column `key` (None: the first one).

        ManifestError if there is no such file, or no header in it; smaller faults are in `problems`.
        """
        checked = check_text(path)
        sheet = Sheet.open(path, {key.casefold()} if key else ())
        columns = {column: index for index, column in reversed(list(enumerate(sheet.header))) if column}
        table = cls(name=name, path=path, columns=dict(reversed(columns.items())), rows={}, checked=checked)
        table._check_header(sheet, key)
        if not table.problems:
            table._read(sheet, columns[key] if key else 0)
        return table

    def look_up(self, row: str, column: str) -> str:
        """The cell's text; FieldError if there is no such row or column, or nothing in it."""
        here = f'table "{self.name}" ({self.path.name})'
        if column not in self.columns:
            raise FieldError(f'{here} has no column "{column}"', _suggest(column, self.columns, "column"))
        if row not in self.rows:
            raise FieldError(f'{here} has no row "{row}"', _suggest(row, self.rows, "row"))
        record = self.rows[row]
        cell = record.cells[self.columns[column]]
        if not cell.strip():
            where = f'row "{row}" (line {record.line}), column "{column}"'
            raise FieldError(f"{here} has an empty cell: {where}", "fill it in")
        return cell

    def _check_header(self, sheet: Sheet, key: str | None) -> None:
        place = Place(line=sheet.first_line)
        if key and key not in self.columns:
            self._note(place, key, f'there is no column "{key}"', _suggest(key, self.columns, "column"))
        for column in self.columns:
            if sheet.header.count(column) > 1:
                self._note(place, column, f'two columns are called "{column}"', "rename one of them")

    def _read(self, sheet: Sheet, key_index: int) -> None:
        for record in sheet.records():
            if isinstance(record, Problem):
                self._note(record.place, record.field, record.cause, record.remedy)
                continue
            place, name = Place(row=record.row, line=record.line), record.cells[key_index].strip()
            if not name:
                self._note(place, sheet.header[key_index], "the row has no name", "fill it in")
            elif name in self.rows:
                first = self.rows[name].line
                self._note(place, sheet.header[key_index], f'"{name}" is on line {first} too', "keep one of them")
            else:
                self.rows[name] = record

    def _note(self, place: Place, column: str, cause: str, remedy: str) -> None:
        self.problems.append(Problem(place=place, field=column, cause=cause, remedy=remedy, file=self.path))


def _suggest(name: str, known: dict[str, object] | dict[str, int] | dict[str, Record], what: str) -> str:
    meant = nearest(name, known)
    return f'did you mean "{meant}"?' if meant else f"add the {what}"
