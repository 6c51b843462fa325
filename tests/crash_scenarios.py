"""What the crash matrix breaks off: two manifests, what may be charged for them, and what must come of them."""

from __future__ import annotations

import csv
import os
import secrets
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from crash_sandbox import NO_FACE, OVERLOADED
from media_factory import make_audio, make_video

STRANGER = b"a file that was there before us"
"""It stands in the way of an output."""
HOUR = 3_600.0


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a manifest. Without a text its speech is the recording."""

    key: str
    output: str
    text: str = ""


FIRST = (
    Row("anna", "de/anna.mp4", "Guten Morgen."),
    Row("twin", "de/twin.mp4", "Guten Morgen."),
    Row("recorded", "recorded.mp4"),
    Row("busy", "busy.mp4", OVERLOADED),
    Row("empty", "empty.mp4", NO_FACE),
)
"""A new batch: a pair that two jobs share, one that errs at first, and one that errs for good."""

FINISHED = (
    Row("left", "left.mp4", "Guten Morgen."),
    Row("right", "right.mp4", "Guten Abend."),
    Row("renamed", "old.mp4"),
    Row("changed", "changed.mp4", "Auf Wiedersehen."),
    Row("removed", "removed.mp4", "Gute Nacht."),
    Row("missing", "missing.mp4", "Bis bald."),
)
EDITED = (
    Row("left", "right.mp4", "Guten Morgen."),
    Row("right", "left.mp4", "Guten Abend."),
    Row("renamed", "new/name.mp4"),
    Row("changed", "changed.mp4", "Auf ein Neues."),
    Row("twin", "twin.mp4", "Guten Morgen."),
    Row("missing", "missing.mp4", "Bis bald."),
)
"""A finished batch whose outputs were swapped, renamed, changed, removed, doubled onto a stranger's file, and lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A manifest, on a batch that is new or finished before."""

    name: str
    rows: Sequence[Row]
    seams: frozenset[str]
    """What must be part of a point's name, or the scenario does not show what it is for."""
    charged: frozenset[str]
    """The texts that must be charged, once each; '' is the recording."""
    before: Sequence[Row] = ()
    """What the manifest held when the batch was finished."""

    @property
    def delivered(self) -> dict[str, str]:
        """The text that belongs to each output in the end."""
        return {row.output: row.text for row in self.rows if row.text != NO_FACE}


_PAID = {"intend:commit", "POST:send_request_body.complete", "accepted:commit", "fsync:log"}
_FETCHED = {"keep_file:commit", "fsync:part", "rename:part>video", "fsync:folder", "link:video>video", "done:commit"}
_TOLD = {"end_run:commit", "replace:draft of json>json"}
_MOVED = {"plan_file_moves:commit", "rename:video>moving", "rename:moving>video", "rename:video>superseded"}

NEW = Scenario(
    name="new",
    rows=FIRST,
    seams=frozenset(_PAID | _FETCHED | _TOLD | {"bind:commit", "provider_error:commit"}),
    charged=frozenset({"Guten Morgen.", "", OVERLOADED}),
)
CHANGED = Scenario(
    name="changed",
    rows=EDITED,
    seams=frozenset(_PAID | _FETCHED | _TOLD | _MOVED),
    charged=frozenset({"Auf ein Neues."}),
    before=FINISHED,
)
SCENARIOS = {scenario.name: scenario for scenario in (NEW, CHANGED)}


class Project:
    """The media that all batches share, and the folders of batches."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._media = folder / "media"
        self._media.mkdir()
        make_video(self._media / "clip.mp4", seconds=0.5)
        make_audio(self._media / "dub.wav", 0.5)
        for path in self._media.iterdir():
            # Not so new that a run would hash it again to be sure.
            os.utime(path, (path.stat().st_atime - HOUR, path.stat().st_mtime - HOUR))

    def new(self, name: str, rows: Sequence[Row]) -> Path:
        """A folder with a manifest of these rows; the manifest."""
        folder = self._folder / name
        folder.mkdir()
        return self.write(folder / "spring.csv", rows)

    def write(self, manifest: Path, rows: Sequence[Row]) -> Path:
        """A manifest of these rows, which may be there already."""
        with manifest.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["key", "output", "video", "audio", "text", "speaker"])
            for row in rows:
                speech = ["", row.text, "Emily"] if row.text else [self._media / "dub.wav", "", ""]
                table.writerow([row.key, row.output, self._media / "clip.mp4", *speech])
        return manifest

    def again(self, name: str, finished: Path, rows: Sequence[Row]) -> Path:
        """A copy of a finished batch, as if it were another one, and what happened to it since; its manifest."""
        manifest = self._folder / name / "spring.csv"
        shutil.copytree(finished.parent, manifest.parent)
        out = batch_folder(manifest)
        with closing(sqlite3.connect(out / "_batch" / "jobs.db")) as database, database:
            database.execute("UPDATE batch SET batch_id = ?", (secrets.token_hex(6),))
        (out / "_batch" / "run.log").unlink()
        (out / "missing.mp4").unlink()
        (out / "twin.mp4").write_bytes(STRANGER)
        return self.write(manifest, rows)


def batch_folder(manifest: Path) -> Path:
    return manifest.parent / "out" / manifest.stem
