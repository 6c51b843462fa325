"""The resolve lane: looks unclear pairs up in the provider's log, and adopts what it finds there.

A pair that is not found stays unclear until a person moves it.
"""

from __future__ import annotations

import asyncio

from lipsync_batch.events import Moved, Noticed
from lipsync_batch.jobs import State
from lipsync_batch.providers.base import LogRow
from lipsync_batch.runner.context import Context
from lipsync_batch.runner.lookup import LogSearch
from lipsync_batch.runner.poll import PollLane
from lipsync_batch.store.lane_reads import Doubt

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 30.0


class ResolveLane:
    """Submits whose answer never came."""

    def __init__(self, context: Context, polls: PollLane) -> None:
        self._context = context
        self._polls = polls
        self._search = LogSearch(context.provider, context.throttle, context.clock, self._adopt)
        self._pause = FIRST_PAUSE
        self._looked_at = float("-inf")
        self._quiet_since: float | None = None
        self._sooner = asyncio.Event()
        self._adopting = False
        """A pair is in doubt no more, and not polled yet: the run is not over."""

    def waiting(self) -> bool:
        """Whether there are pairs in doubt that a further look-up may still find.

        The last one is made when all has been quiet for as long as was asked for.
        """
        context = self._context
        if self._adopting:
            return True
        if self._search.denied is not None or not context.reads.any_doubts():
            return False
        return self._looked_at < context.moved_at + context.options.resolve_for

    def hurry(self) -> None:
        """All else is done: look at once, and then again with pauses that grow anew."""
        if self._quiet_since != self._context.moved_at:
            self._quiet_since = self._context.moved_at
            self._pause = FIRST_PAUSE
            self._sooner.set()

    async def run(self) -> None:
        """Look up all that is unclear, ever more seldom, until the run stops."""
        context = self._context
        while not context.stop.requested.is_set():
            self._sooner.clear()
            if doubts := {doubt.client_request_id: doubt for doubt in context.reads.doubts()}:
                started = context.clock.now()
                await self._search.sweep(doubts, self._quiet_for_long)
                self._looked_at = started
                context.wake()
            if (reason := self._search.denied) is not None:
                context.events.emit(Noticed(message=f"the API's log cannot be read with this key: {reason}"))
                return
            await context.clock.wait(self._sooner, self._next_pause())

    def _quiet_for_long(self) -> bool:
        context = self._context
        return context.clock.now() >= context.moved_at + context.options.resolve_for

    def _next_pause(self) -> float:
        """Not past the end of the time that was asked for, at which the last look is due."""
        pause, self._pause = self._pause, min(LONGEST_PAUSE, self._pause * 1.5)
        context = self._context
        left = context.moved_at + context.options.resolve_for - context.clock.now()
        return min(pause, left) if left > 0 else pause

    async def _adopt(self, doubt: Doubt, row: LogRow) -> None:
        """It was accepted: from here on it is an ordinary generation. One that failed says so when it is polled."""
        context = self._context
        if not context.reads.is_in_doubt(doubt.client_request_id):
            return  # another page repeated the row
        if context.owner(row.generation_id) is not None:
            return  # the log is mixed up: it would put the video of another job in this one's place
        self._adopting = True
        try:
            with context.claiming(row.generation_id, doubt.name):
                await context.ledger.accepted(
                    doubt.fingerprint, doubt.client_request_id, row.generation_id, quote=row.cost, old=State.UNCLEAR
                )
            context.budget.quoted(doubt.reserve, row.cost)
            context.doubts_moved = True
            self._polls.board_again(doubt.fingerprint)
        finally:
            self._adopting = False
        context.moved()
        context.events.emit(
            Moved(
                name=doubt.name,
                pair=doubt.fingerprint,
                old=State.UNCLEAR,
                new=State.SUBMITTED,
                generation_id=row.generation_id,
            )
        )
