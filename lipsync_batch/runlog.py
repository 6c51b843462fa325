"""run.log: one JSON object a line. What happened in every run of a batch; intents to pay before they are sent."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lipsync_batch.clock import Clock, iso
from lipsync_batch.events import Downloaded, Event


class RunLog:
    """Appends to run.log. Each line is one write, so that threads and a torn end never mix two lines."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._file)

    def durable(self, lines: Sequence[str]) -> None:
        """Write lines and wait until they are on disk: the ledger's journal."""
        if not lines:
            return
        self._write("".join(f"{line}\n" for line in lines))
        os.fsync(self._file)

    def listen(self, event: Event) -> None:
        """Write down an event of a run."""
        if isinstance(event, Downloaded):
            return
        line = json.dumps({"at": iso(self._clock.utc()), **event.as_dict()}, ensure_ascii=False)
        self._write(f"{line}\n")

    def bug(self, traceback: str) -> None:
        """Write down what should not have happened."""
        self._write(json.dumps({"at": iso(self._clock.utc()), "event": "bug", "traceback": traceback}) + "\n")

    def _write(self, text: str) -> None:
        os.write(self._file, text.encode("utf-8", "backslashreplace"))
