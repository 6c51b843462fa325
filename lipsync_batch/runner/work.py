"""From an open store and a provider to a stop reason: sets up what the lanes share, and hands signals to the run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

from lipsync_batch.clock import Clock
from lipsync_batch.events import Events, Noticed, RunStarted
from lipsync_batch.files import Folder
from lipsync_batch.jobs import StopReason
from lipsync_batch.providers.base import Accepted, Provider
from lipsync_batch.runner.arrange import Arranger
from lipsync_batch.runner.breaker import Breaker
from lipsync_batch.runner.budget import Budget
from lipsync_batch.runner.context import Context, Options, Stop, unless
from lipsync_batch.runner.download import Fetcher
from lipsync_batch.runner.forecast import MEMORY, Forecast
from lipsync_batch.runner.inspection import Inspection
from lipsync_batch.runner.run import Run
from lipsync_batch.runner.settle import settle
from lipsync_batch.runner.throttle import Throttle
from lipsync_batch.settings import Rate
from lipsync_batch.store import Store
from lipsync_batch.store.ledger import Ledger
from lipsync_batch.store.reads import Reads

FIRST_SETTLE = 20.0
"""How long a run with a budget waits at its start for what was charged before; more comes beside its work. Seconds."""
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
        journalled: Journalled = lambda _: {},
        aborted: Callable[[StopReason], None] | None = None,
    ) -> None:
        """`journalled` looks up the answers that a dead run wrote to run.log and not to jobs.db any more."""
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
            )
        )
        stop = Stop(self._events)
        with self._signals(stop):
            arranger = Arranger(self._folder, reads, ledger, self._events, self._clock, stop.requested)
            await arranger.finish_moves()
            if not reads.is_placed() and await arranger.place():
                self._store.mark_placed()
            context = self._context(ledger, record.batch_id, stop)
            settling = await self._begin_to_settle(context)
            try:
                reason = await Run(context, self._fetcher, Inspection(context, verify=self._verify)).run()
            finally:
                await self._end_settling(settling)
            if reason not in UNREACHABLE:
                with suppress(TimeoutError):
                    async with self._clock.timeout(LAST_SETTLE):
                        await unless(stop.signalled, _settle(context))
            return reason

    async def _begin_to_settle(self, context: Context) -> asyncio.Task[None]:
        """Ask what was charged in earlier runs. Only a budget has to wait for that, and not for long."""
        settling = asyncio.ensure_future(_settle(context))
        if self._budget is not None:
            await unless(context.stop.requested, self._clock.wait_for_tasks({settling}, FIRST_SETTLE))
            context.budget = Budget(self._budget, context.reads.spent(), dearer=context.reads.dearer())
        return settling

    async def _end_settling(self, settling: asyncio.Task[None]) -> None:
        settling.cancel()
        await self._clock.wait_for_tasks({settling}, None)
        if not settling.cancelled():
            settling.result()

    def _context(self, ledger: Ledger, batch_id: str, stop: Stop) -> Context:
        reads, clock = self._store.reads, self._clock
        typical = self._typical_seconds or self._provider.capabilities.typical_seconds
        forecast = Forecast(typical, given=self._typical_seconds is not None)
        for seconds in reads.generation_seconds(int(MEMORY)):
            forecast.learn(seconds)
        throttle = Throttle.of(self._rate, clock)
        throttle.count_earlier(self._requests_before)
        return Context(
            batch_id=batch_id,
            provider=self._provider,
            reads=reads,
            ledger=ledger,
            folder=self._folder,
            clock=clock,
            events=self._events,
            options=self._options,
            stop=stop,
            throttle=throttle,
            forecast=forecast,
            breaker=Breaker(clock),
            budget=Budget(self._budget, reads.spent(), dearer=reads.dearer()),
        )

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
