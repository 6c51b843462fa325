"""The submit lane: the one place from which money is spent.

Intent (durable), POST, record of the answer, in that order; the last two are one step that nothing interrupts. What an
answer makes of the pair is said in `providers.base.Submission`; here it is carried out, case by case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any

from lipsync_batch.errors import DiskError, LipsyncBatchError
from lipsync_batch.events import Moved, Noticed, RateRefused
from lipsync_batch.jobs import Pair, State, StopReason, client_request_id
from lipsync_batch.providers.base import (
    PROBE,
    Accepted,
    Check,
    Denied,
    NotSent,
    Refusal,
    Refused,
    Submission,
    Throttled,
    Unavailable,
    Unclear,
    Unsent,
)
from lipsync_batch.runner.context import Context, uninterrupted, unless
from lipsync_batch.runner.poll import PollLane
from lipsync_batch.runner.suspicion import Seen, Suspicion
from lipsync_batch.runner.throttle import Permit
from lipsync_batch.storage.faults import Kind
from lipsync_batch.storage.presigned import ChangedError, needs_links
from lipsync_batch.storage.stores import StoreError
from lipsync_batch.store.lane_reads import Flight, Turn

FIRST_SUBMITS = 2
SUBMITS_AT_ONCE = 8
"""Unanswered submits, from the first ones on: a burst of connections overflows the backlog of a small server, which
then resets what it never read, and for us that is `unclear`."""
QUICK_SUBMITS = 24
QUICK_SECONDS = 0.1
"""The same where answers usually come so soon: no burst lasts long enough to fill a backlog."""
NEW_ANSWER = 0.1
"""What one answer weighs in how long they usually take."""
INTENTS_AT_ONCE = 8
"""Intents that are on their way to the disk meanwhile, for the submits that come next."""
NOTICEABLE = 0.001
"""Seconds below which the store's instants do not tell times apart."""
FETCH_SHARE = 0.25
"""So long before the deadline, in medians, a generation must have ended for its video to be fetched."""
PAYMENT_REQUIRED = 402
"""Not documented, and used by others for an account without credits."""
BODY_CUTS = 2
"""A body that was cut so often is too large for the way to the API."""

_STORES = {
    Kind.MISSING: Unsent.INPUT_CHANGED,
    Kind.DENIED: Unsent.INPUT_DENIED,
    Kind.MISPLACED: Unsent.INPUT_DENIED,
    Kind.LOCKED_OUT: Unsent.INPUT_DENIED,
    Kind.SILENT: Unsent.STORE_SILENT,
}
"""What a store's fault means for a submit."""
_UNLINKED = NotSent(reason=Unsent.INTERRUPTED, message="the run was stopped before the inputs had links")


class SubmitLane:
    """Pending pairs, one after another, as slots, the budget and the account allow."""

    def __init__(self, context: Context, polls: PollLane) -> None:
        self._context = context
        self._polls = polls
        self._on_the_wire: set[str] = set()
        """Pairs whose submit is on its way, or whose answer is being recorded."""
        self._under_way = 0
        """Submits without an answer, and those whose intent is being written down."""
        self._usual_seconds = QUICK_SECONDS
        """How long answers to submits take."""
        self._posts, self._quick_posts = asyncio.Semaphore(SUBMITS_AT_ONCE), asyncio.Semaphore(QUICK_SUBMITS)
        self._pending_again: set[str] = set()
        """On the wire still, and not taken."""
        self._slots = context.slots
        self._accepted = 0
        self._forbidden: dict[str, int] = {}
        """Pairs that met a 403, with the count of accepted ones at that time."""
        self._doubts: list[datetime] = []
        self._doubts_read = False
        self._suspicion = Suspicion()

    @property
    def on_the_wire(self) -> int:
        return len(self._on_the_wire)

    @property
    def wants_a_poll(self) -> bool:
        """Whether only the answer to a poll can say if a refused submit was one request too many, or had no slot."""
        return self._polls.alive > 0 and self._suspicion.waits_for_a_poll(self._seen())

    def next_turn(self) -> Turn | None:
        """The pair that may be submitted now; None when there is none, or nothing may go out."""
        if not self._may_submit():
            return None
        turn = self._peek()
        if turn is None:
            self._polls.watch(None)
            return None
        if self._comes_too_late():
            return None
        if not self._context.budget.fits(turn.reserve):
            self._context.stop.close_submits(StopReason.BUDGET, "the budget is used up: nothing more is submitted")
            return None
        return turn

    def exhausted(self) -> bool:
        """Whether nothing is left to submit, or nothing may be submitted in this run any more."""
        return not self._on_the_wire and (self._closed() or self._peek() is None)

    def wait_seconds(self) -> float | None:
        """How long until a submit may be possible that only time holds back."""
        context = self._context
        if self._closed():
            return None
        if context.breaker.is_open:
            return max(0.0, context.breaker.probe_at - context.clock.now())
        waits = [self._slots.wait(self._alive(), context.clock.now())]
        if doubts := self._in_doubt():
            age = (context.clock.utc() - doubts[0]).total_seconds()
            waits.append(max(NOTICEABLE, context.forecast.most - age))
        return min((wait for wait in waits if wait is not None and wait > 0), default=None)

    def _closed(self) -> bool:
        stop = self._context.stop
        return stop.submits_closed is not None or stop.reason is not None or self._context.options.collect_only

    def _may_submit(self) -> bool:
        context = self._context
        if self._closed() or not context.breaker.allows(len(self._on_the_wire)):
            return False
        at_once = QUICK_SUBMITS if self._is_quick else SUBMITS_AT_ONCE
        if self._under_way >= min(at_once + INTENTS_AT_ONCE, FIRST_SUBMITS + self._accepted):
            return False
        if self._forbidden and self._on_the_wire:
            return False  # after a 403 one at a time, to learn whether it meant the pair or the account
        if self._suspicion.is_open and (self._on_the_wire or self.wants_a_poll):
            return False  # likewise, whether it is requests or slots that are short
        if self._slots.room(self._alive(), context.clock.now()):
            return True
        self._polls.watch(self._slots.count if self._peek() is not None else None)
        return False

    def _alive(self) -> int:
        """Generations that hold a slot, or may: those that are polled, those in doubt, those on their way."""
        return self._polls.alive + len(self._in_doubt()) + len(self._on_the_wire)

    def _in_doubt(self) -> list[datetime]:
        """When the submits left that may have been accepted, and whose generations may still hold slots."""
        context = self._context
        if context.doubts_moved or not self._doubts_read:
            self._doubts = context.reads.doubts_since(context.clock.utc() - timedelta(seconds=context.forecast.most))
            self._doubts_read, context.doubts_moved = True, False
        while self._doubts and (context.clock.utc() - self._doubts[0]).total_seconds() >= context.forecast.most:
            del self._doubts[0]
        return self._doubts

    def _comes_too_late(self) -> bool:
        """Whether a generation that is submitted now would probably not be finished and fetched at the deadline."""
        context = self._context
        if context.options.deadline is None:
            return False
        left = (context.options.deadline - context.clock.utc()).total_seconds()
        rate = context.throttle.per_second
        to_notice = (self._polls.alive + 1) / rate if rate else 0.0
        if left >= max(context.forecast.likely, to_notice) + FETCH_SHARE * context.forecast.median:
            return False
        context.stop.close_submits(
            StopReason.DEADLINE, "what is submitted now would probably not be finished at the deadline"
        )
        return True

    def _peek(self) -> Turn | None:
        """The pair whose turn it is; pairs that met a 403 come last."""
        return self._context.turns.next(busy=self._on_the_wire, last=self._forbidden)

    def send(self, turn: Turn, permit: Permit) -> Coroutine[Any, Any, None]:
        """Take a pair's turn now; the step that submits it, and records what became of it."""
        context = self._context
        taken = context.turns.take()
        assert taken is turn
        self._slots.take(self._alive(), context.clock.now())
        # Now, and not when the step begins: the next turn is asked for before that.
        context.budget.reserve(turn.reserve)
        self._on_the_wire.add(turn.pair.fingerprint)
        self._under_way += 1
        return self._send(turn, permit)

    async def _send(self, turn: Turn, permit: Permit) -> None:
        try:
            await uninterrupted(self._submit(turn, permit))
        finally:
            self._on_the_wire.discard(turn.pair.fingerprint)
            if turn.pair.fingerprint in self._pending_again:
                self._pending_again.discard(turn.pair.fingerprint)
                self._context.turns.grew()  # not sooner: what is on the wire is left out of what is read
            self._context.wake()

    async def _submit(self, turn: Turn, permit: Permit) -> None:
        context, pair = self._context, turn.pair
        request_id = client_request_id(context.batch_id, pair.fingerprint, turn.attempt)
        with context.in_order():
            try:
                # Before the intent: a kill while a store is slow must not leave in doubt what surely was not sent.
                linked = await unless(context.stop.requested, self._link(pair)) if needs_links(pair) else pair
                await context.ledger.intend(pair.fingerprint, request_id, turn.attempt, reserve=turn.reserve)
                self._tell(turn, State.PENDING, State.SUBMITTING)
                answer = await self._post(linked, request_id) if isinstance(linked, Pair) else linked or _UNLINKED
            finally:
                permit.answered()
                self._under_way -= 1
                context.changed.set()
            await self._record(turn, request_id, answer, permit)

    @property
    def _is_quick(self) -> bool:
        return self._usual_seconds < QUICK_SECONDS

    async def _post(self, pair: Pair, request_id: str) -> Submission:
        """The paid call, once there is room on the wires for it."""
        context = self._context
        async with self._quick_posts if self._is_quick else self._posts:
            if self._closed_meanwhile():
                return NotSent(reason=Unsent.INTERRUPTED, message="the submits were stopped before it could leave")
            began = context.clock.now()
            answer = await context.provider.submit(pair, request_id, cut=context.stop.cut)
            self._usual_seconds += NEW_ANSWER * (context.clock.now() - began - self._usual_seconds)
        return answer

    async def _link(self, pair: Pair) -> Pair | NotSent:
        """The pair as the provider can fetch it: its objects have links that nobody else is shown."""
        try:
            return await self._context.presigner.linked(pair, self._context.clock.utc())
        except ChangedError as error:
            return NotSent(reason=Unsent.INPUT_CHANGED, message=str(error))
        except StoreError as error:
            return NotSent(reason=_STORES[error.fault.kind], message=error.fault.words)
        except LipsyncBatchError as error:
            return NotSent(reason=Unsent.INPUT_DENIED, message=f"{error}. {error.hint}")

    def _closed_meanwhile(self) -> bool:
        """Whether the submits were closed since an intent was written down: then it does not leave.

        Where the disk is why, it does: that it did not could not be written down, and a person would have to find out.
        What was sent is found in the provider's log by the next run.
        """
        stop = self._context.stop
        if stop.reason in (StopReason.DISK_ERROR, StopReason.DISK_FULL):
            return False
        if stop.submits_closed in (StopReason.BUDGET, StopReason.DEADLINE):
            return stop.reason is not None  # no more than what was decided by then
        return self._closed() or self._context.breaker.is_open

    async def _record(self, turn: Turn, request_id: str, answer: Submission, permit: Permit) -> None:
        match answer:
            case Accepted(generation_id=taken) if (owner := self._context.owner(taken)) is not None:
                # Polled as its own, it would put the video of another job in this one's place.
                message = f"the API answered with the generation {taken}, which is that of {owner}"
                await self._unclear(turn, request_id, Unclear(code="mixed_up", message=message))
            case Accepted(generation_id=taken):
                with self._context.claiming(taken, turn.name):
                    await self._accept(turn, request_id, answer, permit)
            case Refused():
                await self._refuse(turn, request_id, answer, permit)
            case NotSent():
                await self._not_sent(turn, request_id, answer)
            case Unclear():
                await self._unclear(turn, request_id, answer)

    async def _accept(self, turn: Turn, request_id: str, answer: Accepted, permit: Permit) -> None:
        context, fingerprint = self._context, turn.pair.fingerprint
        accepted_at = context.clock.utc()
        try:
            await context.insist(
                lambda: context.ledger.accepted(
                    fingerprint, request_id, answer.generation_id, quote=answer.quote, at=accepted_at
                )
            )
        except DiskError:
            message = f"accepted as {answer.generation_id}, which could not be written down: the next run looks for it"
            context.events.emit(Noticed(message=message, name=turn.name))
            raise
        context.budget.quoted(turn.reserve, answer.quote)
        context.throttle.accepted(permit)
        context.breaker.success()
        self._slots.accepted(self._alive() - 1, context.clock.now())
        self._was_the_rate()
        self._accepted += 1
        self._forbidden.pop(fingerprint, None)
        self._polls.board(
            Flight(
                fingerprint=fingerprint,
                client_request_id=request_id,
                generation_id=answer.generation_id,
                name=turn.name,
                accepted_at=accepted_at,
                provider_errors=turn.provider_errors,
                link_refreshes=0,
                held=max(turn.reserve, answer.quote or 0),
                charged=False,
            )
        )
        self._tell(turn, State.SUBMITTING, State.SUBMITTED, generation_id=answer.generation_id)

    async def _refuse(self, turn: Turn, request_id: str, answer: Refused, permit: Permit) -> None:
        context = self._context
        context.budget.release(turn.reserve)
        new = answer.becomes
        if answer.kind is Refusal.FORBIDDEN and self._others_were_taken_since(turn):
            new = State.FAILED
        code = "forbidden" if answer.kind is Refusal.FORBIDDEN else answer.code
        await context.insist(
            lambda: context.ledger.not_taken(
                turn.pair.fingerprint, request_id, new, outcome=code, message=answer.message, raw=answer.raw
            )
        )
        self._tell(turn, State.SUBMITTING, new, code=code, message=answer.message)
        match answer.kind:
            case Refusal.THROTTLED:
                self._slow_down(answer, permit)
            case Refusal.NO_SLOT:
                self._no_slot(answer.retry_after)
            case Refusal.CREDENTIALS:
                context.stop.close_submits(StopReason.CREDENTIALS, f"the API refuses the key: {answer.message}")
            case Refusal.FORBIDDEN:
                await self._forbid(turn, answer, new)
            case Refusal.INVALID:
                context.breaker.success()
                context.throttle.accepted(permit)
                if answer.status == PAYMENT_REQUIRED:
                    # The pair has failed, as the table says; the others need not fail one after another.
                    context.stop.close_submits(StopReason.CREDITS, f"the account is out of credits: {answer.message}")

    def _others_were_taken_since(self, turn: Turn) -> bool:
        return self._accepted > self._forbidden.get(turn.pair.fingerprint, self._accepted)

    async def _forbid(self, turn: Turn, answer: Refused, new: State) -> None:
        """A 403 may mean the account or this pair alone: with money left, one other pair is tried."""
        if new is State.FAILED:
            self._forbidden.pop(turn.pair.fingerprint, None)
            return
        self._context.turns.read_anew()
        if self._context.stop.requested.is_set():
            return
        balance = await unless(self._context.stop.requested, self._balance())
        in_a_row = sum(1 for accepted in self._forbidden.values() if accepted == self._accepted)
        alone = turn.pair.fingerprint in self._forbidden
        self._forbidden[turn.pair.fingerprint] = self._accepted
        if (balance is not None and balance <= 0) or in_a_row or alone:
            self._context.stop.close_submits(
                StopReason.CREDITS, f"the API takes no more submits on this account: {answer.message}"
            )

    async def _balance(self) -> int | None:
        """What is left on the account, by one request that counts like any other."""
        permit = await self._context.throttle.acquire()
        try:
            return await self._context.provider.balance()
        finally:
            permit.answered()

    def _slow_down(self, answer: Refused, permit: Permit) -> None:
        """429 on a submit, without a word of why: one request too many, or no slot free beside those that are alive.

        One that is more than the provider was known to have room for had no slot; one that was sent while the rate is
        still being doubled was one too many. Else the next requests tell: see `suspicion`.
        """
        context = self._context
        if self._slots.is_beyond(self._alive() - 1) or self._suspicion.is_of_slots(self._seen()):
            self._no_slot(answer.retry_after)
            return
        likely = self._suspicion.is_likely_of_slots(self._seen())
        if likely:
            context.throttle.was_too_fast()  # if it was the rate after all, the next one will show it
        pause = 0.0
        if self._polls.alive and answer.retry_after is None and not context.throttle.is_feeling_its_way:
            self._suspicion.grow(self._seen(), likely=likely)
        else:
            pause = context.throttle.refused(permit, answer.retry_after)
        context.events.emit(RateRefused(what="submit", pause=pause))

    def _seen(self) -> Seen:
        return Seen(answers=self._polls.answers, refusals=self._context.throttle.refusals)

    def _was_the_rate(self) -> None:
        """A submit was taken after one that was not, and no slot was missing: it was one request too many."""
        if self._suspicion.is_open:
            self._context.throttle.was_too_fast()
            self._suspicion.settle()

    def _no_slot(self, retry_after: float | None) -> None:
        """The provider runs as many generations as it will: polls go on."""
        context, now = self._context, self._context.clock.now()
        self._suspicion.settle()
        pause = self._slots.refused(
            self._alive() - 1, now, typical_seconds=context.forecast.median, retry_after=retry_after
        )
        context.events.emit(RateRefused(what="submit", pause=pause))

    async def _not_sent(self, turn: Turn, request_id: str, answer: NotSent) -> None:
        context = self._context
        context.budget.release(turn.reserve)
        new, code = answer.becomes, str(answer.reason)
        if answer.reason in (Unsent.INPUT_CHANGED, Unsent.INPUT_DENIED):
            new = State.FAILED
        cut = answer.reason is Unsent.BODY_CUT and await self._was_its_size()
        if cut and turn.body_cuts + 1 >= BODY_CUTS:
            new, code = State.FAILED, "too_large"
        await context.insist(
            lambda: context.ledger.not_taken(
                turn.pair.fingerprint, request_id, new, outcome=code, message=answer.message, body_cut=cut
            )
        )
        self._tell(turn, State.SUBMITTING, new, code=code, message=answer.message)
        match answer.reason:
            case Unsent.UNREACHABLE:
                self._trouble(answer.message)
            case Unsent.INPUT_DENIED:  # one alone, or, with credentials that have ended, every one
                self._trouble(answer.message, what="object storage lets nobody read")
            case Unsent.STORE_SILENT:
                self._trouble(answer.message, what="object storage does not answer", at_once=True)

    async def _was_its_size(self) -> bool:
        """After a body was cut: whether its size can have been why.

        A server that refuses a large body early, and closes, takes its own words with it. So it is asked something
        small: what it says to that, it will have said to the submit.
        """
        context = self._context
        permit = await unless(context.stop.requested, context.throttle.acquire())
        if permit is None:
            return False
        match await self._probe(permit):
            case Denied(message=message):
                context.stop.close_submits(StopReason.CREDENTIALS, f"the API refuses the key: {message}")
            case Throttled(retry_after=retry_after):
                pause = context.throttle.refused(permit, retry_after)
                context.events.emit(RateRefused(what="probe", pause=pause))
            case Unavailable(message=message):
                self._trouble(message)
            case _:
                return True
        return False

    async def _probe(self, permit: Permit) -> Check:
        try:
            return await self._context.provider.check(PROBE)
        finally:
            permit.answered()

    async def _unclear(self, turn: Turn, request_id: str, answer: Unclear) -> None:
        context = self._context
        await context.insist(
            lambda: context.ledger.unclear(
                turn.pair.fingerprint, request_id, code=answer.code, message=answer.message, raw=answer.raw
            )
        )
        context.doubts_moved = True
        self._tell(turn, State.SUBMITTING, State.UNCLEAR, code=answer.code, message=answer.message)
        self._trouble(answer.message)

    def _trouble(self, message: str, *, what: str = "the API does not answer", at_once: bool = False) -> None:
        if self._context.stop.requested.is_set():
            return  # an answer that was not waited for says nothing about the API
        breaker = self._context.breaker
        if breaker.open_at_once() if at_once else breaker.trouble():
            self._context.events.emit(Noticed(message=f"{what}; waiting until it does ({message})"))

    def _tell(self, turn: Turn, old: State, new: State, **facts: str | None) -> None:
        if new is State.PENDING:
            self._pending_again.add(turn.pair.fingerprint)
        if new in (State.SUBMITTED, State.FAILED):
            self._context.moved()  # what only waits for its next turn is no progress
        self._context.events.emit(
            Moved(
                name=turn.name,
                pair=turn.pair.fingerprint,
                old=old,
                new=new,
                generation_id=facts.get("generation_id"),
                code=facts.get("code"),
                message=facts.get("message"),
            )
        )
