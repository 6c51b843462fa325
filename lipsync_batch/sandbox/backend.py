"""What the routes share: options, records, dice, the switches of the moment, and the end of generations."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request

from lipsync_batch.sandbox import PRICE
from lipsync_batch.sandbox.faults import Dice, Faults, Timing
from lipsync_batch.sandbox.gate import Gate
from lipsync_batch.sandbox.notices import Notices
from lipsync_batch.sandbox.records import Generation, Records
from lipsync_batch.sandbox.studio import Studio


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a sandbox behaves from its start to its end. What can change meanwhile is in `Faults`."""

    folder: Path
    key: str | None = None
    """None: any key will do."""
    price: int = PRICE
    """Micro-USD a generation."""
    log_lag: float = 2.0
    """Seconds from the end of a generation until the log shows it."""
    timing: Timing = field(default_factory=Timing)
    instant_media: bool = False
    """Render nothing: every result is the same small test card. For load tests."""
    body_limit: int | None = None
    """Bytes of a request's body; a larger one is answered with 413."""
    workers: int = 2
    """Renders at a time."""
    seed: int = 1


class Backend:
    """One sandbox."""

    def __init__(self, options: Options, faults: Faults) -> None:
        self.options = options
        self.faults = faults
        self.dice = Dice(options.seed)
        self.gate = Gate(key=options.key)
        self.notices = Notices()
        self.records = Records(options.folder / "sandbox.db", now=time.time())
        self.studio = Studio(self.records, options.folder, workers=options.workers)
        self.test_card: str | None = None
        """The etag that stands for all results under `instant_media`."""
        self.violations = 0
        """Requests for results that carried a key: it belongs to the API alone."""
        self._times: Counter[tuple[object, ...]] = Counter()

    def nth(self, *subject: object) -> int:
        """Which time this is, counting from 1: what rolls for repeated requests hang on."""
        self._times[subject] += 1
        return self._times[subject]

    def settle(self) -> None:
        """End the generations whose time is over and whose video is there. Every look at them comes after this."""
        endings = [
            (generation, max(generation.due, made), self._error(generation, problem))
            for generation, made, problem in self.records.ending(time.time())
            if not self.happens("stuck", generation)
        ]
        self.records.end(endings)

    def happens(self, fault: str, generation: Generation) -> bool:
        """Whether a fault strikes a generation, as its chance is set now."""
        return self.dice.happens(getattr(self.faults, fault), fault, *generation.fate)

    def balance(self) -> int:
        """Micro-USD left: what is held for running generations counts as spent until they end."""
        sums = self.records.sums
        return round(self.faults.credits * 1_000_000) - sums.spent - sums.held

    def _error(self, generation: Generation, problem: str | None) -> object | None:
        """What a generation fails of, in one of the three shapes that were seen; None where it succeeds."""
        if problem is not None:
            return {"name": "GenerationError", "message": problem}
        if not self.happens("errors", generation):
            return None
        if self.happens("retryable", generation):
            return {"name": "InternalServerError", "message": "The model is overloaded. Please try again later"}
        message = "No face found in the video"
        detail = {"loc": ["body", "video_url"], "msg": message, "type": "face_detection_error", "input": "data:..."}
        shapes: tuple[object, ...] = ({"name": "GenerationError", "message": message}, {"detail": [detail]}, message)
        return self.dice.pick(shapes, "error shape", *generation.fate)


def backend_of(request: Request) -> Backend:
    backend = request.app.state.backend
    assert isinstance(backend, Backend)
    return backend


def error_of(generation: Generation) -> object | None:
    return None if generation.error is None else json.loads(generation.error)
