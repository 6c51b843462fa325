"""What a person sees while a run goes on: a live view on a terminal, plain lines elsewhere, or JSON events.

All of it listens to events and goes to stderr; results are stdout's. `--events` alone writes to stdout, one JSON object
a line.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TextIO

from lipsync_batch.clock import Clock, iso
from lipsync_batch.events import (
    Downloaded,
    Event,
    Listener,
    Moved,
    Noticed,
    RateRefused,
    RunEnded,
    RunStarted,
    Stopping,
)
from lipsync_batch.jobs import State

PLAIN_SECONDS = 60.0
LAST_PROBLEMS = 4


@dataclass(slots=True)
class Tally:
    """How far a run is, counted from its events."""

    pairs: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    refused: int = 0
    bytes: int = 0
    started: float = field(default_factory=time.monotonic)
    done_at_start: int = 0
    problems: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_PROBLEMS))

    def listen(self, event: Event) -> None:
        match event:
            case RunStarted(pairs=pairs):
                self.pairs = dict(pairs)
                self.done_at_start = pairs[State.DONE]
                self.started = time.monotonic()
            case Moved(wanted=True, old=old, new=new):
                self.pairs[old] -= 1
                self.pairs[new] += 1
            case RateRefused():
                self.refused += 1
            case Downloaded(bytes=size):
                self.bytes += size
            case _:
                pass
        if (line := problem_line(event)) is not None:
            self.problems.append(line)

    @property
    def total(self) -> int:
        return sum(self.pairs.values())

    @property
    def in_flight(self) -> int:
        return self.pairs[State.SUBMITTING] + self.pairs[State.SUBMITTED]

    def eta_seconds(self) -> float | None:
        """From this run's own pace; None before it has one."""
        finished = self.pairs[State.DONE] - self.done_at_start
        left = self.total - sum(self.pairs[state] for state in (State.DONE, State.FAILED, State.UNCLEAR))
        if finished <= 0:
            return None
        return left * (time.monotonic() - self.started) / finished

    def line(self) -> str:
        """Where the run is, in a line."""
        pairs = self.pairs
        parts = [f"{pairs[State.DONE]:,}/{self.total:,} done", f"{self.in_flight:,} in flight"]
        parts += [f"{pairs[state]:,} {state}" for state in (State.READY, State.FAILED, State.UNCLEAR) if pairs[state]]
        if self.refused:
            parts.append(f"{self.refused:,} refused")
        if (eta := self.eta_seconds()) is not None and pairs[State.DONE] < self.total:
            parts.append(f"about {duration(eta)} left")
        return ", ".join(parts)


def problem_line(event: Event) -> str | None:
    """What a person may want to know of an event; None where it is the ordinary course of things."""
    match event:
        case Moved(new=State.FAILED | State.UNCLEAR as new, name=name, code=code, message=message):
            return plain(f"{name}: {new} ({code}): {message}")
        case Noticed(name=name, message=message):
            return plain(f"{name}: {message}" if name else message)
        case Stopping(message=message, submits_only=submits_only):
            return plain(f"{'no more submits' if submits_only else 'stopping'}: {message}")
        case _:
            return None


def plain(text: str) -> str:
    """A provider's words as they may go to a terminal: one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`, `4 days 3 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"


class PlainView:
    """For logs and cron: a line at the start, one a minute, and one at each problem."""

    def __init__(self, stream: TextIO, *, quiet: bool, verbose: bool) -> None:
        self._stream = stream
        self._quiet = quiet
        self._verbose = verbose
        self._tally = Tally()
        self._said_at = time.monotonic()

    def listen(self, event: Event) -> None:
        self._tally.listen(event)
        if (line := problem_line(event)) is not None:
            self._say(line)
        elif self._verbose and isinstance(event, Moved):
            self._say(f"{event.name}: {event.old} -> {event.new}")
        elif not self._quiet and self._due(event):
            self._say(self._tally.line())

    def _due(self, event: Event) -> bool:
        return isinstance(event, RunStarted | RunEnded) or time.monotonic() - self._said_at >= PLAIN_SECONDS

    def _say(self, line: str) -> None:
        self._said_at = time.monotonic()
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
def live(stream: TextIO) -> Iterator[View]:
    """A bar with the last problems under it, drawn by rich in place; lines are said above it."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    tally = Tally()
    console = Console(file=stream)

    def draw() -> Group:
        bar = Table.grid(expand=True)
        bar.add_row(ProgressBar(total=max(1, tally.total), completed=tally.pairs[State.DONE]))
        speed = tally.bytes / max(1.0, time.monotonic() - tally.started) / 1e6
        lines = [Text(f"{tally.line()}, {speed:.1f} MB/s", no_wrap=True, overflow="ellipsis")]
        lines += [Text(f"  {line}", style="yellow", no_wrap=True, overflow="ellipsis") for line in tally.problems]
        return Group(bar, *lines)

    def say(line: str) -> None:
        console.print(Text(line))

    drawn = Live(console=console, get_renderable=draw, refresh_per_second=4, transient=True)

    def listen(event: Event) -> None:
        tally.listen(event)
        if isinstance(event, RunStarted):
            drawn.start()  # not before: until then there may be questions to answer
        elif isinstance(event, RunEnded):
            drawn.stop()  # the process may end at once after this, and the terminal needs its cursor back

    try:
        yield View([listen], say)
    finally:
        drawn.stop()


@contextmanager
def view(
    *, events: bool, quiet: bool, verbose: bool, clock: Clock, stdout: TextIO = sys.stdout, stderr: TextIO = sys.stderr
) -> Iterator[View]:
    """The view that fits where the output goes."""

    def say(line: str) -> None:
        _print(line, stderr)

    if events:
        yield View([JsonView(stdout, clock).listen, PlainView(stderr, quiet=True, verbose=False).listen], say)
    elif stderr.isatty() and not quiet and not verbose:
        with live(stderr) as drawn:
            yield drawn
    else:
        yield View([PlainView(stderr, quiet=quiet, verbose=verbose).listen], say)
