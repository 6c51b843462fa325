"""The resolve lane: looks unclear pairs up in the provider's log, and adopts what it finds there.

A row of the log with our own id proves that a submit was accepted. Absence proves nothing, however often: a pair that
is not found stays unclear until a person moves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from lipsync_batch.events import Moved, Noticed
from lipsync_batch.jobs import State
from lipsync_batch.providers.base import Denied, LogPage, Throttled, Unavailable
from lipsync_batch.runner.context import Context
from lipsync_batch.runner.poll import PollLane
from lipsync_batch.store.lane_reads import Doubt

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 30.0
CLOCK_SKEW = timedelta(minutes=10)
"""How far the provider's clock may be from ours, either way."""


class ResolveLane:
    """Submits whose answer never came."""

    def __init__(self, context: Context, polls: PollLane) -> None:
        self._context = context
        self._polls = polls
        self._denied = False
        self._looked_up = False
        self._pause = FIRST_PAUSE

    def waiting(self) -> bool:
        """Whether there are pairs in doubt that a further look-up may still find."""
        context = self._context
        if self._denied or not context.reads.any_doubts():
            return False
        return not self._looked_up or context.clock.now() - context.moved_at < context.options.resolve_for

    async def run(self) -> None:
        """Look up all that is unclear, ever more seldom, until the run stops."""
        context = self._context
        while not context.stop.requested.is_set() and not self._denied:
            if doubts := {doubt.client_request_id: doubt for doubt in context.reads.doubts()}:
                await self._sweep(doubts)
                self._looked_up = True
                context.wake()
            await context.clock.wait(context.stop.requested, self._pause)
            self._pause = min(LONGEST_PAUSE, self._pause * 1.5)

    async def _sweep(self, doubts: Mapping[str, Doubt]) -> None:
        """Read the log from the oldest of the doubts on, page by page."""
        context = self._context
        since = min(doubt.intended_at for doubt in doubts.values()) - CLOCK_SKEW
        until = context.clock.utc() + CLOCK_SKEW
        offset: int | None = 0
        while offset is not None and not context.stop.requested.is_set():
            permit = await context.throttle.acquire()
            try:
                page = await context.provider.find(since=since, until=until, offset=offset)
            finally:
                permit.answered()
            match page:
                case LogPage(rows=rows, next_offset=next_offset):
                    for row in rows:
                        if (doubt := doubts.get(row.client_request_id)) is not None:
                            await self._adopt(doubt, row.generation_id)
                    offset = next_offset
                case Throttled(retry_after=retry_after):
                    context.throttle.refused(retry_after)
                case Denied(message=message):
                    self._denied = True
                    context.events.emit(Noticed(message=f"the API's log cannot be read with this key: {message}"))
                    return
                case Unavailable():
                    return

    async def _adopt(self, doubt: Doubt, generation_id: str) -> None:
        """It was accepted: from here on it is an ordinary generation. One that failed says so when it is polled."""
        context = self._context
        if not context.reads.is_in_doubt(doubt.client_request_id):
            return  # another page repeated the row
        await context.ledger.accepted(
            doubt.fingerprint, doubt.client_request_id, generation_id, quote=None, old=State.UNCLEAR
        )
        context.moved()
        context.events.emit(
            Moved(
                name=doubt.name,
                pair=doubt.fingerprint,
                old=State.UNCLEAR,
                new=State.SUBMITTED,
                generation_id=generation_id,
            )
        )
        self._polls.board(doubt.fingerprint)
