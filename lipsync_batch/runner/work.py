"""From an open store and a provider to a stop reason: sets up what the lanes share, and hands signals to the run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict

from lipsync_batch.clock import Clock
from lipsync_batch.events import Events, Noticed, RunStarted
from lipsync_batch.files import Folder
from lipsync_batch.jobs import StopReason
from lipsync_batch.providers.base import Accepted, Provider
from lipsync_batch.runner import slots
from lipsync_batch.runner.arrange import Arranger
from lipsync_batch.runner.breaker import Breaker
from lipsync_batch.runner.budget import Budget
from lipsync_batch.runner.context import Context, Options, Stop, unless
from lipsync_batch.runner.fetchers import Fetcher
from lipsync_batch.runner.forecast import LEARNED as TIMES
from lipsync_batch.runner.forecast import Forecast, Times, of_history
from lipsync_batch.runner.inspection import Inspection
from lipsync_batch.runner.run import Run
from lipsync_batch.runner.settle import settle
from lipsync_batch.runner.shelves import FolderShelf, Shelf
from lipsync_batch.runner.throttle import Throttle
from lipsync_batch.runner.turns import Turns
from lipsync_batch.settings import Rate
from lipsync_batch.storage.presigned import Presigner
from lipsync_batch.store import Store
from lipsync_batch.store.ledger import Ledger
from lipsync_batch.store.lone_memory import Memory
from lipsync_batch.store.reads import Reads

PAGE = 256
"""Pending pairs that are read at once."""
FIRST_SETTLE = 20.0
"""How long a run with a budget waits at its start for what was charged before; more comes beside its work. Seconds."""
HISTORY = 40
"""Finished generations of this batch that say how long they take, where the account's memory does not."""
REMEMBER_SECONDS = 15.0
"""Seconds between two notes of what was learned: a kill loses no more."""
LAST_SETTLE = 20.0
"""How long the end of a run may take to read what was charged. Seconds."""
UNREACHABLE = (StopReason.OUTAGE, StopReason.CREDENTIALS)
_SIGNALS = {signal.SIGINT: StopReason.INTERRUPTED, signal.SIGTERM: StopReason.TERMINATED}


Journalled = Callable[[Collection[str]], Mapping[str, Accepted]]
"""Answers that a dead run wrote to run.log and not to jobs.db any more, by client request id."""


async def take_up(reads: Reads, ledger: Ledger, journalled: Journalled) -> None:
    """Submits that a dead run was at: those whose answer is in its journal go on, the others are in doubt."""
    if interrupted := reads.interrupted():
        for request_id, answer in journalled(interrupted.keys()).items():
            await ledger.accepted(interrupted[request_id], request_id, answer.generation_id, quote=answer.quote)
    await ledger.interrupted_submits()


async def _settle(context: Context) -> None:
    """Read what was charged; from then on the budget reckons with what the dearest pair has cost."""
    with context.in_order():
        await settle(context)
        context.budget.dearer = context.reads.dearer()


class Work:
    """One run of a batch, before and around its lanes."""

    def __init__(
        self,
        *,
        store: Store,
        provider: Provider,
        folder: Folder,
        fetcher: Fetcher,
        clock: Clock,
        events: Events,
        options: Options,
        rate: Rate | None = None,
        typical_seconds: float | None = None,
        budget: int | None = None,
        verify: bool = False,
        requests_before: int = 0,
        memory: Memory | None = None,
        presigner: Presigner | None = None,
        shelf: Shelf | None = None,
        journalled: Journalled = lambda _: {},
        aborted: Callable[[StopReason], None] | None = None,
    ) -> None:
        """`memory` is what the runs of the account share; it is closed at the end. `shelf` defaults to the folder.

        `journalled` looks up the answers that a dead run wrote to run.log and not to jobs.db any more.
        """
        self._store = store
        self._provider = provider
        self._folder = folder
        self._fetcher = fetcher
        self._clock = clock
        self._events = events
        self._options = options
        self._rate = rate
        self._typical_seconds = typical_seconds
        self._budget = budget
        self._verify = verify
        self._requests_before = requests_before
        self._memory = memory
        self._presigner = presigner or Presigner()
        self._shelf: Shelf = shelf or FolderShelf(folder, clock)
        self._journalled = journalled
        self._aborted = aborted

    async def run(self, ledger: Ledger, *, resumed: bool) -> StopReason:
        """Resolve what a dead run left, put files in their places, then run the lanes."""
        reads = self._store.reads
        await take_up(reads, ledger, self._journalled)
        record = reads.batch()
        self._events.emit(
            RunStarted(
                batch_id=record.batch_id,
                resumed=resumed,
                folder=str(self._folder.root),
                jobs=reads.job_count(),
                pairs=reads.pair_counts(),
                provider=record.provider,
                origin=record.origin,
                store=reads.output_store(),
            )
        )
        stop = Stop(self._events)
        with self._signals(stop):
            arranger = Arranger(self._folder, self._shelf, reads, ledger, self._events, stop.requested)
            await arranger.finish_moves()
            if not reads.is_placed() and await arranger.place():
                self._store.mark_placed()
            context = self._context(ledger, record.batch_id, stop)
            try:
                return await self._lanes(context)
            finally:
                self._remember(context)
                context.throttle.close()

    async def _lanes(self, context: Context) -> StopReason:
        """The lanes, with what was charged read before, beside and after them, and what is learned noted down."""
        settling = await self._begin_to_settle(context)
        remembering = asyncio.ensure_future(self._keep_remembering(context))
        try:
            reason = await Run(context, self._fetcher, Inspection(context, verify=self._verify)).run()
        finally:
            await self._end(settling)
            await self._end(remembering)
        if reason not in UNREACHABLE:
            with suppress(TimeoutError):
                async with self._clock.timeout(LAST_SETTLE):
                    await unless(context.stop.signalled, _settle(context))
        return reason

    async def _keep_remembering(self, context: Context) -> None:
        while True:
            await self._clock.sleep(REMEMBER_SECONDS)
            self._remember(context)

    def _remember(self, context: Context) -> None:
        """Note how long generations take for the account's other runs."""
        if context.forecast.observed:
            context.throttle.remember(TIMES, asdict(context.forecast.times))
        known = slots.read(context.throttle.recall(slots.LEARNED))
        if (count := context.slots.learned(known)) != known:
            context.throttle.remember(slots.LEARNED, {"count": count})

    async def _begin_to_settle(self, context: Context) -> asyncio.Task[None]:
        """Ask what was charged in earlier runs. Only a budget has to wait for that, and not for long."""
        settling = asyncio.ensure_future(_settle(context))
        if self._budget is not None:
            await unless(context.stop.requested, self._clock.wait_for_tasks({settling}, FIRST_SETTLE))
            context.budget = Budget(self._budget, context.reads.spent(), dearer=context.reads.dearer())
        return settling

    async def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await self._clock.wait_for_tasks({task}, None)
        if not task.cancelled():
            task.result()

    def _context(self, ledger: Ledger, batch_id: str, stop: Stop) -> Context:
        reads, clock = self._store.reads, self._clock
        throttle = Throttle(clock, rate=self._rate, memory=self._memory, notice=self._notice)
        throttle.count_earlier(self._requests_before)
        context = Context(
            batch_id=batch_id,
            provider=self._provider,
            reads=reads,
            ledger=ledger,
            folder=self._folder,
            shelf=self._shelf,
            clock=clock,
            events=self._events,
            options=self._options,
            stop=stop,
            throttle=throttle,
            forecast=self._forecast(throttle),
            breaker=Breaker(clock),
            budget=Budget(self._budget, 0, dearer=reads.dearer()),
            slots=slots.Slots(self._options.max_in_flight),
            presigner=self._presigner,
            turns=Turns(lambda exclude: reads.turns(PAGE, exclude=exclude, dearer=context.budget.dearer)),
        )
        return context

    def _forecast(self, throttle: Throttle) -> Forecast:
        """From what the account's runs have learned, else from the batch's own history, else from a guess."""
        typical = self._typical_seconds or self._provider.capabilities.typical_seconds
        known = Times.read(throttle.recall(TIMES))
        given = self._typical_seconds is not None
        forecast = Forecast(typical, floor=self._options.poll_floor, given=given, known=known)
        if known is None:
            of_history(forecast, self._store.reads.generation_seconds(HISTORY))
        return forecast

    def _notice(self, message: str) -> None:
        self._events.emit(Noticed(message=message))

    @contextmanager
    def _signals(self, stop: Stop) -> Iterator[None]:
        """First Ctrl-C or SIGTERM: end in order. Second: end at once; the ledger knows what was on the wire."""
        if self._aborted is None:
            yield
            return
        loop = asyncio.get_running_loop()
        for number, reason in _SIGNALS.items():
            loop.add_signal_handler(number, self._on_signal, stop, reason)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self, stop: Stop, reason: StopReason) -> None:
        if stop.signalled.is_set():
            assert self._aborted is not None
            self._aborted(reason)
            return
        stop.signalled.set()
        stop.request(reason, "recording the answers on the wire and finishing downloads; once more to end at once")
        self._events.emit(Noticed(message="run the same command again to go on"))
