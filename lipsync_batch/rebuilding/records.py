"""Reads the provider's own records for a batch whose jobs.db is lost: what it accepted, and what it charged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from lipsync_batch.clock import Clock
from lipsync_batch.errors import ActionNeededError, UnreachableError
from lipsync_batch.providers.base import (
    ChargePage,
    Check,
    Denied,
    LogPage,
    LogRow,
    NotFound,
    Provider,
    Throttled,
    Unavailable,
)
from lipsync_batch.runner.lookup import CLOCK_SKEW, LogReader
from lipsync_batch.runner.throttle import Throttle
from lipsync_batch.store.ledger import Charged

T = TypeVar("T")

REACH = timedelta(days=92)
"""How far the log goes back."""
PAUSES = (1.0, 2.0, 4.0)
"""Seconds between tries of a page that does not come."""
THROTTLED = (2.0, 5.0, 10.0, 15.0, 30.0, 60.0)
"""Seconds between tries of a page that was refused for its haste: longer than a window of the log's own limit."""


class Records:
    """The log, the charges and single generations, each asked for until an answer comes."""

    def __init__(self, provider: Provider, throttle: Throttle, clock: Clock) -> None:
        self._provider = provider
        self._throttle = throttle
        self._clock = clock
        self._reader = LogReader(provider, throttle, clock)

    async def log(self, since: datetime | None, each: Callable[[Sequence[LogRow]], None], *, must: bool) -> str | None:
        """Read the log since an instant, or as far as it goes back. What kept it from being read whole, if anything.

        UnreachableError where it `must` be read, and no answer comes; a key that may not read it is no such thing.
        """
        until = self._clock.utc() + CLOCK_SKEW
        start = until - REACH if since is None else max(since - CLOCK_SKEW, until - REACH)
        offset: int | None = 0
        while offset is not None:
            match await self._patiently(partial(self._reader.page, start, until, offset)):
                case LogPage(rows=rows, next_offset=next_offset):
                    each(rows)
                    offset = next_offset
                case Unavailable(status=404) as missing:  # such a provider has no log, today or tomorrow
                    return _in_words(missing)
                case Throttled() | Unavailable() as unanswered if must:
                    raise _no_answer(unanswered)
                case unanswered:
                    return _in_words(unanswered)
        return None

    async def charges(self, since: datetime, each: Callable[[Sequence[Charged]], Awaitable[None]]) -> str | None:
        """Read what was taken since an instant. What kept it from being read whole, if anything."""
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            match await self._patiently(partial(self._charge_page, since, cursor)):
                case ChargePage(charges=charges, next_cursor=next_cursor):
                    await each(list(map(Charged.of, charges)))
                    if next_cursor is None or next_cursor in seen:
                        return None
                    seen.add(next_cursor)
                    cursor = next_cursor
                case unanswered:
                    return _in_words(unanswered)

    async def knows_one_of(self, generation_ids: Sequence[str]) -> bool:
        """Whether the account knows one of these generations, or there are none to ask after.

        ActionNeededError where the key is refused, UnreachableError where no answer comes.
        """
        for generation_id in generation_ids:
            match await self._patiently(partial(self._check, generation_id)):
                case NotFound():
                    continue
                case Denied(message=message):
                    raise ActionNeededError(
                        f"the API refuses the key: {message}",
                        hint="Set a valid key: AIMLAPI_API_KEY, or your provider's own.",
                    )
                case Throttled() | Unavailable() as unanswered:
                    raise _no_answer(unanswered)
                case _:
                    return True
        return not generation_ids

    async def _check(self, generation_id: str) -> Check:
        permit = await self._throttle.acquire()
        try:
            return await self._provider.check(generation_id)
        finally:
            permit.answered()

    async def _charge_page(self, since: datetime, cursor: str | None) -> ChargePage | Throttled | Denied | Unavailable:
        permit = await self._throttle.acquire()
        try:
            return await self._provider.charges(since=since - CLOCK_SKEW, cursor=cursor)
        finally:
            permit.answered()

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question, put again for a while where none comes; then what came instead of it."""
        pauses, longer = iter(PAUSES), iter(THROTTLED)
        while True:
            match answer := await ask():
                case Unavailable(status=status):
                    pause = None if status == 404 else next(pauses, None)
                case Throttled(retry_after=retry_after):
                    pause = next(longer, None)
                    pause = pause and max(pause, retry_after or 0.0)
                case _:
                    return answer
            if pause is None:
                return answer
            await self._clock.sleep(pause)


def _no_answer(unanswered: Throttled | Unavailable) -> UnreachableError:
    return UnreachableError(
        f"the API does not answer: {_in_words(unanswered)}. Nothing was changed",
        hint="Run the same command again later.",
    )


def _in_words(unanswered: Throttled | Denied | Unavailable) -> str:
    return "too many requests" if isinstance(unanswered, Throttled) else unanswered.message
