"""Searching the provider's log for submits whose answer never came.

A row of the log with our own id proves that a submit was accepted. Absence proves nothing, however often.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from lipsync_batch.clock import Clock
from lipsync_batch.providers.base import Denied, LogPage, LogRow, Provider, Throttled, Unavailable
from lipsync_batch.runner.throttle import Throttle
from lipsync_batch.settings import Rate
from lipsync_batch.store.lane_reads import Doubt

LONGEST_SUBMIT = timedelta(days=1)
"""After that the log has no row that is about a submit, so that old doubts are not looked for in months of it."""
CLOCK_SKEW = timedelta(minutes=10)
"""How far the provider's clock may be from ours, either way."""


class LogReader:
    """Reads the log page by page, under its own limit besides that of the account."""

    def __init__(self, provider: Provider, throttle: Throttle, clock: Clock) -> None:
        self._provider = provider
        self._throttle = throttle
        self._log_throttle = Throttle(clock, rate=Rate(*provider.capabilities.log_rate))

    @property
    def is_closed(self) -> bool:
        return self._log_throttle.is_closed

    async def page(self, since: datetime, until: datetime, offset: int) -> LogPage | Throttled | Denied | Unavailable:
        """One page, once its turn has come. A 429 holds up the next one: polls and submits go on."""
        of_log = await self._log_throttle.acquire()
        of_account = await self._throttle.acquire()
        try:
            page = await self._provider.find(since=since, until=until, offset=offset)
        finally:
            of_account.answered()
            of_log.answered()
        if isinstance(page, Throttled):
            self._log_throttle.refused(of_log, page.retry_after)
        elif isinstance(page, LogPage):
            self._log_throttle.accepted(of_log)
            self._throttle.accepted(of_account)
        return page


class LogSearch:
    """Looks for submits in the log."""

    def __init__(
        self,
        provider: Provider,
        throttle: Throttle,
        clock: Clock,
        found: Callable[[Doubt, LogRow], Awaitable[None]],
    ) -> None:
        """`found` is told of each row that is about one of the doubts; a page may repeat a row of another one."""
        self._reader = LogReader(provider, throttle, clock)
        self._clock = clock
        self._found = found
        self.denied: str | None = None
        """Why the key may not read the log; None while it may."""

    async def sweep(self, doubts: Mapping[str, Doubt], over: Callable[[], bool]) -> None:
        """Read the log once from the oldest of the doubts on, or until time is over.

        The doubts are named by client request id. A 429 ends it: the log has a limit of its own.
        """
        since = min(doubt.intended_at for doubt in doubts.values()) - CLOCK_SKEW
        newest = max(doubt.intended_at for doubt in doubts.values())
        until = min(self._clock.utc() + CLOCK_SKEW, newest + LONGEST_SUBMIT)
        offset: int | None = 0
        while offset is not None and not self._reader.is_closed:
            match await self._reader.page(since, until, offset):
                case LogPage(rows=rows, next_offset=next_offset):
                    for row in rows:
                        if (doubt := doubts.get(row.client_request_id)) is not None:
                            await self._found(doubt, row)
                    offset = None if over() else next_offset
                case Throttled() | Unavailable():
                    return
                case Denied(message=message):
                    self.denied = message
                    return
