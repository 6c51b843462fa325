"""What a person sees while a run goes on: a live view on a terminal, plain lines elsewhere, or JSON events.

All of it listens to events and goes to stderr; results are stdout's. `--events` alone writes to stdout, one JSON object
a line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TextIO

from lipsync_batch.clock import Clock, iso
from lipsync_batch.events import Event, Listener, Moved, RunEnded, RunStarted
from lipsync_batch.ui.tally import Tally, cause, duration, plain, problem_line

__all__ = ["JsonView", "PlainView", "View", "duration", "plain", "view"]

PLAIN_SECONDS = 60.0
SAID_EACH = 3
"""Problems of one cause that are said one by one; what follows is counted, and said with the line of the minute."""


class PlainView:
    """For logs and cron: a line at the start, one a minute, and one at each problem; many alike are gathered."""

    def __init__(self, stream: TextIO, *, quiet: bool, verbose: bool) -> None:
        self._stream = stream
        self._quiet = quiet
        self._verbose = verbose
        self._tally = Tally()
        self._minute_began = time.monotonic()
        self._said: Counter[str] = Counter()
        self._gathered: Counter[str] = Counter()

    def listen(self, event: Event) -> None:
        self._tally.listen(event)
        if (line := problem_line(event)) is not None:
            self._problem(line, cause(event))
        elif self._verbose and isinstance(event, Moved):
            self._say(f"{event.name}: {event.old} -> {event.new}")
        if self._due(event):
            self._minute_began = time.monotonic()
            self._tell_gathered()
            if not self._quiet:
                self._say(self._tally.line())

    def _problem(self, line: str, what: str | None) -> None:
        if what is None or self._verbose or self._said[what] < SAID_EACH:
            self._say(line)
        else:
            self._gathered[what] += 1
        if what is not None:
            self._said[what] += 1

    def _tell_gathered(self) -> None:
        for what, number in self._gathered.items():
            self._say(f"... and {number:,} more: {what}")
        self._gathered.clear()

    def _due(self, event: Event) -> bool:
        return isinstance(event, RunStarted | RunEnded) or time.monotonic() - self._minute_began >= PLAIN_SECONDS

    def _say(self, line: str) -> None:
        _print(f"{time.strftime('%H:%M:%S')} {line}", self._stream)


class JsonView:
    """`--events`: every event as a JSON object on a line of stdout."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock

    def listen(self, event: Event) -> None:
        _print(json.dumps({"at": iso(self._clock.utc()), **event.as_dict()}, ensure_ascii=False), self._stream)


def _print(line: str, stream: TextIO) -> None:
    """A line for whoever reads; when they have gone, or the disk of their log is full, the run goes on without them."""
    with suppress(OSError):
        print(line, file=stream, flush=True)


@dataclass(frozen=True, slots=True)
class View:
    """Who listens to a run, and how a line is said without spoiling what is drawn."""

    listeners: Sequence[Listener]
    say: Callable[[str], None]


@contextmanager
def view(
    *, events: bool, quiet: bool, verbose: bool, clock: Clock, stdout: TextIO = sys.stdout, stderr: TextIO = sys.stderr
) -> Iterator[View]:
    """The view that fits where the output goes."""

    def say(line: str) -> None:
        _print(line, stderr)

    if events:
        yield View([JsonView(stdout, clock).listen, PlainView(stderr, quiet=True, verbose=False).listen], say)
    elif _can_draw(stderr) and not quiet and not verbose:
        from lipsync_batch.ui.live_view import LiveView

        drawn = LiveView(stderr)
        try:
            yield View([drawn.listen], drawn.say)
        finally:
            drawn.stop()
    else:
        yield View([PlainView(stderr, quiet=quiet, verbose=verbose).listen], say)


def _can_draw(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "")
