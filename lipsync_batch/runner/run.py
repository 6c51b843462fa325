"""One run: the lanes in one TaskGroup, under one stop reason.

The dispatcher gives each request that the rate allows to the lane that needs it most: submits first while slots are
open, then the generation most worth asking. The downloads need no requests and go on beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from lipsync_batch.capabilities import MIB
from lipsync_batch.events import Pulse
from lipsync_batch.files import LOWEST_FREE
from lipsync_batch.jobs import StopReason
from lipsync_batch.location import DATABASE
from lipsync_batch.providers.base import PROBE, Throttled, Unavailable
from lipsync_batch.runner.context import Context, unless
from lipsync_batch.runner.download import DownloadLane
from lipsync_batch.runner.fetchers import Fetcher
from lipsync_batch.runner.inspection import Inspection
from lipsync_batch.runner.poll import PollLane
from lipsync_batch.runner.resolve import ResolveLane
from lipsync_batch.runner.submit import SubmitLane
from lipsync_batch.runner.throttle import Permit

WIRES = 48
"""Requests that may be unanswered at once, or their answers not recorded yet."""
LATE = 300.0
"""A generation that has been due for so long goes before any submit. Seconds."""
DRAIN = 10.0
"""How long what is on its way may take to end after a stop. Seconds."""
BREAK_OFF = 2.0
"""How long a download that was told to break off may take to do so, before it is left behind. Seconds."""
SIGNAL_LOOKS = 1.0
"""Seconds between two looks at whether somebody waits for the process to end, while answers are still to come."""
RESOLVE_LOOKS = 1.0
"""Seconds between two looks at whether unclear pairs are still worth waiting for."""
PULSE = 2.0
"""Seconds between two words about how the run is."""
DISK_LOOKS = 10.0
"""Seconds between two looks at the free space."""


class Run:
    """The lanes of one run and what they share."""

    def __init__(self, context: Context, fetcher: Fetcher, inspection: Inspection) -> None:
        self._context = context
        self._inspection = inspection
        self._polls = PollLane(context)
        self._submits = SubmitLane(context, self._polls)
        self._downloads = DownloadLane(context, self._polls, fetcher)
        self._resolves = ResolveLane(context, self._polls)
        self._wires: set[asyncio.Task[None]] = set()

    async def run(self) -> StopReason:
        """Work until nothing is left to do or something stops the run; why it ended."""
        context = self._context
        context.moved_at = context.clock.now()
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._in_order(self._dispatch(lanes)))
            downloads = lanes.create_task(self._downloads.run())
            resolves = lanes.create_task(self._in_order(self._resolves.run()))
            lanes.create_task(self._in_order(self._inspection.run()))
            disk = lanes.create_task(self._in_order(self._watch_disk()))
            watch = [disk, lanes.create_task(self._watch_deadline()), lanes.create_task(self._beat())]
            await context.stop.requested.wait()
            for task in watch:
                task.cancel()
            context.wake()
            await self._drain(downloads)
            resolves.cancel()
        assert context.stop.reason is not None
        return context.stop.reason

    async def _in_order(self, lane: Coroutine[Any, Any, None]) -> None:
        """A lane that ends, and the run with it, where the disk fails."""
        with self._context.in_order():
            await lane

    async def _drain(self, downloads: asyncio.Task[None]) -> None:
        """After a stop: what is on its way has a while to end; then downloads and polls break off.

        A submit is never broken off between its POST and the record of its answer. It has time-outs of its own; when
        a person or the system waits for the end of the process, they are over now, and the pair is `unclear`.
        """
        context = self._context
        if self._downloads.away:
            self._downloads.break_off()  # nobody is there who would bring them to their end
        await context.clock.wait_for_tasks({downloads, *self._wires}, DRAIN)
        self._downloads.break_off()
        if context.stop.signalled.is_set():
            context.stop.cut.set()
        for wire in self._wires:
            wire.cancel()
        await context.clock.wait_for_tasks({downloads}, BREAK_OFF)
        downloads.cancel()
        while self._wires:
            if context.stop.signalled.is_set():
                context.stop.cut.set()
            await context.clock.wait_for_tasks(self._wires, SIGNAL_LOOKS)

    async def _dispatch(self, lanes: asyncio.TaskGroup) -> None:
        context = self._context
        while not context.stop.requested.is_set():
            context.changed.clear()
            self._end_if_over()
            if not self._wanted():
                await context.clock.wait(context.changed, self._wait_seconds())
                continue
            # Most requests need not wait; for one that must, it is decided when its turn comes what it is for.
            permit = context.throttle.take() or await unless(context.stop.requested, context.throttle.acquire())
            if permit is None:
                continue
            self._end_if_over()  # patience may have come to its end while the permit was waited for
            step = None if context.stop.requested.is_set() else self._take(permit)
            if step is None:
                permit.unused()
                continue
            self._spawn(lanes, step)

    def _wanted(self) -> bool:
        """Whether a request would be of use now."""
        if len(self._wires) >= WIRES:
            return False
        if self._context.breaker.probe_due() and not self._submits.on_the_wire:
            return True
        if self._submits.wants_a_poll and self._polls.soonest_flight() is not None:
            return True
        return self._polls.next_flight() is not None or self._submits.next_turn() is not None

    def _take(self, permit: Permit) -> Coroutine[Any, Any, None] | None:
        """The step that the next request is for; None when none is of use any more."""
        if self._context.breaker.probe_due() and not self._submits.on_the_wire:
            return self._probe(permit)
        if (flight := self._polls.next_flight(late_by=LATE)) is not None:
            return self._polls.ask(flight, permit)
        if (turn := self._submits.next_turn()) is not None:
            return self._submits.send(turn, permit)
        flight = self._polls.next_flight() or (self._polls.soonest_flight() if self._submits.wants_a_poll else None)
        return None if flight is None else self._polls.ask(flight, permit)

    def _spawn(self, lanes: asyncio.TaskGroup, step: Coroutine[Any, Any, None]) -> None:
        task = lanes.create_task(step)
        self._wires.add(task)
        task.add_done_callback(self._came_back)

    def _came_back(self, task: asyncio.Task[None]) -> None:
        self._wires.discard(task)
        self._context.wake()

    async def _probe(self, permit: Permit) -> None:
        """Ask whether the service answers at all; only then may a submit go out again."""
        breaker, throttle = self._context.breaker, self._context.throttle
        breaker.probe_failed()  # schedules the next one; an answer closes the breaker
        try:
            answer = await self._context.provider.check(PROBE)
        finally:
            permit.answered()
        match answer:
            case Unavailable():
                return
            case Throttled(retry_after=retry_after):
                throttle.refused(permit, retry_after)
            case _:
                throttle.accepted(permit)
        breaker.probe_answered()

    def _wait_seconds(self) -> float | None:
        """How long until a request may be of use that only time holds back, or patience is at its end."""
        if len(self._wires) >= WIRES:
            return None
        waits = [self._polls.wait_seconds(), self._submits.wait_seconds(), self._patience_left()]
        if self._polls.idle and self._submits.exhausted():
            waits.append(RESOLVE_LOOKS)  # whether or not pairs are waited for: that may have changed since it was asked
        known = [wait for wait in waits if wait is not None]
        return max(0.001, min(known)) if known else None

    def _patience_left(self) -> float | None:
        """Seconds until the run gives up; None while a generation or a download is expected to come to an end."""
        context = self._context
        if not self._polls.only_overdue() or not self._downloads_rest():
            return None
        if self._submits.next_turn() is not None and not context.throttle.is_trying:
            return None
        patience = max(context.options.patience, 2 * context.throttle.window)
        return context.moved_at + patience - context.clock.now()

    def _downloads_rest(self) -> bool:
        """Whether no download is expected to come to an end: there is none, or they all wait for who would do it."""
        return self._downloads.idle or self._downloads.away or self._downloads.held_up

    def _end_if_over(self) -> None:
        context = self._context
        if self._wires or not self._downloads_rest() or not self._inspection.over:
            return
        if self._submits.exhausted() and self._polls.idle and self._downloads.idle:
            if self._resolves.waiting():
                self._resolves.hurry()
                return
            context.stop.request(context.stop.submits_closed or StopReason.FINISHED, "nothing more can be done now")
        elif (left := self._patience_left()) is not None and left <= 0:
            reason = StopReason.OUTAGE if context.breaker.is_open else StopReason.PATIENCE
            context.stop.request(reason, "nothing has moved for --patience")

    async def _watch_disk(self) -> None:
        """Stop while there is still room to record the answers to what was paid for, and a ledger to record them in."""
        context = self._context
        ledger = _identity(context.folder.state / DATABASE)
        while True:
            free = await context.clock.in_thread(context.folder.free_bytes)
            if free < LOWEST_FREE:
                context.stop.request(
                    StopReason.DISK_FULL,
                    f"only {free // MIB} MiB are free under {context.folder.root}; {LOWEST_FREE // MIB} are needed",
                )
            if _identity(context.folder.state / DATABASE) != ledger:  # what is written goes where nobody finds it again
                context.stop.request(
                    StopReason.DISK_ERROR,
                    f"{context.folder.state / DATABASE} was taken away under the run; `lipsync-batch rebuild` makes it "
                    "again from run.log",
                )
            await context.clock.sleep(DISK_LOOKS)

    async def _beat(self) -> None:
        context = self._context
        while True:
            context.events.emit(
                Pulse(
                    requests=context.throttle.taken,
                    allowed_per_second=context.throttle.per_second,
                    slots=context.slots.count,
                    spent=context.budget.spent,
                    budget=context.budget.limit,
                )
            )
            await context.clock.sleep(PULSE)

    async def _watch_deadline(self) -> None:
        context = self._context
        if context.options.deadline is None:
            return
        left = (context.options.deadline - context.clock.utc()).total_seconds()
        await context.clock.sleep(max(0.0, left))
        context.stop.request(StopReason.DEADLINE, "the deadline is here")


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells a file from another one of its name."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
