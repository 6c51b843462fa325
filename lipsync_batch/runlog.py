"""run.log: one JSON object a line. What happened in every run of a batch; intents to pay before they are sent.

It is a journal of the ledger as well: intents and the provider's answers are durable here before jobs.db has them.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lipsync_batch.clock import Clock, from_iso, iso
from lipsync_batch.events import Downloaded, Event, Pulse
from lipsync_batch.files import disk_faults
from lipsync_batch.jobs import BatchRecord
from lipsync_batch.providers.base import Accepted


class RunLog:
    """Appends to run.log, whole lines only: neither two threads nor a torn end ever mix two of them.

    What the ledger rests on is `durable`, or DiskError. The rest is for people, and its loss stops nothing.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        with disk_faults(path):
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            size = os.fstat(self._file).st_size
            self._torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._file)

    def durable(self, lines: Sequence[str]) -> None:
        """Write lines and wait until they are on disk: the ledger's journal. DiskError where they cannot be."""
        if not lines:
            return
        with disk_faults(self._path):
            self._write("".join(f"{line}\n" for line in lines))
            os.fsync(self._file)

    def begun(self, batch_id: str) -> None:
        """Say durably that a batch begins here: a journal without this has lost its beginning."""
        self.durable([_json({"at": iso(self._clock.utc()), "event": "begun", "batch_id": batch_id})])

    def rebuilt(self, generations: int, batch: BatchRecord, *, store: str | None) -> None:
        """The same of a journal that was completed by a rebuilding: so many intents stand before this.

        And what runs say at their start: whom the batch pays, and the object storage that its videos go to.
        """
        whose = {"batch_id": batch.batch_id, "provider": batch.provider, "origin": batch.origin, "store": store}
        told = {"at": iso(self._clock.utc()), "event": "rebuilt", "generations": generations}
        self.durable([_json(told | whose)])

    def accepted(self, client_request_ids: Collection[str]) -> dict[str, Accepted]:
        """The answers to these submits that are in the journal, by client request id. Reads the whole file.

        Between the journal and the commit a process may die: then jobs.db does not know what the provider answered.
        """
        with disk_faults(self._path), self._path.open("rb") as lines:
            answers = (answer for line in lines if (answer := _answer(line)) is not None)
            return {request_id: accepted for request_id, accepted in answers if request_id in client_request_ids}

    def listen(self, event: Event) -> None:
        """Write down an event of a run."""
        if isinstance(event, Downloaded | Pulse):
            return
        self._tell(event.as_dict())

    def bug(self, traceback: str) -> None:
        """Write down what should not have happened."""
        self._tell({"event": "bug", "traceback": traceback})

    def _tell(self, told: dict[str, object]) -> None:
        line = _json({"at": iso(self._clock.utc()), **told})
        with suppress(OSError):  # the next `durable` meets the same disk, and says so
            self._write(f"{line}\n")

    def _write(self, text: str) -> None:
        """All of it, or OSError. A line that was cut short before, by a fault or a kill, is ended first."""
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        with self._lock:
            if self._torn:
                rest = memoryview(b"\n" + rest)
            self._torn = True
            while rest:
                rest = rest[os.write(self._file, rest) :]
            self._torn = False


def refused_at(path: Path) -> Iterator[float]:
    """When requests were refused for their number, in seconds since 1970, as far as the log can be read."""
    with suppress(OSError), path.open("rb") as lines:
        for line in lines:
            if b'"rate_refused"' in line:
                with suppress(ValueError, KeyError, TypeError):
                    told = json.loads(line)
                    if told["event"] == "rate_refused":
                        yield from_iso(told["at"]).timestamp()


_json = json.JSONEncoder(ensure_ascii=False).encode


def _answer(line: bytes) -> tuple[str, Accepted] | None:
    """The client request id and the provider's answer that a line holds; None for any other line, or a torn one."""
    if b'"accepted"' not in line:
        return None
    try:
        told = json.loads(line)
        if told["event"] != "accepted":
            return None
        return told["client_request_id"], Accepted(generation_id=told["id"], quote=told.get("quote"))
    except (ValueError, KeyError, TypeError):
        return None
