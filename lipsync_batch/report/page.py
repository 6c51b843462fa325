"""report.html: one self-contained file that asks for nothing from anywhere, and runs nothing but its own script.

The policy in its head allows the one style sheet and the one script by their hashes, and videos and pictures from where
the page itself lies. All text goes through jinja2's escaping, or into a JSON block that page.js reads and only ever
shows as text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, TextIO

from lipsync_batch.clock import iso
from lipsync_batch.jobs import BatchRecord, Costs, RunRecord, State, StopReason
from lipsync_batch.report import advice, charts, figures
from lipsync_batch.report.breakdown import Share
from lipsync_batch.report.overview import Overview
from lipsync_batch.report.posters import FOLDER
from lipsync_batch.report.rows import FIELDS, embedded
from lipsync_batch.report.timeline import History

SHOWN_RUNS = 50
_AFTER_DONE = (
    State.FAILED,
    State.UNCLEAR,
    State.READY,
    State.SUBMITTED,
    State.SUBMITTING,
    State.PENDING,
)
_BUFFER = 64
"""Pieces of the template's output that are written together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """All that the page tells."""

    name: str
    batch: BatchRecord | None
    """None on a page for a client, who is told nothing of how the videos were made."""
    runs: list[RunRecord]
    counts: Mapping[State, int]
    costs: Costs
    stop_reason: StopReason
    written_at: datetime
    overview: Overview
    steps: list[advice.Step]
    again_after: float | None = None
    """Seconds after which the page is written again; None where nobody does that."""
    part: str = ""
    """Which jobs of the batch are meant, for people; empty for all."""
    csv: str = "report.csv"
    json: str = "report.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A part of a bar of states; `x` and `width` in percent."""

    state: str
    x: float
    width: float
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A label's value in its table."""

    value: str
    share: Share
    segments: list[Segment]


def write_page(out: TextIO, page: Page) -> None:
    """Write the page piece by piece."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lipsync_batch.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "dollars": figures.dollars,
        "duration": figures.duration,
        "percent": figures.percent,
        "day_and_time": figures.day_and_time,
        "iso": iso,
    }
    style, script = _resource("page.css"), _resource("page.js")
    stream = environment.get_template("page.html.j2").stream(
        page=page,
        policy=policy(style, script),
        style=style,
        script=script,
        rows=page.overview.rows.encoded(),
        about=embedded(_about(page)),
        **_parts(page),
    )
    stream.enable_buffering(_BUFFER)
    out.writelines(stream)


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy of a page with this style sheet and this script."""
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "img-src 'self'",
            "media-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _parts(page: Page) -> dict[str, Any]:
    overview = page.overview
    history = overview.timeline.history(page.written_at)
    spread = overview.times.spread()
    return {
        "State": State,
        "STOPS": advice.STOPS,
        "STATE_MEANINGS": advice.STATE_MEANINGS if page.batch else advice.CLIENT_MEANINGS,
        "total": sum(page.counts.values()),
        "headline": advice.standing(page.counts),
        "mood": mood(page.stop_reason, page.counts),
        "problems": [(problem, advice.cause_of(problem)) for problem in overview.problems.by_count()],
        "history": history,
        "time_charts": _time_charts(history),
        "spread": spread,
        "spread_chart": charts.spread_chart(spread) if spread else None,
        "costs": page.costs.known(),
        "segments": _segments(page.counts, overview.suspects),
        "breakdown": {name: _lines(shares) for name, shares in overview.breakdown.by_label().items()},
        "label_costs": list(page.costs.known()) if overview.breakdown.has_costs else [],
        "term": term,
        "shown_runs": SHOWN_RUNS,
        "plot": charts.HEIGHT,
    }


def mood(stop_reason: StopReason, counts: Mapping[State, int]) -> str:
    """The colour of the headline: `busy`, `good`, `bad` (a person must look) or `early` (run it again)."""
    if stop_reason is StopReason.RUNNING:
        return "busy"
    if counts.get(State.FAILED, 0) or counts.get(State.UNCLEAR, 0):
        return "bad"
    return "early" if any(counts.get(state, 0) for state in advice.UNFINISHED) else "good"


def _time_charts(history: History | None) -> list[tuple[str, charts.Chart]]:
    if history is None:
        return []
    drawn = {
        "Finished a minute": charts.finished_chart(history),
        "In flight": charts.in_flight_chart(history),
        "Requests refused a minute": charts.refused_chart(history),
    }
    return [(title, chart) for title, chart in drawn.items() if chart is not None]


def _segments(counts: Mapping[State, int], suspects: int) -> list[Segment]:
    """A bar of all jobs: what is done on the left, what is not yet on the right, trouble between them."""
    total = sum(counts.values())
    sound = counts.get(State.DONE, 0) - suspects
    parts = [("done", sound), ("suspect", suspects)]
    parts += [(state.value, counts.get(state, 0)) for state in _AFTER_DONE]
    segments, x = [], 0.0
    for state, number in parts:
        width = 100 * number / total if total else 0.0
        if number > 0:
            title = f"{state}: {number:,}"
            segments.append(Segment(state=state, x=round(x, 3), width=round(width, 3), title=title))
        x += width
    return segments


def _lines(shares: Mapping[str, Share]) -> list[Line]:
    """One for each value, in the order of the alphabet: people look for one of them."""
    return [
        Line(value=value, share=share, segments=_segments(share.states, share.suspects))
        for value, share in sorted(shares.items(), key=lambda item: item[0].casefold())
    ]


def term(name: str, value: str) -> str:
    """A search for jobs with this value, as page.js reads it: quoted where it must be, a quote inside doubled."""
    return f"{_quoted(name)}={_quoted(value)}"


def _quoted(text: str) -> str:
    return text if re.fullmatch(r'[^\s"=]+', text) else '"' + text.replace('"', '""') + '"'


def _about(page: Page) -> dict[str, Any]:
    """What page.js needs to know besides the rows."""
    rows = page.overview.rows
    return {
        "fields": FIELDS,
        "labels": rows.labels,
        "states": [state.value for state in State],
        "complete": rows.complete,
        "again_after": page.again_after,
        "posters": FOLDER,
    }


def _resource(name: str) -> str:
    return files("lipsync_batch.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
