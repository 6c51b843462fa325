"""Tables: sheets that templates look up, such as one row a clip and one column a language.

A table is held in memory: it is a sheet that people translate in, not the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lipsync_batch.errors import ManifestError, Problem
from lipsync_batch.jobs import Place
from lipsync_batch.manifest import workbook
from lipsync_batch.manifest.encoding import Checked, check_file, check_text
from lipsync_batch.manifest.faults import FieldError, nearest
from lipsync_batch.manifest.sheet import Record, Sheet
from lipsync_batch.manifest.workbook import WorkbookSheet


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
    sheet: str | None = None
    """The sheet's name in a workbook; None where the file is one sheet."""
    faults: Mapping[tuple[int, int], FieldError] = field(default_factory=dict, repr=False)
    """Cells of a workbook whose text nobody can know, by line and by the column's place."""

    @classmethod
    def load(cls, name: str, path: Path, key: str | None, sheet_name: str | None = None) -> Table:
        """Read the sheet at `path`, whose rows are named by column `key` (None: the first one).

        ManifestError if there is no such file, or no header in it; smaller faults are in `problems`.
        """
        sheet: Sheet | WorkbookSheet
        if workbook.is_workbook(path):
            checked = check_file(path)
            sheet = workbook.open_sheet(path, sheet_name)
        else:
            checked = check_text(path)
            if sheet_name is not None:
                remedy = "leave sheet: away"
                raise ManifestError(path, [Problem(place=Place(), cause="has no sheets: it is text", remedy=remedy)])
            sheet = Sheet.open(path, {key.casefold()} if key else ())
        columns = {column: index for index, column in reversed(list(enumerate(sheet.header))) if column}
        table = cls(
            name=name,
            path=path,
            columns=dict(reversed(columns.items())),
            rows={},
            checked=checked,
            sheet=sheet.name if isinstance(sheet, WorkbookSheet) else None,
            faults=sheet.faults if isinstance(sheet, WorkbookSheet) else {},
        )
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
        record, index = self.rows[row], self.columns[column]
        if (fault := self.faults.get((record.line, index))) is not None:
            raise FieldError(f"{self._named(record.line, index)} {fault.cause}", fault.remedy)
        cell = record.cells[index]
        if not cell.strip():
            remedy, where = "fill it in", f'row "{row}" (line {record.line}), column "{column}"'
            if self.sheet is not None:
                where = f'{self._named(record.line, index)}, row "{row}", column "{column}"'
                remedy = (
                    "fill it in; a formula must have been calculated and saved, and of merged cells only the first "
                    "holds the text"
                )
            raise FieldError(f"{here} has an empty cell: {where}", remedy)
        return cell

    def _named(self, line: int, index: int) -> str:
        """A workbook's cell."""
        return f"{self.path.name}, sheet {self.sheet}, {workbook.cell_name(line, index)}"

    def _place(self, line: int, index: int, row: int | None = None) -> Place:
        if self.sheet is None:
            return Place(row=row, line=line)
        return Place(cell=f"sheet {self.sheet}, {workbook.cell_name(line, index)}")

    def _check_header(self, sheet: Sheet | WorkbookSheet, key: str | None) -> None:
        if key and key not in self.columns:
            place = self._place(sheet.first_line, 0)
            self._note(place, key, f'there is no column "{key}"', _suggest(key, self.columns, "column"))
        for column in self.columns:
            if sheet.header.count(column) > 1:
                place = self._place(sheet.first_line, self.columns[column])
                self._note(place, column, f'two columns are called "{column}"', "rename one of them")

    def _read(self, sheet: Sheet | WorkbookSheet, key_index: int) -> None:
        for record in sheet.records():
            if isinstance(record, Problem):
                self._note(record.place, record.field, record.cause, record.remedy)
                continue
            place = self._place(record.line, key_index, record.row)
            name, column = record.cells[key_index].strip(), sheet.header[key_index]
            if (fault := self.faults.get((record.line, key_index))) is not None:
                self._note(place, column, fault.cause, fault.remedy)
            elif not name:
                self._note(place, column, "the row has no name", "fill it in")
            elif name in self.rows:
                first = self.rows[name].line
                where = f"on line {first}" if self.sheet is None else f"in {workbook.cell_name(first, key_index)}"
                self._note(place, column, f'"{name}" is {where} too', "keep one of them")
            else:
                self.rows[name] = record

    def _note(self, place: Place, column: str, cause: str, remedy: str) -> None:
        self.problems.append(Problem(place=place, field=column, cause=cause, remedy=remedy, file=self.path))


def _suggest(name: str, known: dict[str, object] | dict[str, int] | dict[str, Record], what: str) -> str:
    meant = nearest(name, known)
    return f'did you mean "{meant}"?' if meant else f"add the {what}"
