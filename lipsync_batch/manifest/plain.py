"""The short way from a row to its job, for rows that say all of it themselves: by far the most of a large manifest.

Such a row has no template, glob or grid, and no defaults lie below it. The short way asks the same questions of the
same functions as the long one (`fields`, `sources`, `outputs`, `build`), but lays no layers, and it never says what is
wrong: a row that is not plainly right is None here, and the long way finds the words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lipsync_batch.capabilities import LIP_SYNC, Capabilities
from lipsync_batch.jobs import Audio, Job, Speech, Text, Want
from lipsync_batch.manifest.build import default_key, output_of
from lipsync_batch.manifest.faults import FieldError
from lipsync_batch.manifest.fields import FIELDS, Row, judge, name_error
from lipsync_batch.manifest.outputs import checked_key, checked_output
from lipsync_batch.manifest.sources import Media, find_plain
from lipsync_batch.manifest.templates import is_template

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
"""A take or a priority as most people write it."""
_HARMLESS = dict.fromkeys(map(ord, "\t\n\r\N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}\N{ZERO WIDTH JOINER}"))
"""Not printable for Python, and yet ordinary in a text."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the names in a row say of it, whatever their values are."""

    labels: tuple[str, ...]
    is_spoken: bool
    has_labels: bool
    """There is a mapping of labels besides."""
    numbers: tuple[str, ...]


def plain_job(row: Row, base: Path, position: int, capabilities: Capabilities = LIP_SYNC) -> Job | None:
    """The job of a row that is plainly right; None for every other row."""
    shape = _shape(tuple(row.given))
    if shape is None or row.excused or row.problems:
        return None
    values, labels = _values(row.given, shape)
    if values is None or labels is None:
        return None
    try:
        return _job(values, labels, shape, row, base, position, capabilities)
    except FieldError:
        return None


def _job(
    values: dict[str, str],
    labels: dict[str, str],
    shape: _Shape,
    row: Row,
    base: Path,
    position: int,
    capabilities: Capabilities,
) -> Job | None:
    video, audio = find_plain(values["video"], base), None
    speech: Speech
    if shape.is_spoken:
        speech = Text(text=values["text"], speaker=values["speaker"])
        if speech.speaker not in capabilities.speakers:
            return None
    else:
        audio = find_plain(values["audio"], base)
        if audio is None:
            return None
        speech = Audio(source=audio.source)
    if video is None:
        return None
    key, output = _names(values, video, audio, labels)
    return Job(
        key=key,
        output=output,
        want=Want(video=video.source, speech=speech, take=int(values.get("take", 1)), model=capabilities.model),
        position=position,
        labels=labels,
        priority=int(values.get("priority", 0)),
        place=row.place,
    )


def _names(values: dict[str, str], video: Media, audio: Media | None, labels: dict[str, str]) -> tuple[str, str]:
    """Key and output, as the head of `build` says."""
    if "output" in values:
        output = checked_output(values["output"])
        return checked_key(values["key"] if "key" in values else output.rpartition(".")[0]), output
    key = checked_key(values["key"]) if "key" in values else default_key(video, audio, labels)
    return key, output_of(key)


@lru_cache(maxsize=1024)  # rows of one manifest give much the same names
def _shape(names: tuple[str, ...]) -> _Shape | None:
    """None where the long way is needed whatever the values are."""
    given = frozenset(names)
    speech = given & {"audio", "text", "speaker"}
    if "video" not in given or "each" in given or speech not in ({"audio"}, {"text", "speaker"}):
        return None
    labels = tuple(name for name in names if name not in FIELDS)
    if any(map(judge, labels)):
        return None
    numbers = tuple(given & {"take", "priority"})
    return _Shape(labels=labels, is_spoken="text" in speech, has_labels="labels" in given, numbers=numbers)


def _values(given: Mapping[str, Any], shape: _Shape) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    """Fields and labels, trimmed; None for what is not plainly right."""
    more: dict[str, str] | None = None
    if shape.has_labels:
        more = _trimmed(given["labels"]) if isinstance(given["labels"], dict) else None
        if more is None or any(map(_label_error, more)):
            return None, None
        given = {name: value for name, value in given.items() if name != "labels"}
    values = _trimmed(given)
    if values is None or not all(_NUMBER.fullmatch(values[name]) for name in shape.numbers):
        return None, None
    labels = {name: values[name] for name in shape.labels}
    return values, labels | more if more else labels


def _trimmed(given: Mapping[str, Any]) -> dict[str, str] | None:
    """The values without the white space around them, if each is a text that says something and holds nothing odd."""
    try:
        together = "".join(given.values())
        values = {name: value.strip() for name, value in given.items()}
    except (TypeError, AttributeError):  # not a text
        return None
    if is_template(together) or not (together.isprintable() or together.translate(_HARMLESS).isprintable()):
        return None
    return values if all(values.values()) else None


@lru_cache(maxsize=1024)
def _label_error(name: str) -> FieldError | None:
    return name_error(name)
