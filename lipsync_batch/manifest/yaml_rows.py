"""YAML: the sections, wherever they stand, and the jobs one by one.

The file is read twice. The first time all of it is checked for syntax and its sections are kept, the second time only
the jobs are built: so `defaults`, `tables` and `overrides` may stand below the jobs, and the jobs are never whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from yaml.events import AliasEvent, Event, MappingStartEvent, SequenceStartEvent

from lipsync_batch.errors import ManifestError, Problem
from lipsync_batch.jobs import Place
from lipsync_batch.manifest.fields import Row
from lipsync_batch.manifest.marked import Mark, MarkedList, MarkedMap, Value, place_of
from lipsync_batch.manifest.yaml_stream import YamlStream, mark_of

SCRATCH = "x-"
"""Sections that begin like this are nobody's: a place for anchors."""


def sections(path: Path) -> MarkedMap:
    """Everything but the jobs. ManifestError for what makes the file unreadable, and if there are no jobs."""
    with path.open("rb") as file:
        stream = YamlStream(path, file)
        start = stream.begin()
        if not isinstance(start, MappingStartEvent):
            raise ManifestError(path, [_not_a_manifest(start)])
        found, jobs = MarkedMap(mark_of(start)), 0
        problems: list[Problem] = []
        for name, mark, event in stream.pairs():
            problems += stream.take_problems()
            if name == "jobs":
                jobs = _count(path, stream, mark, event)
            elif name.startswith(SCRATCH):
                stream.skip(event)
            else:
                found[name] = stream.value(event)
                found.marks[name] = mark
            noted = stream.take_problems()
            problems += noted if name != "jobs" else ()  # what is wrong inside of a job is said with its row
        stream.end()
    problems += stream.take_problems()
    if not jobs:
        cause, remedy = "there are no jobs", "add a job below jobs:"
        problems.append(Problem(place=Place(), field="jobs", cause=cause, remedy=remedy))
    if problems:
        raise ManifestError(path, problems)
    return found


def rows(path: Path) -> Iterator[Row | Problem]:
    """The jobs, one at a time. What is wrong with one of them is a Problem, beside or instead of its row."""
    with path.open("rb") as file:
        stream = YamlStream(path, file)
        stream.begin()
        for name, _, event in stream.pairs():
            if name != "jobs":
                stream.skip(event)
                continue
            stream.take_problems()
            for mark, item in _items(stream, event):
                yield _row(mark, item, stream.take_problems())


def _items(stream: YamlStream, event: Event) -> Iterator[tuple[Mark, Value]]:
    if isinstance(event, SequenceStartEvent):
        for item in stream.items():
            yield mark_of(item), stream.value(item)
    else:
        aliased = stream.value(event)
        if isinstance(aliased, MarkedList):
            yield from zip(aliased.marks, aliased, strict=True)


def _row(mark: Mark, item: Value, problems: list[Problem]) -> Row | Problem:
    place = place_of(mark)
    if isinstance(item, dict):
        return Row(given=item, place=place, problems=problems)
    return Problem(place=place, field="jobs", cause="a job is a mapping of fields", remedy="write - video: ...")


def _count(path: Path, stream: YamlStream, mark: Mark, event: Event) -> int:
    """How many jobs there are; each is passed over."""
    if isinstance(event, SequenceStartEvent):
        count = 0
        for item in stream.items():
            stream.skip(item)
            count += 1
        return count
    if isinstance(event, AliasEvent) and isinstance(aliased := stream.value(event), MarkedList):
        return len(aliased)
    if not isinstance(event, AliasEvent) and stream.value(event) is None:
        return 0
    cause, remedy = "must be a list", "write each job as an item: - video: ..."
    raise ManifestError(path, [Problem(place=place_of(mark), field="jobs", cause=cause, remedy=remedy)])


def _not_a_manifest(start: Event | None) -> Problem:
    if start is None:
        return Problem(place=Place(), cause="is empty", remedy="begin with jobs: and a list of jobs")
    if isinstance(start, SequenceStartEvent):
        return Problem(place=Place(line=1), cause="is a list", remedy="put the list below jobs:")
    return Problem(place=Place(line=1), cause="is not a mapping", remedy="begin with jobs: and a list of jobs")
