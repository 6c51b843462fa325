"""Geometry of the page's bar charts: along the x axis in percent, so that they stretch; along the y axis in pixels.

The template draws what is computed here as inline SVG, without any inline style, which the page's policy forbids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from lipsync_batch.report.figures import counted, duration
from lipsync_batch.report.spread import Spread
from lipsync_batch.report.timeline import LADDER, History, Step

HEIGHT = 120
"""Pixels of the plot, without the labels below it."""
_BREAK = 2.0
"""Percent between two stretches of time."""
_TICKS = 6
_APART = 14.0
"""Percent that two labels keep between them, and from the right edge."""
_WIDTHS = {"day": 30.0, "clock": _APART, "second": 18.0}
"""The same for instants, by how they are told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    x: float
    width: float
    top: float
    height: float
    title: str
    at: datetime | None = None
    """Shown before the title, in the reader's own time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A horizontal line with its value."""

    top: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A label below the plot: a text, or an instant."""

    x: float
    text: str = ""
    at: datetime | None = None
    shows: str = "clock"
    """How an instant is told: by its `day`, `clock` or `second`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A vertical line through the plot."""

    x: float
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    kind: str
    """Names the colour."""
    label: str
    """The whole chart in a sentence, for those who do not see it."""
    bars: list[Bar]
    rules: list[Rule]
    ticks: list[Tick]
    marks: list[Mark]


def finished_chart(history: History) -> Chart | None:
    """Finished jobs a minute; None where none finished."""
    a_minute = 60 / history.width
    steps = list(_laid_out(history))
    peak = max(step.finished for _, step in steps)
    if not peak:
        return None
    top, rules = _scale(peak * a_minute)
    return Chart(
        kind="done",
        label=f"Finished a minute over time; the top line is {rules[-1].text}",
        bars=[
            _bar(place, step.finished * a_minute / top, gap=0.16, at=step.start, title=f"{step.finished:,} finished")
            for place, step in steps
            if step.finished
        ],
        rules=rules,
        ticks=_time_ticks(history),
        marks=_breaks(history),
    )


def in_flight_chart(history: History) -> Chart | None:
    """Generations at the provider; None where none was seen to last over the end of a step."""
    steps = list(_laid_out(history))
    peak = max(step.in_flight for _, step in steps)
    if not peak:
        return None
    top, rules = _scale(max(peak, 2))
    return Chart(
        kind="flight",
        label=f"Generations in flight over time, {peak:,} at the most",
        bars=[
            _bar(place, step.in_flight / top, gap=0.0, at=step.start, title=f"{step.in_flight:,} in flight")
            for place, step in steps
            if step.in_flight
        ],
        rules=rules,
        ticks=_time_ticks(history),
        marks=_breaks(history),
    )


def refused_chart(history: History) -> Chart | None:
    """Refused requests a minute; None where none was."""
    a_minute = 60 / history.width
    steps = list(_laid_out(history))
    peak = max(step.refused for _, step in steps)
    if not peak:
        return None
    top, rules = _scale(peak * a_minute)
    total = sum(step.refused for _, step in steps)
    return Chart(
        kind="refused",
        label=f"Requests refused for their number a minute over time, {total:,} in all",
        bars=[
            _bar(place, step.refused * a_minute / top, gap=0.16, at=step.start, title=f"{step.refused:,} refused")
            for place, step in steps
            if step.refused
        ],
        rules=rules,
        ticks=_time_ticks(history),
        marks=_breaks(history),
    )


def spread_chart(spread: Spread) -> Chart:
    """How many generations took how long."""
    steps = len(spread.counts)
    unit = min(100 / steps, 6.0)
    top, rules = _scale(max(*spread.counts, 2))
    start = spread.first * spread.width
    return Chart(
        kind="spread",
        label=f"Generation times of {counted(spread.total, 'job')}: half took no longer than {duration(spread.median)}",
        bars=[
            _bar(_Place(number * unit, unit), count / top, gap=0.1, title=_took(spread, number))
            for number, count in enumerate(spread.counts)
            if count
        ],
        rules=rules,
        ticks=[
            Tick(x=number * unit, text=duration(start + number * spread.width))
            for number in range(0, steps, max(1, -(-steps // _TICKS)))
            if number * unit <= 100 - _APART
        ],
        marks=[Mark(x=min((spread.median - start) / spread.width, steps) * unit, text="median")],
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a step lies on the x axis, in percent."""

    x: float
    width: float


def _laid_out(history: History) -> Iterator[tuple[_Place, Step]]:
    unit = _unit(history)
    x = 0.0
    for stretch in history.stretches:
        for step in stretch:
            yield _Place(x, unit), step
            x += unit
        x += _BREAK


def _unit(history: History) -> float:
    """Percent of a step; a handful of steps does not fill the whole width."""
    steps = sum(map(len, history.stretches))
    return min((100 - _BREAK * (len(history.stretches) - 1)) / steps, 6.0)


def _breaks(history: History) -> list[Mark]:
    unit, x, marks = _unit(history), 0.0, []
    for stretch in history.stretches[:-1]:
        x += unit * len(stretch)
        marks.append(Mark(x=round(x + _BREAK / 2, 3)))
        x += _BREAK
    return marks


def _time_ticks(history: History) -> list[Tick]:
    """The start of each stretch and round times between, as far as there is room."""
    seconds = sum(map(len, history.stretches)) * history.width
    every = next((width for width in LADDER if seconds / width <= _TICKS), LADDER[-1])
    starts = {stretch[0].start for stretch in history.stretches}
    ticks: list[Tick] = []
    for place, step in _laid_out(history):
        wanted = step.start in starts or step.start.timestamp() % every == 0
        if not wanted or (ticks and place.x < ticks[-1].x + _WIDTHS[ticks[-1].shows]):
            continue
        shows = "day" if step.start in starts else "clock" if every >= 60 else "second"
        if place.x <= 100 - _WIDTHS[shows]:
            ticks.append(Tick(x=place.x, at=step.start, shows=shows))
    return ticks


def _scale(peak: float) -> tuple[float, list[Rule]]:
    """The value at the top of the plot, a round one, and the lines at its half and at itself."""
    power = 10.0 ** math.floor(math.log10(peak))
    top = next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= peak)
    return top, [Rule(top=HEIGHT * (1 - share), text=f"{top * share:,g}") for share in (0.5, 1.0)]


def _bar(place: _Place, share: float, *, gap: float, title: str, at: datetime | None = None) -> Bar:
    """`share` of the plot's height, never too little to be seen; `gap` is the share of its place left free."""
    height = max(share * HEIGHT, 1.5)
    return Bar(
        x=round(place.x + place.width * gap / 2, 3),
        width=round(place.width * (1 - gap), 3),
        top=round(HEIGHT - height, 1),
        height=round(height, 1),
        title=title,
        at=at,
    )


def _took(spread: Spread, number: int) -> str:
    low = (spread.first + number) * spread.width
    last = number == len(spread.counts) - 1
    high = max(low + spread.width, spread.slowest) if last else low + spread.width
    return f"{spread.counts[number]:,} took {duration(low)} to {duration(high)}"
