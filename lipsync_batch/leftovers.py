"""Signs that a batch which looks new was run before, and that its ledger is lost.

It would be paid for as a whole; whoever only deleted `_batch/` and the reports would pay twice. Signs are files that
stand where it would put its videos, which may be other people's, and a note in the user's state folder that a batch was
begun in this folder, which may have been deleted on purpose: what to make of them is for a person to say.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from lipsync_batch.clock import iso
from lipsync_batch.files import STATE, fsync_folder
from lipsync_batch.jobs import BatchRecord

_PART = re.compile(r"\.[0-9a-f]{8}-\d+\.part$")
"""How the name of an unfinished download ends; see `Folder.part`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A batch that was begun in a folder, on this machine."""

    batch_id: str
    at: str
    """As `iso`."""
    store: str | None
    """The object storage that its videos go to, if they do not stay in the folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftovers:
    """What there is of such signs."""

    number: int = 0
    """Of files."""
    first: str = ""
    """The first of them, relative to the batch folder."""
    begun: Begun | None = None

    def __bool__(self) -> bool:
        return bool(self.number or self.begun)

    def __str__(self) -> str:
        """For people; empty where there is nothing."""
        signs = []
        if self.begun:
            signs.append(f"a batch was begun in this folder at {self.begun.at}")
        if self.number:
            files = f"{self.number:,} files" if self.number > 1 else "1 file"
            signs.append(f"{files} stand{'' if self.number > 1 else 's'} where its videos would go ({self.first})")
        return ", and ".join(signs)


def leftovers(root: Path, outputs: Iterable[str]) -> Leftovers:
    """The note, files under the names of outputs, and unfinished downloads beside them; nothing else is looked at."""
    begun = begun_in(root)
    if not _holds_more_than_state(root):
        return Leftovers(begun=begun)
    number, first = 0, ""
    folders: set[str] = set()
    for output in outputs:
        folder = output.rpartition("/")[0]
        found = [output] if os.path.lexists(root / output) else []
        if folder not in folders:
            folders.add(folder)
            found += _parts(root, folder)
        number += len(found)
        first = first or next(iter(found), "")
    return Leftovers(number=number, first=first, begun=begun)


def note_begun(root: Path, batch: BatchRecord, *, store: str | None) -> None:
    """Note, before anything is paid, that a batch is begun in a folder. Where that cannot be, it does without."""
    note = _note(root)
    part = note.with_name(f"{note.name}.part")
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with part.open("w", encoding="utf-8") as file:
            json.dump({"batch_id": batch.batch_id, "at": iso(batch.created_at), "store": store}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(note)
        fsync_folder(note.parent)


def begun_in(root: Path) -> Begun | None:
    """The batch that was begun in a folder last, as far as this machine knows."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(_note(root).read_text(encoding="utf-8"))
        return Begun(batch_id=str(told["batch_id"]), at=str(told["at"]), store=told.get("store"))
    return None


def _note(root: Path) -> Path:
    """In the user's state folder, so that it outlives the batch folder."""
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    return platformdirs.user_state_path("lipsync-batch", appauthor=False) / "batches" / f"{digest}.json"


def _holds_more_than_state(root: Path) -> bool:
    with suppress(OSError), os.scandir(root) as entries:
        return any(entry.name != STATE for entry in entries)
    return False


def _parts(root: Path, folder: str) -> list[str]:
    with suppress(OSError), os.scandir(root / folder) as entries:
        return sorted(f"{folder}/{entry.name}".lstrip("/") for entry in entries if _PART.search(entry.name))
    return []
