"""What people do by hand about submits whose answer never came: look them up, adopt, send again, give up.

Nothing here submits. A pair leaves `unclear` because the provider's log names it, or because a person says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tenacity

from lipsync_batch.clock import Clock
from lipsync_batch.errors import ActionNeededError, UnreachableError, UsageError
from lipsync_batch.events import Moved
from lipsync_batch.jobs import State
from lipsync_batch.providers.base import (
    Check,
    Denied,
    Errored,
    Finished,
    LogRow,
    NotFound,
    Provider,
    Running,
    Throttled,
    Unavailable,
)
from lipsync_batch.runlog import RunLog
from lipsync_batch.runner.lookup import LogSearch
from lipsync_batch.runner.resolve import FIRST_PAUSE, LONGEST_PAUSE
from lipsync_batch.runner.throttle import Throttle
from lipsync_batch.store import Store
from lipsync_batch.store.lane_reads import Doubt
from lipsync_batch.store.ledger import Ledger

ASKED = 4
"""How often the API is asked after an id that a person names, until it answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """What became of unclear pairs."""

    adopted: Sequence[tuple[str, str]] = ()
    """(key, generation id)."""
    moved: Sequence[str] = ()
    """Keys of those that a person's decision moved."""
    found_late: Sequence[tuple[str, str]] = ()
    """(key, generation id) of submits that a person had written off, and that were accepted after all."""
    left: Sequence[str] = ()
    """Keys of those that are still unclear."""
    denied: str | None = None
    """Why the log could not be read, where the key does not allow it."""


async def look_up(
    store: Store,
    log: RunLog,
    provider: Provider,
    *,
    throttle: Throttle,
    clock: Clock,
    names: Sequence[str] = (),
    seconds: float,
) -> Resolved:
    """Look unclear pairs up in the provider's log, again and again for so many seconds, and adopt what it names.

    What a person has written off is looked for besides, once.
    """
    adopted: list[tuple[str, str]] = []
    late: list[tuple[str, str]] = []
    reads = store.reads
    with store.writing(log.durable) as ledger:

        async def found(doubt: Doubt, row: LogRow) -> None:
            if reads.owner(row.generation_id) is not None:
                return  # a page repeated the row, or the log is mixed up
            if reads.is_in_doubt(doubt.client_request_id):
                await _adopt(ledger, log, doubt, row.generation_id, quote=row.cost)
                adopted.append((doubt.name, row.generation_id))
            elif reads.is_written_off(doubt.client_request_id):
                await ledger.found_late(doubt.fingerprint, doubt.client_request_id, row.generation_id)
                flight = reads.flight(doubt.fingerprint)
                is_polled = flight is not None and flight.generation_id == row.generation_id
                (adopted if is_polled else late).append((doubt.name, row.generation_id))

        search = LogSearch(provider, throttle, clock, found)
        until, pause = clock.now() + seconds, FIRST_PAUSE

        def over() -> bool:
            return clock.now() >= until

        if written_off := reads.written_off():
            await search.sweep({doubt.client_request_id: doubt for doubt in written_off}, over)
        while (doubts := reads.unclear(names)) and search.denied is None:
            await search.sweep({doubt.client_request_id: doubt for doubt in doubts}, over)
            left = until - clock.now()
            if left <= 0 or not reads.unclear(names) or search.denied is not None:
                break
            await clock.sleep(min(pause, left))
            pause = min(LONGEST_PAUSE, pause * 1.5)
    return Resolved(adopted=adopted, found_late=late, left=_keys(reads.unclear(names)), denied=search.denied)


async def adopt(store: Store, log: RunLog, provider: Provider, name: str, generation_id: str) -> Resolved:
    """Say which generation an unclear pair is. The API must know it, and no other pair may have it."""
    (doubt,) = chosen_doubts(store, [name])
    if (owner := store.reads.owner(generation_id)) is not None:
        raise UsageError(f"the generation {generation_id} belongs to {owner} already", hint="Look at its id again.")
    await _must_be_known(provider, generation_id)
    with store.writing(log.durable) as ledger:
        await _adopt(ledger, log, doubt, generation_id, quote=None)
    return Resolved(adopted=[(doubt.name, generation_id)])


async def resubmit(store: Store, log: RunLog, doubts: Sequence[Doubt]) -> Resolved:
    """Send unclear pairs once more in the next run: if the first submit was accepted after all, both are paid for."""
    with store.writing(log.durable) as ledger:
        for doubt in doubts:
            await ledger.resubmit(doubt.fingerprint)
            _tell(log, doubt, State.PENDING, message="resolve --resubmit")
    return Resolved(moved=_keys(doubts))


async def give_up(store: Store, log: RunLog, doubts: Sequence[Doubt]) -> Resolved:
    """Look for unclear pairs no more: they are failed, and only `retry --pay-again` takes them up."""
    with store.writing(log.durable) as ledger:
        for doubt in doubts:
            await ledger.give_up(doubt.fingerprint)
            _tell(log, doubt, State.FAILED, message="resolve --give-up")
    return Resolved(moved=_keys(doubts))


def chosen_doubts(store: Store, names: Sequence[str]) -> list[Doubt]:
    """The unclear pairs that are named, or all. UsageError where one that is named is not unclear."""
    doubts = store.reads.unclear(names)
    known = {known for doubt in doubts for known in (doubt.name, doubt.client_request_id)}
    for name in names:
        shared = store.reads.wanted_by([name])
        if name not in known and not (shared and shared[0].state is State.UNCLEAR):
            state = f" but {shared[0].state}" if shared else ""
            raise UsageError(
                f"{name} is not unclear{state}: there is nothing to resolve. Nothing was changed",
                hint="`lipsync-batch status BATCH KEY` shows its history.",
            )
    return doubts


def still_wanted(doubts: Sequence[Doubt], names: Sequence[str]) -> list[Doubt]:
    """Those that a job wants: nothing else is ever submitted. UsageError where another one is named."""
    wanted = [doubt for doubt in doubts if doubt.name != doubt.client_request_id]
    if names and len(wanted) < len(doubts):
        raise UsageError("a row that is gone is not sent again. Nothing was changed", hint="--adopt=ID, or --give-up.")
    return wanted


async def _adopt(ledger: Ledger, log: RunLog, doubt: Doubt, generation_id: str, *, quote: int | None) -> None:
    await ledger.accepted(doubt.fingerprint, doubt.client_request_id, generation_id, quote=quote, old=State.UNCLEAR)
    _tell(log, doubt, State.SUBMITTED, generation_id=generation_id)


async def _must_be_known(provider: Provider, generation_id: str) -> None:
    """Ask the API after an id that a person named: what it does not know would never be finished."""
    asking = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_result(lambda answer: isinstance(answer, Throttled | Unavailable)),
        stop=tenacity.stop_after_attempt(ASKED),
        wait=tenacity.wait_exponential_jitter(initial=1.0, max=10.0),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    answer: Check = await asking(provider.check, generation_id)
    match answer:
        case Running() | Finished() | Errored():
            return
        case NotFound():
            raise UsageError(
                f"the API does not know the generation {generation_id}. Nothing was changed",
                hint="Copy the id as the provider shows it; one that begins with - is given as --adopt=-ID.",
            )
        case Denied(message=message):
            raise ActionNeededError(
                f"the API refuses the key: {message}", hint="Set a valid key: AIMLAPI_API_KEY, or your provider's own."
            )
        case Throttled() | Unavailable():
            said = answer.message if isinstance(answer, Unavailable) else "too many requests"
            raise UnreachableError(
                f"the API does not say whether it knows the generation: {said}. Nothing was changed",
                hint="Give the same command again when the API answers: `lipsync-batch resolve BATCH KEY --adopt=ID`.",
            )


def _keys(doubts: Sequence[Doubt]) -> list[str]:
    return [doubt.name for doubt in doubts]


def _tell(
    log: RunLog, doubt: Doubt, new: State, *, generation_id: str | None = None, message: str | None = None
) -> None:
    """What became of a pair, in run.log."""
    log.listen(
        Moved(
            name=doubt.name,
            pair=doubt.fingerprint,
            old=State.UNCLEAR,
            new=new,
            generation_id=generation_id,
            message=message,
        )
    )
