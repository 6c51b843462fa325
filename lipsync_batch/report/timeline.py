"""How a batch went over time: finished, in flight and refused, with the idle days between its nights left out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from lipsync_batch.jobs import JobRecord, State
from lipsync_batch.report.bins import Bins

LADDER = (5, 15, 30, 60, 300, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400)
"""Widths of a step in seconds: each divides the next."""
KEPT_STEPS = 4_096
SHOWN_STEPS = 96
SHOWN_STRETCHES = 8
IDLE_STEPS = 4
"""Fewer idle steps than these are no break."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What happened in one step of time."""

    start: datetime
    finished: int
    in_flight: int
    """At the step's end."""
    refused: int = 0
    """Requests that were refused for their number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The stretches of time in which something went on, oldest first, each without a gap."""

    width: int
    """Seconds of a step."""
    stretches: list[list[Step]]
    omitted: int
    """Older stretches that are not shown."""


class Timeline:
    """Gathers when jobs finished and how many generations were in flight; bounded memory."""

    def __init__(self) -> None:
        self._finished = Bins(LADDER, KEPT_STEPS)
        self._changes = Bins(LADDER, KEPT_STEPS)
        self._refused = Bins(LADDER, KEPT_STEPS)

    def add(self, job: JobRecord) -> None:
        if job.state is State.DONE and job.finished_at is not None:
            self._finished.add(job.finished_at.timestamp())
        if job.submitted_at is None:
            return
        start = job.submitted_at.timestamp()
        end = _end(job, start)
        if job.state is State.SUBMITTED or end is not None:
            self._changes.add(start, +1)
        if end is not None:
            self._changes.add(end, -1)

    def add_refusal(self, at: float) -> None:
        """`at` in seconds since 1970."""
        self._refused.add(at)

    def history(self, until: datetime) -> History | None:
        """Everything up to `until`, at the finest width that can be shown; None where nothing happened."""
        width, active = self._fitting(until.timestamp())
        if not active:
            return None
        finished = self._finished.at_width(width)
        refused = self._refused.at_width(width)
        levels = _levels(self._changes.at_width(width))
        shown = active[-SHOWN_STRETCHES:]
        return History(
            width=width,
            stretches=[
                [
                    Step(
                        start=_instant(step * width),
                        finished=finished.get(step, 0),
                        in_flight=_level(levels, step),
                        refused=refused.get(step, 0),
                    )
                    for step in range(first, last)
                ]
                for first, last in shown
            ],
            omitted=len(active) - len(shown),
        )

    def _fitting(self, until: float) -> tuple[int, list[tuple[int, int]]]:
        """The finest width at which the active steps can be shown, and the stretches of them."""
        finest = max(self._finished.width, self._changes.width, self._refused.width)
        for width in (width for width in LADDER if width >= finest):
            active = self._active(width, int(until // width) + 1)
            if sum(last - first for first, last in active) <= SHOWN_STEPS:
                break
        return width, active

    def _active(self, width: int, end: int) -> list[tuple[int, int]]:
        """Half-open ranges of steps before `end` in which something finished or was in flight."""
        finished = ((step, step + 1) for step in self._finished.at_width(width))
        levels = _levels(self._changes.at_width(width))
        flying = (
            (step, following)
            for (step, level), (following, _) in pairwise([*levels, (end, 0)])
            if level > 0 and following > step
        )
        return _joined(sorted([*finished, *flying]))


def _end(job: JobRecord, start: float) -> float | None:
    """When the job's generation stopped to run; None while it does, or where nobody noted it."""
    if job.generation_seconds is not None:
        return start + job.generation_seconds
    if job.finished_at is not None and job.state in {State.DONE, State.FAILED}:
        return job.finished_at.timestamp()
    return None


def _levels(changes: dict[int, int]) -> list[tuple[int, int]]:
    """Step → how many are in flight from its end on, for the steps in which that changes."""
    levels, level = [], 0
    for step, change in changes.items():
        level += change
        levels.append((step, level))
    return levels


def _level(levels: list[tuple[int, int]], step: int) -> int:
    index = bisect_right(levels, step, key=lambda pair: pair[0])
    return levels[index - 1][1] if index else 0


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        if joined and first - joined[-1][1] < IDLE_STEPS:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
