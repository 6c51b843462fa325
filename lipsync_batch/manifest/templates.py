"""Templates: `{language}/{video.stem}.mp4`, `{lines[video.stem][language]}`, `{index:03}`.

A template knows the names that it is given, and nothing else: it is no format string of Python's, so it cannot reach
into objects. `{{` and `}}` stand for braces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from lipsync_batch.manifest.faults import FieldError, nearest
from lipsync_batch.manifest.tables import Table

_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<inside>[^{}]*)\}|[{}]")
_NAME = re.compile(r"\s*([\w.-]+)\s*(?::0?(\d{1,2})d?)?\s*")
_EXPRESSION = r"""\s*('[^']*'|"[^"]*"|[\w.-]+)\s*"""
_LOOKUP = re.compile(rf"\s*([\w-]+)\[{_EXPRESSION}\]\[{_EXPRESSION}\]\s*")
_BRACES = "write {{ and }} for braces that are meant as such"


@dataclass(frozen=True, slots=True)
class Name:
    """A value by its name; `width` is what it is filled up to with zeros."""

    name: str
    width: int = 0


@dataclass(frozen=True, slots=True)
class Lookup:
    """A cell of a table; row and column are names, or literals in quotes."""

    table: str
    row: str
    column: str


Part = str | Name | Lookup


def is_template(text: str) -> bool:
    return "{" in text or "}" in text


def escape(text: str) -> str:
    """The template that renders as `text`."""
    return text.replace("{", "{{").replace("}", "}}")


def render(text: str, names: Mapping[str, str], tables: Mapping[str, Table]) -> str:
    """Fill in the template `text`; FieldError for a syntax error, an unknown name, or a cell that is not there."""
    return "".join(part if isinstance(part, str) else _value(part, names, tables) for part in parse(text))


@lru_cache(maxsize=1024)
def parse(text: str) -> tuple[Part, ...]:
    """Take a template apart; FieldError if it is none."""
    parts: list[Part] = []
    end = 0
    for token in _TOKEN.finditer(text):
        parts.append(text[end : token.start()])
        parts.append(_part(token))
        end = token.end()
    parts.append(text[end:])
    return tuple(part for part in parts if part != "")


def _part(token: re.Match[str]) -> Part:
    match token[0]:
        case "{{" | "}}":
            return token[0][0]
        case "{" | "}":
            raise FieldError(f'"{token[0]}" has no partner', _BRACES)
    inside = token["inside"]
    if name := _NAME.fullmatch(inside):
        return Name(name[1], int(name[2] or 0))
    if lookup := _LOOKUP.fullmatch(inside):
        return Lookup(lookup[1], lookup[2], lookup[3])
    raise FieldError(f'"{token[0]}" is no template', f"write {{name}} or {{table[row][column]}}; {_BRACES}")


def _value(part: Name | Lookup, names: Mapping[str, str], tables: Mapping[str, Table]) -> str:
    if isinstance(part, Name):
        return _named(part.name, names, tables).zfill(part.width)
    if part.table not in tables:
        known = ", ".join(tables) or "none"
        raise FieldError(f'there is no table "{part.table}"', f"tables here: {known}")
    return tables[part.table].look_up(_operand(part.row, names, tables), _operand(part.column, names, tables))


def _operand(expression: str, names: Mapping[str, str], tables: Mapping[str, Table]) -> str:
    return expression[1:-1] if expression[0] in "'\"" else _named(expression, names, tables)


def _named(name: str, names: Mapping[str, str], tables: Mapping[str, Table]) -> str:
    if name in names:
        return names[name]
    meant = nearest(name, names)
    guess = f"did you mean {{{meant}}}? " if meant else ""
    known = ", ".join([*names, *(f"{table}[row][column]" for table in tables)])
    raise FieldError(f'unknown name "{name}" in a template', f"{guess}known here: {known}; {_BRACES}")
