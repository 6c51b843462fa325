"""What the account says was taken for the generations of a batch: the settled costs, beside estimates and quotes.

A charge appears some time after its generation has finished, so each run asks at its start for what the one before
could not know yet, and at its end for its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from lipsync_batch.events import Noticed
from lipsync_batch.providers.base import Charge, ChargePage, Denied, Throttled, Unavailable
from lipsync_batch.runner.context import Context
from lipsync_batch.runner.lookup import CLOCK_SKEW
from lipsync_batch.store.ledger import Charged

LATEST = timedelta(days=7)
"""A generation for which nothing was taken for so long is asked after no more."""


async def settle(context: Context) -> None:
    """Read the account's charges since the oldest generation that has none, page by page, into the ledger.

    What cannot be read is left for the next run: no money is moved here.
    """
    oldest = context.reads.unsettled_since(context.clock.utc() - LATEST)
    if oldest is None:
        return
    cursor: str | None = None
    seen: set[str] = set()
    while True:
        permit = await context.throttle.acquire()
        try:
            page = await context.provider.charges(since=oldest - CLOCK_SKEW, cursor=cursor)
        finally:
            permit.answered()
        match page:
            case ChargePage(charges=charges, next_cursor=next_cursor):
                context.throttle.accepted(permit)
                await _keep(context, charges)
                if next_cursor is None or next_cursor in seen:
                    return
                seen.add(next_cursor)
                cursor = next_cursor
            case Denied(message=message):
                text = f"the account's charges cannot be read with this key, so costs stay as quoted: {message}"
                context.events.emit(Noticed(message=text))
                return
            case Throttled(retry_after=retry_after):
                context.throttle.refused(permit, retry_after)
                return
            case Unavailable():
                return


async def _keep(context: Context, charges: Sequence[Charge]) -> None:
    if charges:
        await context.ledger.charged(list(map(Charged.of, charges)))
