"""What happens in a run, for whoever listens: the live view, plain lines, run.log, a library user.

Events are plain data and never carry a link or a key. A listener is called on the loop's thread, and must be quick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from lipsync_batch.jobs import State, StopReason


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `event` is the kind, the rest its fields."""
        kind, names = _described(type(self))  # type: ignore[arg-type]  # types can be hashed
        return {"event": kind, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStarted(Event):
    """`pairs` counts the pairs that jobs want, by state; `jobs` the jobs. `origin` is where its money goes to,
    `store` where its videos do, if they do not stay in its folder.
    """

    batch_id: str
    resumed: bool
    folder: str
    jobs: int
    pairs: dict[State, int]
    provider: str = ""
    origin: str = ""
    store: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved(Event):
    """A pair went from one state to another, durably."""

    name: str
    pair: str
    old: State
    new: State
    wanted: bool = True
    generation_id: str | None = None
    seconds: float | None = None
    """How long the generation took, where that is known now."""
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RateRefused(Event):
    """The provider answered 429: requests wait for so many seconds."""

    what: str
    pause: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Noticed(Event):
    """Something that a person may want to know, and that stops nothing."""

    message: str
    name: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Downloaded(Event):
    """A video has come, of so many bytes."""

    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulse(Event):
    """How the run is, every two seconds. Money in micro-USD."""

    requests: int
    """Sent since the lanes began."""
    allowed_per_second: float | None
    """The rate that is given, or learned by now; None while nothing limits it."""
    slots: int
    """Generations that may be alive at once, as far as is known."""
    spent: int
    """Over all runs where there is a budget, for it is what counts against that; else in this run."""
    budget: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopping(Event):
    """The run begins to end, or no longer submits; `submits_only` says that the other lanes go on."""

    reason: StopReason
    message: str
    submits_only: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnded(Event):
    """`jobs` counts the jobs by state; `nights_left`, after a deadline, the runs like this one that it still takes."""

    stop_reason: StopReason
    exit_code: int
    jobs: dict[State, int]
    nights_left: int | None = None


Listener = Callable[[Event], None]


class Events:
    """Hands each event to every listener, in the order in which they came."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def emit(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)


@cache
def _described(event: type) -> tuple[str, tuple[str, ...]]:
    """The kind of an event as JSON calls it, and the names of its fields."""
    kind = "".join(f"_{c.lower()}" if c.isupper() else c for c in event.__name__).lstrip("_")
    return kind, tuple(field.name for field in fields(event))
