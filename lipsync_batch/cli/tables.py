"""Tables that fit the terminal, whatever stands in them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len, set_cell_size

GAP = 2
NARROWEST = 12
"""Of the column with names, in cells; where less would be left, the other columns go into another table below."""


def width() -> int:
    """Of the terminal; 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80


def table(name: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]], *, most: int) -> Iterator[str]:
    """Lines of at most `most` cells: a column `name`, then the others, aligned to the right.

    Wide characters (CJK) count twice, as terminals show them. Long names are cut; where many columns do not fit beside
    each other, those that are left over follow in a second table.
    """
    widths = [
        GAP + max(cell_len(heading), *(cell_len(row[number]) for row in rows.values()))
        for number, heading in enumerate(columns)
    ]
    longest = max(cell_len(text) for text in (name, *rows))
    while widths:
        fitting = _fitting(widths, most - min(longest, NARROWEST))
        names = min(longest, most - sum(widths[:fitting]))
        for title, cells in ((name, columns), *rows.items()):
            shown = zip(cells[:fitting], widths[:fitting], strict=True)
            yield _cut(title, names) + "".join(" " * (wide - cell_len(cell)) + cell for cell, wide in shown)
        columns, widths = columns[fitting:], widths[fitting:]
        rows = {title: cells[fitting:] for title, cells in rows.items()}
        if widths:
            yield ""


def _fitting(widths: Sequence[int], room: int) -> int:
    """How many of the columns fit; at least one."""
    number = 0
    while number < len(widths) and sum(widths[: number + 1]) <= room:
        number += 1
    return max(1, number)


def _cut(text: str, cells: int) -> str:
    """A text in so many cells, its end cut off where it is too long."""
    return set_cell_size(text, cells) if cell_len(text) <= cells else f"{set_cell_size(text, cells - 1)}…"
