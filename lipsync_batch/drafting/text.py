"""A draft as the YAML of a manifest, with comments for the person who goes on with it."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.drafting.draft import Draft, Entry

SCHEMA_FILE = ".manifest.schema.json"
"""Beside the manifest, out of sight: editors that know YAML find it by the first line, wherever the folder goes."""


def manifest_text(draft: Draft) -> str:
    """The manifest, with paths relative to `draft.folder`."""
    return "\n".join(_lines(draft)) + "\n"


def _lines(draft: Draft) -> Iterator[str]:
    yield f"# yaml-language-server: $schema={SCHEMA_FILE}"
    yield f"# Made by `lipsync-batch init` of {_comment(draft.about)}. Paths are relative to this file."
    yield "# What it would do, and cost: lipsync-batch plan FILE. A rehearsal: lipsync-batch run FILE --sandbox"
    yield from ("version: 1", "", "settings:")
    yield "  max_in_flight: 20 # generations alive at the provider at once"
    yield "  # rate: 60/m      # requests that your account allows; found out, if it is not given"
    yield "  # budget: 40      # USD that this batch may cost, over all its runs"
    if draft.table is not None:
        file, key, sheet = draft.table
        yield from ("", "tables: # looked up at each run: go on editing the sheet", "  lines:")
        yield f"    file: {_scalar(file)}"
        if sheet is not None:
            yield f"    sheet: {_scalar(sheet)}"
        yield f"    key: {_scalar(key)} # the column that names the clips"
    if draft.defaults:
        yield from ("", "defaults:")
        yield from (f"  {name}: {_scalar(value)}{_remark(name, value)}" for name, value in draft.defaults.items())
    yield from ("", "jobs: # what is no field, such as language, is a label: for paths, --where and the report")
    for entry in draft.entries:
        yield from _item(entry)
    if draft.left_out:
        yield from ("", "# Left out:")
        yield from (f"#   {_comment(line)}" for line in draft.left_out)


def _remark(name: str, value: str) -> str:
    if name == "speaker" and value in LIP_SYNC.speakers:
        return f" # or {', '.join(LIP_SYNC.speakers[:-1])}: who speaks texts"
    return " # in the batch folder" if name == "output" else ""


def _item(entry: Entry) -> Iterator[str]:
    for number, (name, value) in enumerate(entry.fields.items()):
        begin = "    " if number else "  - "
        if isinstance(value, str):
            yield f"{begin}{name}: {_scalar(value)}"
        else:
            yield f"{begin}{name}: {{ language: [{', '.join(map(_scalar, value))}] }}"


def _scalar(text: str) -> str:
    """A text as YAML, in quotes where it needs them, on one line."""
    return yaml.safe_dump([text], default_flow_style=True, allow_unicode=True, width=float("inf")).strip()[1:-1]


def _comment(text: str) -> str:
    """A text that cannot end the comment that it stands in."""
    return " ".join(text.split())
