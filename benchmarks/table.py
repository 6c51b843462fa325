"""The one table: for the terminal and, between its markers, for the README."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure
from benchmarks.harness import Outcome, Result

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"(<!-- measured: make bench -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = ("benchmark", "measured", "figure", "instead", "target", "reached")


def markdown(outcomes: Sequence[Outcome]) -> str:
    """A row for each figure; of what was measured more than once the median, and from least to most."""
    rows = [HEAD, ("---",) * len(HEAD)]
    rows += [_cells(result) for outcome in outcomes for result in outcome.results]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


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
    """Put the table into the README, in the place of the one that is there."""
    text = README.read_text(encoding="utf-8")
    table = markdown(outcomes)
    notes = "".join(f"\n{note}\n" for outcome in outcomes for note in outcome.notes)
    README.write_text(BLOCK.sub(lambda found: f"{found[1]}{table}{notes}{found[2]}", text), encoding="utf-8")
