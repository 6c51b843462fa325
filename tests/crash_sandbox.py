"""The sandbox of the crash matrix, as a script: its texts say what goes wrong, and always the same does.

A sandbox rolls dice for a pair and for how often that was ordered before. Here thousands of batches order the same few
pairs, and each of them must fare as the first did: so the dice are rolled for the attempt, errors follow the text, and
the log may be read as often as if each batch had an account of its own.
"""

from __future__ import annotations

import json

from lipsync_batch.cli.sandbox import sandbox
from lipsync_batch.sandbox import app, gate
from lipsync_batch.sandbox.backend import Backend
from lipsync_batch.sandbox.faults import Rate
from lipsync_batch.sandbox.records import Generation

NO_FACE = "Nobody is to be seen here."
"""A generation of this text fails, for good."""
OVERLOADED = "Too many people say this."
"""The first attempt at this text fails of overload."""


class ScriptedBackend(Backend):
    """Errors by text."""

    def happens(self, fault: str, generation: Generation) -> bool:
        if fault not in ("errors", "retryable"):
            return super().happens(fault, generation)
        row = self.records._one("SELECT wish FROM renders WHERE pair = ?", generation.pair)
        text = json.loads(row["wish"])["text"]
        overloaded = text == OVERLOADED and _attempt(generation) == 1
        return overloaded or (fault == "errors" and text == NO_FACE)


def _attempt(generation: Generation) -> int:
    """The last part of our id of it."""
    return int((generation.client_request_id or "1").rpartition(".")[2])


if __name__ == "__main__":
    Generation.fate = property(lambda self: (self.pair, _attempt(self)))  # type: ignore[assignment, method-assign]
    gate.LOGS_RATE = Rate(count=1_000_000, seconds=60.0)
    app.Backend = ScriptedBackend  # type: ignore[attr-defined]
    sandbox()
