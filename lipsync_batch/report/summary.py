"""The last words of a run on stdout: where it stands, what it cost, where things are, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lipsync_batch.jobs import Costs, State, StopReason
from lipsync_batch.report import advice
from lipsync_batch.report.figures import counted, dollars
from lipsync_batch.report.problems import Problem, Problems
from lipsync_batch.report.source import Source
from lipsync_batch.report.write import Paths

SHOWN_CAUSES = 3
_TITLE = 90
"""Characters of a cause; the report has the rest."""


def summary(
    source: Source,
    folder: Path,
    *,
    stop_reason: StopReason,
    nights_left: int | None = None,
    videos: str | None = None,
) -> str:
    """At most 13 lines of plain text without a line end. The jobs are read only if some failed or are unclear.

    `nights_left` is how many more runs like this one it takes, where that is known. `videos` is where they are, if not
    in `folder`.
    """
    counts = source.counts()
    lines = [
        f"{advice.standing(counts)}. {advice.STOPS[stop_reason]}",
        f"Cost:    {_cost(source.costs())}",
        f"Videos:  {videos or folder}",
        f"Report:  {Paths.inside(folder).html} (and .csv, .json)",
        *_causes(source, counts),
        *([f"Nights:  about {nights_left:,} more like this one"] if nights_left else []),
        *_next(advice.next_steps(stop_reason, counts, folder)),
    ]
    return "\n".join(lines)


def _cost(costs: Costs) -> str:
    return ", ".join(f"{dollars(micro)} {name}" for name, micro in costs.known().items()) or "unknown"


def _causes(source: Source, counts: Mapping[State, int]) -> list[str]:
    """The most frequent causes, each on a line."""
    if not counts.get(State.FAILED, 0) and not counts.get(State.UNCLEAR, 0):
        return []
    problems = Problems()
    for job in source.records():
        problems.add(job)
    groups = problems.by_count()
    lines = [_aligned("Causes:" if not number else "", _told(group)) for number, group in enumerate(groups)]
    if len(groups) > SHOWN_CAUSES:
        rest = sum(group.count for group in groups[SHOWN_CAUSES:])
        lines[SHOWN_CAUSES:] = [_aligned("", f"{counted(rest, 'job')} for other causes; the report has them all")]
    return lines


def _told(problem: Problem) -> str:
    title = _plain(advice.cause_of(problem).title)
    return f"{problem.count:,} {problem.state.value}: {title} ({_plain(problem.code)})"


def _next(steps: list[advice.Step]) -> list[str]:
    """The command that goes on, with what it does."""
    return [
        _aligned("Next:" if not number else "", f"{step.command}   # {step.text}") for number, step in enumerate(steps)
    ]


def _aligned(name: str, text: str) -> str:
    return f"{name:<9}{text}"


def _plain(text: str) -> str:
    """A provider's words as they may go to a terminal: one line, no control characters, not endless."""
    words = "".join(character if character.isprintable() else " " for character in text).split()
    line = " ".join(words)
    return line if len(line) <= _TITLE else line[: _TITLE - 1] + "…"
