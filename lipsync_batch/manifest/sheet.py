"""CSV files as spreadsheets write them: the header, and the rows with their numbers.

The separator is found in the header line, the encoding by its byte order mark (see `encoding`). Rows are counted as a
person counts them: the first one below the header is row 1, and rows without any value do not count.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lipsync_batch.errors import ManifestError, Problem
from lipsync_batch.jobs import Place
from lipsync_batch.manifest.encoding import open_text

SEPARATORS = ",;\t"
MOST_CELL = 80 * 1024 * 1024
"""Characters in a cell: a data URI of the largest media that is sent inline fits."""


class Record(NamedTuple):
    """One row: its number, the line that it begins on, and its cells, as many as the header has."""

    row: int
    line: int
    cells: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A CSV file with its header read. Memory does not grow with the file."""

    path: Path
    separator: str
    header: list[str]
    """Trimmed; empty where a column has no name."""
    first_line: int
    """Where the header stands: 1, unless there are empty lines before it."""

    @classmethod
    def open(cls, path: Path, known: Collection[str] = ()) -> Sheet:
        """Read the header of a file that is known to be text; `known` names help to tell what separates them.

        ManifestError if there is no header.
        """
        _allow_long_cells()
        sheets: list[Sheet] = []
        nothing = Problem(place=Place(), cause="is empty", remedy="begin it with a row that names the columns")
        unreadable: list[Problem] = []
        for separator in SEPARATORS:
            try:
                sheets += _header(path, separator)
            except csv.Error as error:  # names in quotes are that for every separator but the right one
                unreadable.append(_unreadable(Place(line=1), error))
        if not sheets:
            raise ManifestError(path, [*unreadable, nothing][:1])
        best = max(sheets, key=lambda sheet: (_known_names(sheet.header, known), len(sheet.header)))
        if unreadable and known and not _known_names(best.header, known):
            raise ManifestError(path, unreadable[:1])
        return best

    def records(self) -> Iterator[Record | Problem]:
        """The rows below the header. One that cannot be read, or has too many or too few cells, is a Problem."""
        with open_text(self.path) as file:
            reader = csv.reader(file, delimiter=self.separator, strict=True)
            width, row = len(self.header), 0
            while reader.line_num < self.first_line - 1:
                next(reader)
            next(reader)
            while True:
                line = reader.line_num + 1
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    row += 1
                    yield _unreadable(Place(row=row, line=line), error)
                    continue
                if cells is None:
                    return
                if any(map(str.strip, cells)):
                    row += 1
                    yield Record(row, line, cells) if len(cells) == width else self._misfit(row, line, cells)

    def _misfit(self, row: int, line: int, cells: list[str]) -> Problem:
        place, width = Place(row=row, line=line), len(self.header)
        counted = f"the row has {len(cells)} cells, the header {width}"
        if len(cells) < width:
            missing = self.header[len(cells)] or f"column {len(cells) + 1}"
            cause = f"{counted}: it ends before {missing}"
            return Problem(place=place, field=missing, cause=cause, remedy="add the cells, empty if need be")
        return Problem(
            place=place,
            field=f"column {width + 1}",
            cause=f'{counted}: "{cells[width][:40]}" is under no column',
            remedy=f"put a cell that holds {_SPELT[self.separator]} in double quotes, or name the column",
        )


_SPELT = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


def _allow_long_cells() -> None:
    """The csv module's limit is one for the whole process, and too small for a data URI. It is only ever raised."""
    if csv.field_size_limit() < MOST_CELL:
        csv.field_size_limit(MOST_CELL)


def _header(path: Path, separator: str) -> Iterator[Sheet]:
    """The sheet as it is if this is its separator; nothing if no line of it says anything."""
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=separator, strict=True)
        line = 0
        for cells in reader:
            # Excel begins some files with a line that only says `sep=;`.
            if any(map(str.strip, cells)) and not cells[0].startswith("sep="):
                names = [cell.strip() for cell in cells]
                yield Sheet(path=path, separator=separator, header=names, first_line=line + 1)
                return
            line = reader.line_num


def _known_names(header: list[str], known: Collection[str]) -> int:
    return sum(name.casefold() in known for name in header)


def _unreadable(place: Place, error: csv.Error) -> Problem:
    if "end of data" in str(error) or "field limit" in str(error):
        return Problem(place=place, cause='a quote (") is opened and never closed', remedy="close it")
    return Problem(
        place=place, cause=f"is not CSV: {error}", remedy='double each quote inside of a quoted cell: "say ""hi"""'
    )
