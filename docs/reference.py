"""The tables of `docs/` and the README that say what the program says: made of it, never retyped."""

from __future__ import annotations

import importlib
import inspect
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from lipsync_batch import exits
from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.cli.run import run
from lipsync_batch.jobs import MOVES, State, StopReason
from lipsync_batch.manifest import manifest_schema
from lipsync_batch.report.advice import STATE_MEANINGS, STOPS
from lipsync_batch.settings import ENVIRONMENT_PREFIX, Settings

ROOT = Path(__file__).parent.parent

WHEN: Mapping[tuple[State, State], str] = {
    (State.PENDING, State.SUBMITTING): "the intent to pay is on disk; the request may leave",
    (State.PENDING, State.SUBMITTED): "it was to be sent again by hand, and the first submit was found before it was",
    (State.SUBMITTING, State.SUBMITTED): "accepted: the answer names a generation",
    (State.SUBMITTING, State.PENDING): "surely not accepted: nothing was sent, too many requests, the key refused",
    (State.SUBMITTING, State.FAILED): "refused for good: the provider's words are kept",
    (State.SUBMITTING, State.UNCLEAR): "no answer, or one that says nothing; also what a killed run left behind",
    (State.UNCLEAR, State.SUBMITTED): "found in the provider's log, or `resolve --adopt=ID`",
    (State.UNCLEAR, State.PENDING): "`resolve --resubmit`, by hand alone",
    (
        State.UNCLEAR,
        State.FAILED,
    ): "`resolve --give-up`, or the log says that it failed and its generation says so, too",
    (State.SUBMITTED, State.READY): "the provider is done and gives a link",
    (State.SUBMITTED, State.PENDING): "the provider failed for a passing reason, and charged nothing: twice at most",
    (State.SUBMITTED, State.FAILED): "the provider failed, or no longer knows the generation",
    (State.READY, State.SUBMITTED): "the link is dead: a fresh one is asked for",
    (State.READY, State.DONE): "the video is in its place, whole and checked",
    (State.READY, State.FAILED): "the provider's file is no video, or cannot be fetched or put in its place",
    (State.DONE, State.READY): "the file is missing or damaged: fetched again, for nothing",
    (State.FAILED, State.SUBMITTED): "`retry`: the generation is asked for once more, for nothing",
    (State.FAILED, State.PENDING): "`retry` where nothing was charged; `retry --pay-again` where it may have been",
}
"""When a pair moves so. Every row of MOVES has one."""


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


# The manifest and its settings


def settings() -> str:
    """Setting, flag, default, and what it says."""
    flags = {parameter.name: parameter.opts[-1] for parameter in run.params if isinstance(parameter, click.Option)}
    return table(
        ("in `settings:`", "flag", "default", "meaning", "example"),
        (
            (f"`{name}`", _code(flags.get(name)), _default(name), field.description or "", _examples(name))
            for name, field in Settings.model_fields.items()
        ),
    )


def _examples(name: str) -> str:
    return ", ".join(f"`{example}`" for example in Settings.model_fields[name].examples or ())


def _default(name: str) -> str:
    default = Settings.model_fields[name].default
    match default:
        case None:
            return ""
        case bool():
            return "no"
        case float():
            unit, seconds = ("h", 3600) if default >= 3600 else ("m", 60) if default >= 60 else ("s", 1)
            return f"{default / seconds:g}{unit}"
    return str(default)


def variables() -> str:
    """The environment variables, as a list in one line."""
    return ", ".join(f"`{ENVIRONMENT_PREFIX}{name.upper()}`" for name in Settings.model_fields) + "."


def sections() -> str:
    """The sections of a YAML manifest."""
    return _fields(manifest_schema()["properties"])


def job_fields() -> str:
    return _fields(manifest_schema()["$defs"]["JobFields"]["properties"])


def table_fields() -> str:
    return _fields(manifest_schema()["$defs"]["TableFields"]["properties"])


def _fields(properties: Mapping[str, Any]) -> str:
    settings_text = manifest_schema()["$defs"]["Settings"]["description"]
    return table(
        ("name", "meaning"),
        ((f"`{name}`", field.get("description", settings_text)) for name, field in properties.items()),
    )


def speakers() -> str:
    return f"{', '.join(LIP_SYNC.speakers[:-1])} and {LIP_SYNC.speakers[-1]}."


# States and ends


def states() -> str:
    return table(("state", "meaning"), ((state.value, STATE_MEANINGS[state]) for state in State))


def moves() -> str:
    return table(
        ("from", "to", "when"),
        ((old.value, new.value, WHEN[old, new]) for old in State for new in State if new in MOVES[old]),
    )


def stops() -> str:
    """Every way in which a run ends, with its exit code."""
    return table(
        ("`stop_reason`", "exit", "meaning"),
        (
            (f"[{reason}](recovery.md#{reason})", _exit(reason), STOPS[reason])
            for reason in StopReason
            if reason is not StopReason.RUNNING
        ),
    )


def _exit(reason: StopReason) -> str:
    if reason is StopReason.FINISHED:
        return f"{exits.DONE}, {exits.LOOK} or {exits.AGAIN}"
    return str(exits.exit_code(reason, {}, manifest_errors=False, skipped=0))


# The house


def house() -> str:
    """The layers of `pyproject.toml`: each room imports only from those below."""
    layers = [layer for layer in _layers() if layer != ["__main__"]]
    width = max(len(_rooms(layer)) for layer in layers)
    picture = "\n    │\n".join(f"    {_rooms(layer).ljust(width)}".rstrip() for layer in layers)
    return f"```text\n{picture}\n```"


def rooms() -> str:
    """Every room, with the first sentence of its docstring."""
    return table(
        ("room", "what it is"),
        ((f"`{room}`", _first_line(room)) for layer in _layers() for room in layer if room != "__main__"),
    )


def _rooms(layer: Sequence[str]) -> str:
    return " · ".join(layer)


def _layers() -> list[list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (one for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    return [[room.strip() for room in layer.replace("|", ":").split(":")] for layer in contract["layers"]]


def _first_line(room: str) -> str:
    text = inspect.getdoc(importlib.import_module(f"lipsync_batch.{room}")) or ""
    return " ".join(text.split("\n\n")[0].split())


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""


GENERATED: Mapping[str, Callable[[], str]] = {
    made.__name__.replace("_", " "): made
    for made in (
        *(settings, variables, sections, job_fields, table_fields, speakers),
        *(states, moves, stops, house, rooms),
    )
}
