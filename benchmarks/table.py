"""The one table: for the terminal and, between its markers, for the README."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure
from benchmarks.harness import Outcome, Result
from benchmarks.registry import BENCHMARKS

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"(<!-- measured: make bench -->\n)(.*?)(<!-- end -->)", re.DOTALL)
HEAD = ("benchmark", "measured", "figure", "instead", "target", "reached")


def markdown(outcomes: Sequence[Outcome]) -> str:
    """A row for each figure, of what was measured more than once the median, and from least to most; notes below."""
    return _page({outcome.benchmark.name: _lines(outcome) for outcome in outcomes})


def _lines(outcome: Outcome) -> list[str]:
    """The rows of a benchmark, then its notes. Each begins with its name."""
    name = outcome.benchmark.name
    rows = [f"| {' | '.join(_cells(result))} |" for result in outcome.results]
    return [*rows, *(f"`{name}`: {note}" for note in dict.fromkeys(outcome.notes))]


def _page(lines: Mapping[str, Sequence[str]]) -> str:
    ordered = [line for benchmark in BENCHMARKS for line in lines.get(benchmark.name, ())]
    head = [f"| {' | '.join(cells)} |" for cells in (HEAD, ("---",) * len(HEAD))]
    rows, notes = ([line for line in ordered if line.startswith("|") is row] for row in (True, False))
    return "".join(f"{line}\n" for line in (*head, *rows)) + "".join(f"\n{note}\n" for note in notes)


def _cells(result: Result) -> tuple[str, ...]:
    first = f"`{result.benchmark.name}`"
    if not result.runs:
        return first, result.what, result.failure.replace("|", "/"), "", "", "NO"
    figure = result.runs[0]
    return first, result.what, _spread(result), _beside(figure), _target(figure), _reached(result)


def _spread(result: Result) -> str:
    values, unit = result.values, result.runs[0].unit
    if len(values) == 1:
        return f"**{_number(values[0], unit)}**"
    return f"**{_number(median(values), unit)}** ({_number(values[0])} to {_number(values[-1])})"


def _beside(figure: Figure) -> str:
    return ", ".join(f"{name} {_number(value, figure.unit)}" for name, value in figure.beside.items())


def _target(figure: Figure) -> str:
    if figure.at_least is not None:
        return f"≥ {_number(figure.at_least, figure.unit)}"
    return "" if figure.at_most is None else f"≤ {_number(figure.at_most, figure.unit)}"


def _reached(result: Result) -> str:
    return {True: "yes", False: "NO", None: ""}[result.reached]


def _number(value: float, unit: str = "") -> str:
    """Three figures are what a shared machine can vouch for."""
    size = abs(value)
    text = f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
    gap = "" if unit in ("", "/s") else " "
    return f"{text}{gap}{unit}"


def write(outcomes: Sequence[Outcome]) -> None:
    """Put the table into the README. Benchmarks that were not measured now keep the rows that they had."""
    text = README.read_text(encoding="utf-8")
    README.write_text(written(text, outcomes), encoding="utf-8")


def written(text: str, outcomes: Sequence[Outcome]) -> str:
    """The README's text with these figures in it."""

    def block(found: re.Match[str]) -> str:
        kept = {benchmark.name: lines_of(benchmark.name, found[2]) for benchmark in BENCHMARKS}
        return found[1] + _page({**kept, **{o.benchmark.name: _lines(o) for o in outcomes}}) + found[3]

    return BLOCK.sub(block, text)


def lines_of(name: str, table: str) -> list[str]:
    """What a table says of one benchmark."""
    return [line for line in table.splitlines() if line.startswith((f"| `{name}` |", f"`{name}`:"))]
