"""Reads run.log, ours or a copy of it, as a journal of the ledger: intents, answers, and what pairs went through.

Intents and answers are durable before anything rests on them. The rest may be missing after a power cut: then what is
left says less, and a pair is in doubt that was not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipsync_batch.files import disk_faults
from lipsync_batch.jobs import State
from lipsync_batch.store.hearing import Hearing, RequestId, Told

WORTH_PARSING = (b'"intent"', b'"accepted"', b'"moved"', b'"begun"', b'"run_started"', b'"rebuilt"')


@dataclass(kw_only=True, slots=True)
class Journal:
    """What a journal says beside its generations."""

    path: Path
    batch_ids: set[str]
    provider: str = ""
    origin: str = ""
    """Whom the last run paid that says so."""
    store: str | None = None
    """Where the videos of the last run went, if not into the batch folder."""
    ends: str = ""
    """The instant of the last line that was read."""
    is_torn: bool = False
    """Whether it ends in the middle of a line: what came after that is lost, or was never written."""
    reaches_back: bool = False
    """Whether it tells from the beginning of the batch on. Not so where it was rotated away, or emptied."""
    intents: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether it names every submit, if it is no copy."""
        return self.reaches_back and not self.is_torn


def read_journal(path: Path, hearing: Hearing, *, journalled: bool) -> Journal:
    """Tell all that a journal knows. `journalled` says that it is the one that later runs append to.

    DiskError where it cannot be read. Lines that are torn, or of another kind, are left out.
    """
    journal = Journal(path=path, batch_ids=set(), is_torn=_is_torn(path))
    for line in _lines(path):
        try:
            _take(line, journal, hearing, journalled=journalled)
        except (KeyError, TypeError, ValueError):
            continue
    return journal


def is_journal(path: Path) -> bool:
    """Whether a file looks like a run.log: of its first lines one is of a kind that is read."""
    for number, line in enumerate(_lines(path)):
        if "event" in line:
            return True
        if number >= 20:
            break
    return False


def _is_torn(path: Path) -> bool:
    with disk_faults(path), path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with disk_faults(path), path.open("rb") as file:
        for line in file:
            if not any(kind in line for kind in WORTH_PARSING):
                continue
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict):
                yield told


def _take(line: Mapping[str, Any], journal: Journal, hearing: Hearing, *, journalled: bool) -> None:
    at = str(line["at"])
    journal.ends = max(journal.ends, at)
    match line["event"]:
        case "intent":
            _note_batch(line, journal)
            told = Told(
                client_request_id=line["client_request_id"],
                fingerprint=line["pair"],
                intended_at=at,
                reserve=int(line["reserve"]),
            )
            hearing.generation(told, journalled=journalled)
            journal.intents += 1
        case "accepted":
            _note_batch(line, journal)
            told = Told(
                client_request_id=line["client_request_id"],
                generation_id=line["id"],
                accepted_at=at,
                quote=line.get("quote"),
                outcome="accepted",
            )
            hearing.generation(told, journalled=journalled)
        case "moved" if (line["old"], line["new"]) == (State.DONE, State.PENDING):
            reason = (line.get("message") or "").removeprefix("redo: ")
            hearing.asked_again(line["pair"], at=at, reason=reason, journalled=journalled)
        case "moved":
            hearing.moved(
                line["pair"],
                State(line["old"]),
                State(line["new"]),
                at=at,
                name=line["name"],
                code=line.get("code"),
                message=line.get("message"),
            )
        case "begun":
            journal.reaches_back |= not journal.intents
        case "rebuilt":
            journal.reaches_back |= journal.intents >= line["generations"]
            _note_whose(line, journal)
        case "run_started":
            journal.reaches_back |= line["resumed"] is False and not journal.intents
            _note_whose(line, journal)


def _note_whose(line: Mapping[str, Any], journal: Journal) -> None:
    """Which batch it is, whom it pays, and where its videos go."""
    journal.batch_ids.add(line["batch_id"])
    journal.provider = line.get("provider") or journal.provider
    journal.origin = line.get("origin") or journal.origin
    journal.store = line.get("store") or journal.store


def _note_batch(line: Mapping[str, Any], journal: Journal) -> None:
    """Whose batch a submit was of, if it was one of ours."""
    if (parts := RequestId.parse(line["client_request_id"])) is not None:
        journal.batch_ids.add(parts.batch_id)
