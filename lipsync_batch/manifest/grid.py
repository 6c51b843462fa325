"""The grid of `each`: every combination of the items of its axes, the last axis running fastest.

An axis is a list of values (`language: [fr, ja]`), each of which becomes the label of that name, or a mapping from
values to the fields that they set besides (`language: {es: {text: "Hasta pronto."}}`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

from lipsync_batch.errors import Problem
from lipsync_batch.manifest.faults import FieldError
from lipsync_batch.manifest.fields import Layer, Row, name_error, read_layer
from lipsync_batch.manifest.marked import locate

MOST_COMBINATIONS = 1_000_000


def combinations(row: Row) -> Iterator[tuple[Layer, ...] | Problem]:
    """The layers that each combination puts on top of the row's own; one empty combination without `each`."""
    each = row.given.get("each")
    if each is None:
        yield ()
        return
    axes: list[list[Layer]] = []
    try:
        for name, items in _mapping(each).items():
            axes.append(list(_axis(row, name, items)))
        _check_size(axes)
    except GridError as error:
        yield error.problem(row)
        return
    yield from itertools.product(*axes)


class GridError(FieldError):
    """What is wrong with a grid, and where inside of it."""

    def __init__(self, path: tuple[str | int, ...], cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.path = ("each", *path)

    def problem(self, row: Row) -> Problem:
        name = ".".join(str(step) for step in self.path)
        place = locate(row.given, self.path, row.place)
        return Problem(place=place, field=name, cause=self.cause, remedy=self.remedy)


def _check_size(axes: list[list[Layer]]) -> None:
    if math.prod(map(len, axes)) > MOST_COMBINATIONS:
        raise GridError((), f"has over {MOST_COMBINATIONS:,} combinations", "leave out an axis")


def _mapping(each: object) -> dict[str, object]:
    if not isinstance(each, dict) or not each:
        raise GridError((), "must name what changes", "write each: {language: [fr, ja]}")
    return each


def _axis(row: Row, name: str, items: object) -> Iterator[Layer]:
    if (bad := name_error(name)) is not None:
        raise GridError((name,), bad.cause, f"{bad.remedy}; an axis is a label, whose items may set fields")
    if not isinstance(items, list | dict) or not items:
        raise GridError((name,), "must be a list of values, or a mapping from values to fields", "write [fr, ja]")
    if isinstance(items, list):
        for index, value in enumerate(items):
            yield _item(row, name, index, value, {})
    else:
        for value, given in items.items():
            yield _item(row, name, value, value, {} if given is None else given)


def _item(row: Row, axis: str, step: str | int, value: object, given: object) -> Layer:
    """The layer of one item: its fields, and its value as the axis's label."""
    path = (axis, step)
    if not isinstance(value, str) or not value.strip():
        raise GridError(path, "must be text", "write each item as one word or text, in quotes if need be")
    if not isinstance(given, dict):
        raise GridError(path, "must be a mapping of fields", f'write {value}: {{text: "..."}}')
    if "each" in given:
        raise GridError(path, "a grid cannot be inside a grid", "add an axis beside this one")
    place = locate(row.given, ("each", *path), row.place)
    layer = read_layer(Row(given=given, place=place), path=f"each.{axis}.{value}.")
    return replace(layer, labels={axis: value.strip()} | layer.labels)
