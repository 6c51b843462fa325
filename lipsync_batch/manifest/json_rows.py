"""JSONL: one object a line and job, with the fields of a job in YAML. Numbers are kept as they were written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from lipsync_batch.errors import ManifestError, Problem
from lipsync_batch.jobs import Place
from lipsync_batch.manifest.encoding import open_text
from lipsync_batch.manifest.fields import Row


class _TwiceError(ValueError):
    """A name that is in an object twice."""


def check(path: Path) -> None:
    """ManifestError unless there is a line, and the file is not one array."""
    with open_text(path) as file:
        first = next((line.strip() for line in file if line.strip()), "")
    if not first:
        raise ManifestError(path, [Problem(place=Place(), cause="is empty", remedy="add a line a job")])
    if first.startswith("["):
        cause, remedy = "is a JSON array", "write one object a line: jq -c '.[]' FILE.json > FILE.jsonl"
        raise ManifestError(path, [Problem(place=Place(line=1), cause=cause, remedy=remedy)])


def rows(path: Path) -> Iterator[Row | Problem]:
    """The rows of a JSONL manifest; a line that cannot be read is a Problem. Empty lines are skipped."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _row(line, Place(line=number))


def _row(line: str, place: Place) -> Row | Problem:
    try:
        given = _decode(line)
        if "\\u" in line:
            json.dumps(given, ensure_ascii=False).encode()  # half a character (\ud83d alone) cannot be sent or stored
    except json.JSONDecodeError as error:
        place = Place(line=place.line, column=error.colno)
        return Problem(place=place, cause=f"is not JSON: {error.msg}", remedy="write one whole object on the line")
    except _TwiceError as error:
        return Problem(place=place, field=str(error), cause=f'"{error}" is there twice', remedy="keep one of them")
    except UnicodeEncodeError:
        return Problem(place=place, cause="holds half of a surrogate pair", remedy="write the character itself")
    except (ValueError, RecursionError) as error:
        return Problem(place=place, cause=f"is not JSON: {error}", remedy="write one whole object on the line")
    if not isinstance(given, dict):
        return Problem(place=place, cause="is not an object", remedy='write {"video": ..., ...}')
    return Row(given=given, place=place)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given = dict(pairs)
    if len(given) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return given


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


# Numbers stay text: a key 007 or a label 1.10 is what was written, and take and priority are parsed with their field.
_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_int=str, parse_float=str, parse_constant=_no_number).decode
