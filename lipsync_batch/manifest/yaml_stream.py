"""YAML by events: values are built one at a time, each with its line and column, and a long list is never whole.

Whole-document loading takes 600 MB for 100,000 jobs; this takes what one job takes. It differs from `yaml.safe_load`
on purpose in one thing: **scalars stay text, as they were written**. YAML 1.1 reads `no` as false, `12:30` as 750 and
`012` as 10, so that Norwegian (`language: no`), times and take numbers would not survive. Whoever wants a number or a
truth value parses the text. Only an empty plain value, `~` and `null` are None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from lipsync_batch.errors import ManifestError, Problem
from lipsync_batch.jobs import Place
from lipsync_batch.manifest.marked import Mark, MarkedList, MarkedMap, Value, place_of

MOST_DEPTH = 32
ALIASED_VALUES = 100_000
"""Values that aliases may stand for, before they are compared with the size of the file: a bomb is far above both."""
ALIASED_VALUES_PER_EVENT = 100

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq"))
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class YamlStream:
    """One document, read from front to back.

    What makes the rest unreadable is raised as ManifestError; what is wrong with one mapping (a name that is there
    twice, say) is added to `problems`, for the caller to take with `take_problems`.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._get_event: Callable[[], Any] = _LOADER(file).get_event
        self._anchors: dict[str, tuple[Value, int]] = {}
        self._read = 0
        self._built = 0
        self._aliased = 0
        self._problems: list[Problem] = []

    def take_problems(self) -> list[Problem]:
        taken, self._problems = self._problems, []
        return taken

    def begin(self) -> Event | None:
        """The event that the document's root begins with; None for a file without a document."""
        event = self.next()
        while isinstance(event, StreamStartEvent | DocumentStartEvent):
            event = self.next()
        return None if isinstance(event, StreamEndEvent) else event

    def end(self) -> None:
        """Read on to the end of the file; ManifestError if there is a second document."""
        event = self.next()
        while isinstance(event, DocumentEndEvent):
            event = self.next()
        if not isinstance(event, StreamEndEvent):
            raise self._fatal(event, "a second document begins here", "one file is one manifest: remove the ---")

    def next(self) -> Event:
        try:
            event: Event = self._get_event()
        except yaml.YAMLError as error:
            raise ManifestError(self._path, [_syntax_problem(self._path, error)]) from error
        self._read += 1
        return event

    def pairs(self) -> Iterator[tuple[str, Mark, Event]]:
        """Names of the mapping whose start was read, with the event that each value begins with.

        The caller reads each value, by `value`, `items` or `skip`, before it asks for the next name. A name that is
        there a second time is a problem, and its value is skipped.
        """
        seen: set[str] = set()
        while not isinstance(event := self.next(), MappingEndEvent):
            mark, name = mark_of(event), self.value(event)
            start = self.next()
            if isinstance(name, str) and name not in seen:
                seen.add(name)
                yield name, mark, start
            else:
                self._bad_name(mark, name)
                self.skip(start)

    def items(self) -> Iterator[Event]:
        """The event that each item of the list whose start was read begins with. The caller reads the item."""
        while not isinstance(event := self.next(), SequenceEndEvent):
            yield event

    def value(self, event: Event, depth: int = 0) -> Value:
        """The value that begins with `event`, whole."""
        if type(event) is ScalarEvent and event.anchor is None and event.tag is None:  # by far the most
            self._built += 1
            return None if event.value in _NULLS and event.implicit[0] else event.value
        if isinstance(event, AliasEvent):
            return self._alias(event)
        assert isinstance(event, ScalarEvent | CollectionStartEvent), "the caller reads values where they begin"
        built = self._built
        self._built += 1
        value: Value
        if isinstance(event, ScalarEvent):
            value = None if event.implicit[0] and event.value in _NULLS else event.value
        elif isinstance(event, MappingStartEvent):
            value = self._mapping(event, depth)
        else:
            value = self._list(event, depth)
        if event.tag is not None and event.tag not in _PLAIN_TAGS:
            self._note(mark_of(event), f"the tag {event.tag} means nothing here", "remove it")
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._built - built)
        return value

    def skip(self, event: Event) -> None:
        """Pass over the value that begins with `event`; what has an anchor is kept for its aliases."""
        depth = 0
        while True:
            if type(event) is ScalarEvent and event.anchor is None:
                pass  # by far the most, so asked first
            elif isinstance(event, CollectionEndEvent):
                depth -= 1
            elif isinstance(event, AliasEvent):
                self._alias(event)
            elif isinstance(event, NodeEvent) and event.anchor is not None:
                self.value(event)
            elif isinstance(event, CollectionStartEvent):
                depth += 1
                self._check_depth(event, depth)
            if depth == 0:
                return
            event = self.next()

    def _mapping(self, event: Event, depth: int) -> MarkedMap:
        self._check_depth(event, depth)
        mapping = MarkedMap(mark_of(event))
        merged: list[tuple[Mark, Value]] = []
        marks = mapping.marks
        while type(name_event := self.next()) is not MappingEndEvent:
            mark, name = mark_of(name_event), self.value(name_event, depth + 1)
            value = self.value(self.next(), depth + 1)
            if name == "<<" and isinstance(name_event, ScalarEvent) and name_event.implicit[0]:
                merged.append((mark, value))
            elif type(name) is str and name not in mapping:
                mapping[name] = value
                marks[name] = mark
            else:
                self._bad_name(mark, name)
        for mark, value in merged:
            self._merge(mapping, mark, value)
        return mapping

    def _merge(self, mapping: MarkedMap, mark: Mark, value: Value) -> None:
        """`<<`: take over what `mapping` does not say itself. Of several mappings, the first one wins."""
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, MarkedMap):
                self._note(mark, "<< merges mappings only", "write <<: *NAME, with &NAME before a mapping")
                continue
            for name in source.keys() - mapping.keys():
                mapping[name] = source[name]
                mapping.marks[name] = source.marks[name]

    def _list(self, event: Event, depth: int) -> MarkedList:
        self._check_depth(event, depth)
        items = MarkedList(mark_of(event))
        while not isinstance(item := self.next(), SequenceEndEvent):
            items.marks.append(mark_of(item))
            items.append(self.value(item, depth + 1))
        return items

    def _alias(self, event: AliasEvent) -> Value:
        if event.anchor not in self._anchors:
            raise self._fatal(event, f"*{event.anchor} stands for nothing yet", f"put &{event.anchor} before it")
        value, size = self._anchors[event.anchor]
        self._built += size
        self._aliased += size
        if self._aliased > ALIASED_VALUES + ALIASED_VALUES_PER_EVENT * self._read:
            raise self._fatal(
                event,
                f"aliases stand for over {self._aliased:,} values, in a file that has {self._read:,}",
                "write out what is meant: a file that grows like this would fill the memory",
            )
        return value

    def _check_depth(self, event: Event, depth: int) -> None:
        if depth > MOST_DEPTH:
            raise self._fatal(event, f"is nested more than {MOST_DEPTH} deep", "no part of a manifest is")

    def _bad_name(self, mark: Mark, name: Value) -> None:
        if isinstance(name, str):
            self._note(mark, f'"{name}" is there twice', "keep one of them", field=name)
        else:
            self._note(mark, "a name must be a plain word", "put what begins with { or [ in quotes")

    def _note(self, mark: Mark, cause: str, remedy: str, field: str = "") -> None:
        self._problems.append(Problem(place=place_of(mark), field=field, cause=cause, remedy=remedy))

    def _fatal(self, event: Event, cause: str, remedy: str) -> ManifestError:
        return ManifestError(self._path, [Problem(place=place_of(mark_of(event)), cause=cause, remedy=remedy)])


def mark_of(event: Event) -> Mark:
    start = event.start_mark
    assert start is not None, "PyYAML's parsers mark every event"
    return start.line + 1, start.column + 1


def _syntax_problem(path: Path, error: yaml.YAMLError) -> Problem:
    """PyYAML's error in our words. Its classes share no attributes: some have marks, the reader's has an offset."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        before = path.read_bytes()[: getattr(error, "position", 0)]
        reason = getattr(error, "reason", "it cannot be read")
        line = before.count(b"\n") + 1
        return Problem(place=Place(line=line), cause=f"is not YAML: {reason}", remedy="remove the character")
    source = _line(path, mark.line)
    problem = getattr(error, "problem", None) or "it cannot be read"
    return Problem(
        place=Place(line=mark.line + 1, column=mark.column + 1),
        cause=f"is not YAML: {problem}" if not _is_tabbed(source) else "is indented with a tab",
        remedy=_remedy(source, problem),
    )


def _line(path: Path, number: int) -> str:
    """A line of a file that may be too large to be held."""
    with path.open("rb") as lines:
        return next(islice(lines, number, None), b"").decode("utf-8", errors="replace").rstrip("\r\n")


def _is_tabbed(source: str) -> bool:
    return "\t" in source[: len(source) - len(source.lstrip())]


def _remedy(source: str, problem: str) -> str:
    if _is_tabbed(source):
        return "YAML is indented with spaces: replace the tabs"
    if re.search(r"(:|-)\s+\{", source):
        return 'put a value that begins with { in quotes: "{language}/{video.stem}.mp4"'
    if "mapping values are not allowed" in problem:
        return 'put a text that holds ": " in quotes'
    return "check the quotes and the indentation here and on the line before"
