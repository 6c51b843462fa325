"""`--events`: what programs read. docs/events.md and the code say the same, and so do the lines of a real run."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from command import environment, run
from media_factory import make_video
from other_api import other_api

from lipsync_batch import events
from lipsync_batch.events import Event
from lipsync_batch.jobs import State

DOCS = Path(__file__).parent.parent / "docs" / "events.md"
KINDS: dict[str, type[Event]] = {
    re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).lower(): kind for kind in Event.__subclasses__()
}
TYPES = {"text": str, "number": (int, float), "true, false": bool, "object": dict, "null": type(None)}


def documented() -> dict[str, dict[str, str]]:
    """Kinds with their fields and the types of these, as the document has them."""
    sections = re.split(r"^## `", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        section.partition("`")[0]: dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section, re.MULTILINE))
        for section in sections
    }


def test_every_kind_and_field_is_documented() -> None:
    """A field that is not in the document is one that nobody may rest on."""
    assert {kind: list(named) for kind, named in documented().items()} == {
        kind: [field.name for field in fields(cls)] for kind, cls in KINDS.items()
    }


def test_documented_types_are_those_of_the_code() -> None:
    """`null` is said where a field may be null, and nowhere else."""
    for kind, named in documented().items():
        hints = get_type_hints(KINDS[kind], vars(events))
        assert {name: ", null" in text for name, text in named.items()} == {
            name: type(None) in getattr(hints[name], "__args__", ()) for name in named
        }


def fits(value: Any, text: str) -> bool:
    """Whether a value is of a documented type."""
    allowed = [TYPES["true, false"]] if text == "true, false" else [TYPES[word] for word in text.split(", ")]
    return any(isinstance(value, kind) for kind in allowed) and not (isinstance(value, bool) and bool not in allowed)


@pytest.mark.slow
def test_lines_of_a_run_are_as_documented(tmp_path: Path) -> None:
    """A run with a failure, from its first line to its last; and nothing else on stdout."""
    film = make_video(tmp_path / "clip.mp4", seconds=0.5)
    manifest = tmp_path / "spring.csv"
    manifest.write_text("video,text,speaker,output\nclip.mp4,Hallo.,Emily,a.mp4\nclip.mp4,Guten Tag.,Emily,b.mp4\n")
    with other_api(film) as api:
        ended = run("run", manifest, "--events", env=environment(tmp_path, api.url), cwd=tmp_path)

    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    kinds = documented()
    for line in lines:
        named = kinds[line["event"]]
        assert line.keys() == {"at", "event", *named}
        assert [name for name, text in named.items() if not fits(line[name], text)] == []
    assert [lines[0]["event"], lines[-1]["event"]] == ["run_started", "run_ended"]
    assert {"moved", "pulse", "downloaded"} <= {line["event"] for line in lines}
    assert {line["name"] for line in lines if line["event"] == "moved"} == {"a", "b"}
    assert lines[-1]["jobs"] == {**dict.fromkeys(State, 0), State.DONE: 2}
    assert ended.returncode == lines[-1]["exit_code"] == 0
