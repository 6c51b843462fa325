"""Mappings and lists that remember where in the file they stand, so that a problem deep inside can say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lipsync_batch.jobs import Place

Mark = tuple[int, int]
"""Line and column, from 1."""

Value = str | None | list["Value"] | dict[str, "Value"]
"""What a YAML file says, with scalars as they were written."""


class MarkedMap(dict[str, Value]):
    """A mapping with the mark of itself and of each of its names."""

    __slots__ = ("mark", "marks")

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.mark = mark
        self.marks: dict[str, Mark] = {}


class MarkedList(list[Value]):
    """A list with the mark of itself and of each of its items."""

    __slots__ = ("mark", "marks")

    def __init__(self, mark: Mark) -> None:
        super().__init__()
        self.mark = mark
        self.marks: list[Mark] = []


def place_of(mark: Mark) -> Place:
    return Place(line=mark[0], column=mark[1])


def locate(value: object, path: Sequence[str | int], otherwise: Place) -> Place:
    """The place of what stands at `path` inside `value`, or as near to it as marks go."""
    place = otherwise
    for step in path:
        if isinstance(value, MarkedMap) and step in value.marks:
            place = place_of(value.marks[str(step)])
        elif isinstance(value, MarkedList) and isinstance(step, int) and step < len(value.marks):
            place = place_of(value.marks[step])
        if isinstance(value, Mapping):
            value = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
    return place
