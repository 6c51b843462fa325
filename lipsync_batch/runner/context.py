"""What the lanes of one run share: who to ask, where to write, when to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from lipsync_batch.clock import Clock
from lipsync_batch.errors import DiskError
from lipsync_batch.events import Events, Stopping
from lipsync_batch.files import Folder
from lipsync_batch.jobs import StopReason
from lipsync_batch.providers.base import Provider
from lipsync_batch.runner.breaker import Breaker
from lipsync_batch.runner.budget import Budget
from lipsync_batch.runner.forecast import Forecast
from lipsync_batch.runner.shelves import Shelf
from lipsync_batch.runner.slots import Slots
from lipsync_batch.runner.throttle import Throttle
from lipsync_batch.runner.turns import Turns
from lipsync_batch.storage.presigned import Presigner
from lipsync_batch.store.ledger import Ledger
from lipsync_batch.store.reads import Reads

T = TypeVar("T")

INSIST = 5.0
"""How long an answer to a paid call is tried to be recorded on a disk that fails. Seconds."""
INSIST_PAUSE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What one run was asked for. Durations in seconds."""

    max_in_flight: int = 20
    downloads: int = 4
    check: str = "media"
    patience: float = 3_600.0
    resolve_for: float = 120.0
    """How long unclear pairs are looked up once all else is done."""
    deadline: datetime | None = None
    poll_floor: float = 1.0
    """The shortest time between two polls of one generation."""
    collect_only: bool = False
    """Submit nothing; poll and fetch what was paid for."""


class Stop:
    """Why a run ends, and how far it has got with ending. The first reason stands."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self.reason: StopReason | None = None
        self.submits_closed: StopReason | None = None
        self.requested = asyncio.Event()
        self.signalled = asyncio.Event()
        """A person or the system waits for the end of the process."""
        self.cut = asyncio.Event()
        """Answers to submits are waited for no longer."""

    def request(self, reason: StopReason, message: str) -> None:
        """End the run: nothing new goes out; what is on the wire is recorded."""
        if self.reason is not None:
            return
        self.reason = reason
        self.requested.set()
        if reason not in (StopReason.FINISHED, self.submits_closed):
            self._events.emit(Stopping(reason=reason, message=message))

    def close_submits(self, reason: StopReason, message: str) -> None:
        """Submit no more; polls and downloads go on."""
        if self.submits_closed is not None:
            return
        self.submits_closed = reason
        self._events.emit(Stopping(reason=reason, message=message, submits_only=True))


@dataclass(kw_only=True, slots=True)
class Context:
    """Passed to every lane."""

    batch_id: str
    provider: Provider
    reads: Reads
    ledger: Ledger
    folder: Folder
    shelf: Shelf
    clock: Clock
    events: Events
    options: Options
    stop: Stop
    throttle: Throttle
    forecast: Forecast
    breaker: Breaker
    budget: Budget
    slots: Slots
    turns: Turns
    presigner: Presigner = field(default_factory=Presigner)
    """Makes links of inputs in object storage."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a request may now be possible that was not before."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever there may be something to fetch, or room for it."""
    names: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a file that stands under a final name is moved: two lanes must not take it for their own."""
    claimed: dict[str, str] = field(default_factory=dict)
    """Generations whose id is on its way into the ledger, each with the name of its job."""
    doubts_moved: bool = False
    """Submits came into doubt, or out of it, since that was last asked of jobs.db."""
    moved_at: float = 0.0
    """When a pair last came further, by the clock."""

    @contextmanager
    def in_order(self) -> Iterator[None]:
        """A lane's work. Where the disk under the batch fails, the run stops in order; the lanes do not fall over."""
        try:
            yield
        except DiskError as error:
            self.stop.request(error.stop_reason, f"{error}. {error.hint}")

    async def insist(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write down what cannot be learned again, such as the answer to a paid call; tried for some seconds.

        From the first failure on the run is being stopped: with a disk like that nothing more is submitted. DiskError
        where it stays so. Then the pair is still `submitting` in jobs.db, and `unclear` at the next start.
        """
        until = self.clock.now() + INSIST
        while self.clock.now() < until:
            with self.in_order():
                await write()
                return
            await self.clock.sleep(INSIST_PAUSE)
        await write()

    def owner(self, generation_id: str) -> str | None:
        """Whose a generation is, for people; None where no pair of this batch has it."""
        return self.claimed.get(generation_id) or self.reads.owner(generation_id)

    @contextmanager
    def claiming(self, generation_id: str, name: str) -> Iterator[None]:
        """Say whose a generation is going to be, until the ledger says so."""
        self.claimed[generation_id] = name
        try:
            yield
        finally:
            del self.claimed[generation_id]

    def moved(self) -> None:
        """A pair came further."""
        self.moved_at = self.clock.now()
        self.wake()

    def wake(self) -> None:
        """Every lane looks again at what it can do."""
        self.changed.set()
        self.arrived.set()


async def unless(event: asyncio.Event, step: Coroutine[Any, Any, T]) -> T | None:
    """Run a step until it ends, or break it off when the event comes first: None then."""
    task, waiting = asyncio.ensure_future(step), asyncio.ensure_future(event.wait())
    either: set[asyncio.Future[Any]] = {task, waiting}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    return None if task.cancelled() else task.result()


async def uninterrupted(step: Coroutine[Any, Any, T]) -> T:
    """Run a step to its end even when the caller is cancelled; the cancellation goes on afterwards.

    For the paid call and the recording of its answer: between the two nobody may be stopped.
    """
    task = asyncio.ensure_future(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise
