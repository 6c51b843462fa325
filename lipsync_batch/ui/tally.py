"""How far a run is, counted from its events, and what is said of them in a line."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from lipsync_batch.events import Downloaded, Event, Moved, Noticed, Pulse, RateRefused, RunStarted, Stopping
from lipsync_batch.jobs import State

LAST_PROBLEMS = 4
RECENT = 60.0
"""The pace is that of so many seconds."""
SPEED_SECONDS = 10.0
"""The download speed likewise."""
ENDED = (State.DONE, State.FAILED, State.UNCLEAR)


@dataclass(slots=True)
class Tally:
    """How far a run is."""

    pairs: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    refused: int = 0
    problems: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_PROBLEMS))
    stopping: str = ""
    """Why the run ends, once it does."""
    pulse: Pulse | None = None
    requests_per_second: float = 0.0
    _pulse_at: float = 0.0
    _arrived: deque[tuple[float, int]] = field(default_factory=deque)
    """When how many bytes came, the last few seconds of it."""
    _ended: deque[tuple[float, int]] = field(default_factory=deque)
    """At which times how many pairs had ended, the last minute of it."""

    def listen(self, event: Event) -> None:
        match event:
            case Moved(wanted=True, old=old, new=new):
                self.pairs[old] -= 1
                self.pairs[new] += 1
            case Pulse():
                self._beat(event)
            case RunStarted(pairs=pairs):
                self.pairs = dict(pairs)
            case RateRefused():
                self.refused += 1
            case Downloaded(bytes=size):
                self._arrived.append((time.monotonic(), size))
            case Stopping(message=message, submits_only=False):
                self.stopping = plain(message)
            case _:
                pass
        if (line := problem_line(event)) is not None:
            self.problems.append(line)

    def _beat(self, pulse: Pulse) -> None:
        """What is measured over time is measured here, and not at each event."""
        now = time.monotonic()
        if self.pulse is not None and now > self._pulse_at:
            self.requests_per_second = (pulse.requests - self.pulse.requests) / (now - self._pulse_at)
        self.pulse, self._pulse_at = pulse, now
        self._ended.append((now, sum(self.pairs[state] for state in ENDED)))
        while now - self._ended[0][0] > RECENT:
            self._ended.popleft()
        while self._arrived and now - self._arrived[0][0] > SPEED_SECONDS:
            self._arrived.popleft()

    @property
    def total(self) -> int:
        return sum(self.pairs.values())

    @property
    def in_flight(self) -> int:
        return self.pairs[State.SUBMITTING] + self.pairs[State.SUBMITTED]

    @property
    def bytes_per_second(self) -> float:
        """Of the videos that came lately."""
        return sum(size for _, size in self._arrived) / SPEED_SECONDS

    def per_minute(self) -> float | None:
        """Pairs that ended lately; None before any did."""
        if not self._ended:
            return None
        (since, before), now = self._ended[0], time.monotonic()
        ended = sum(self.pairs[state] for state in ENDED) - before
        return 60.0 * ended / (now - since) if ended > 0 and now - since > 1.0 else None

    def eta_seconds(self) -> float | None:
        """From the pace of the last minute; None where it has none."""
        left = self.total - sum(self.pairs[state] for state in ENDED)
        pace = self.per_minute()
        return None if pace is None or not left else 60.0 * left / pace

    def line(self) -> str:
        """Where the run is, in a line."""
        pairs = self.pairs
        parts = [f"{pairs[State.DONE]:,}/{self.total:,} done", f"{self.in_flight:,} in flight"]
        parts += [f"{pairs[state]:,} {state}" for state in (State.READY, State.FAILED, State.UNCLEAR) if pairs[state]]
        if self.refused:
            parts.append(f"{self.refused:,} refused")
        if (eta := self.eta_seconds()) is not None:
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


def cause(event: Event) -> str | None:
    """What problems have in common that only the job tells apart; None for those that come once."""
    match event:
        case Moved(new=State.FAILED | State.UNCLEAR as new, code=code):
            return f"{new} ({code})"
        case Noticed(name=str(), message=message):
            return plain(message)
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
