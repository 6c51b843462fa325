"""The poll lane: asks after generations, each when it is worth a request, and never forgets one.

A heap of due times; one entry for each generation that is alive. Local deadlines abandon nothing: whatever is still
running when a run ends is asked again by the next one.
"""

from __future__ import annotations

import heapq
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from lipsync_batch.events import Moved, Noticed, RateRefused
from lipsync_batch.jobs import State, StopReason
from lipsync_batch.providers.base import (
    Check,
    Denied,
    Errored,
    Finished,
    NotFound,
    Running,
    Throttled,
    Unavailable,
)
from lipsync_batch.runner.context import Context
from lipsync_batch.runner.forecast import SCOUTS
from lipsync_batch.runner.throttle import Permit
from lipsync_batch.store.lane_reads import Flight

LINKLESS = 6
"""How often a generation may be finished without a link before it counts as failed; the pauses double from 1 s."""
NOT_FOUND = 6
"""How often an id may be unknown in a row before it counts as lost; likewise."""
PROVIDER_ERRORS = 2
"""How often a pair whose error says that it may be tried again is submitted again."""
LONGEST_PAUSE = 60.0


@dataclass(slots=True)
class _Tracked:
    """A generation that is being polled."""

    flight: Flight
    accepted: float
    """When it was accepted, by the clock of this run; before its start for generations of earlier runs."""
    teaches: bool
    """Whether its time says how long generations take: not where it may have ended while no run was asking."""
    scout: bool = False
    asked: bool = False
    """The request is on the wire."""
    linkless: int = 0
    not_found: int = 0
    answers_before: int = 0
    """How many polls had been answered with knowledge of an id when this one was first unknown."""
    unavailable: int = 0
    due: float = 0.0


class PollLane:
    """Everything that is alive at the provider."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tracked: dict[str, _Tracked] = {}
        self._heap: list[tuple[float, str]] = []
        self._seen_statuses: set[str] = set()
        self._denied = False
        self._answers = 0
        """How many polls were answered with knowledge of the id: proof that the API knows ids of ours."""
        for flight in context.reads.flights():
            self._track(flight, from_earlier_run=True)

    @property
    def alive(self) -> int:
        """Generations that hold a slot: not those that are overdue, nor those that only need a fresh link."""
        return sum(1 for tracked in self._tracked.values() if self._holds_slot(tracked))

    @property
    def idle(self) -> bool:
        """Whether there is nothing that can be asked."""
        return not self._tracked or self._denied

    def only_overdue(self) -> bool:
        """Whether nothing is left but generations that may never end, or that cannot be asked after now."""
        return all(self._overdue(t) or t.unavailable or t.not_found for t in self._tracked.values())

    def board(self, fingerprint: str) -> None:
        """Begin to poll a pair that was just submitted, or whose link needs to be refreshed."""
        flight = self._context.reads.flight(fingerprint)
        assert flight is not None, f"{fingerprint} is not submitted"
        self._track(flight, from_earlier_run=False)
        self._context.changed.set()

    def next_flight(self, *, late_by: float = 0.0) -> Flight | None:
        """The generation most worth asking, if one is due; with `late_by`, only one that has been due for so long."""
        if self._denied:
            return None
        due = self._first_due()
        if due is None or due + late_by > self._context.clock.now():
            return None
        return self._tracked[self._heap[0][1]].flight

    def wait_seconds(self) -> float | None:
        """How long until the next one is due; None when none will be."""
        due = None if self._denied else self._first_due()
        return None if due is None else max(0.0, due - self._context.clock.now())

    def ask(self, flight: Flight, permit: Permit) -> Coroutine[Any, Any, None]:
        """Take a generation's turn now; the step that asks once after it, and records what came of it."""
        tracked = self._tracked[flight.fingerprint]
        tracked.asked = True
        return self._ask(tracked, permit)

    async def _ask(self, tracked: _Tracked, permit: Permit) -> None:
        flight = tracked.flight
        try:
            answer = await self._context.provider.check(flight.generation_id)
        finally:
            tracked.asked = False
            permit.answered()
        with self._context.in_order():
            await self._record(tracked, answer)
        self._context.changed.set()

    def _track(self, flight: Flight, *, from_earlier_run: bool) -> None:
        clock = self._context.clock
        age = max(0.0, (clock.utc() - flight.accepted_at).total_seconds())
        tracked = _Tracked(
            flight,
            accepted=clock.now() - age,
            teaches=not from_earlier_run,
            scout=sum(1 for other in self._tracked.values() if other.scout) < SCOUTS,
        )
        self._tracked[flight.fingerprint] = tracked
        if flight.link_refreshes:
            self._schedule(tracked, min(LONGEST_PAUSE, 2.0 ** (flight.link_refreshes - 1)))
        elif from_earlier_run:
            self._schedule(tracked, 0.0)
        else:
            self._schedule_by_forecast(tracked)

    def _first_due(self) -> float | None:
        """The earliest due time; entries that were superseded are dropped on the way."""
        while self._heap:
            due, fingerprint = self._heap[0]
            tracked = self._tracked.get(fingerprint)
            if tracked is not None and tracked.due == due and not tracked.asked:
                return due
            heapq.heappop(self._heap)
        return None

    def _schedule(self, tracked: _Tracked, seconds: float) -> None:
        tracked.due = self._context.clock.now() + seconds
        heapq.heappush(self._heap, (tracked.due, tracked.flight.fingerprint))

    def _schedule_by_forecast(self, tracked: _Tracked) -> None:
        age = self._age(tracked)
        self._schedule(tracked, self._context.forecast.next_ask(age, scout=tracked.scout) - age)

    def _age(self, tracked: _Tracked) -> float:
        return self._context.clock.now() - tracked.accepted

    def _overdue(self, tracked: _Tracked) -> bool:
        return self._context.forecast.overdue(self._age(tracked))

    def _holds_slot(self, tracked: _Tracked) -> bool:
        return not tracked.flight.link_refreshes and not self._overdue(tracked)

    async def _record(self, tracked: _Tracked, answer: Check) -> None:
        known = isinstance(answer, Running | Finished | Errored)
        if known:
            self._answers += 1
            tracked.not_found = tracked.unavailable = 0
            self._context.throttle.accepted()
        match answer:
            case Running(status=status):
                self._notice_status(status)
                tracked.teaches = True  # its end is still to come, and will be noticed in time
                self._schedule_by_forecast(tracked)
            case Finished(link=None):
                await self._linkless(tracked)
            case Finished():
                await self._ready(tracked, answer)
            case Errored():
                await self._errored(tracked, answer)
            case NotFound():
                await self._not_found(tracked)
            case Throttled(retry_after=retry_after):
                pause = self._context.throttle.refused(retry_after)
                self._context.events.emit(RateRefused(what="poll", pause=pause))
                self._schedule(tracked, 0.0)
            case Denied(message=message):
                self._deny(tracked, message)
            case Unavailable(message=message):
                self._unavailable(tracked, message)

    def _notice_status(self, status: str) -> None:
        if status in ("queued", "generating") or status in self._seen_statuses:
            return
        self._seen_statuses.add(status)
        self._context.events.emit(Noticed(message=f'the API says "{status}", which counts as still running'))

    async def _linkless(self, tracked: _Tracked) -> None:
        """Finished, and no word of where: ask again a few times, for the link often follows."""
        tracked.linkless += 1
        if tracked.linkless <= LINKLESS:
            self._schedule(tracked, min(LONGEST_PAUSE, 2.0 ** (tracked.linkless - 1)))
            return
        await self._fail(tracked, "no_link", "the generation is finished, but the API gives no link to its video")

    async def _ready(self, tracked: _Tracked, answer: Finished) -> None:
        assert answer.link is not None
        context, flight = self._context, tracked.flight
        seconds = self._age(tracked)
        if tracked.teaches and not flight.link_refreshes:
            context.forecast.learn(seconds)
            self._hurry()
        await context.ledger.ready(
            flight.fingerprint,
            flight.client_request_id,
            link=answer.link,
            link_bytes=answer.file_size,
            usage=answer.usage,
        )
        context.budget.quoted(flight.held, answer.usage)
        self._leave(tracked, State.READY, seconds=seconds)

    def _hurry(self) -> None:
        """The first observations say more than the prior guess did: those still waiting are scheduled anew."""
        if self._context.forecast.observed > SCOUTS:
            return
        for tracked in self._tracked.values():
            if not tracked.asked and not tracked.flight.link_refreshes:
                age = self._age(tracked)
                sooner = self._context.forecast.next_ask(age) - age
                if self._context.clock.now() + sooner < tracked.due:
                    self._schedule(tracked, sooner)

    async def _errored(self, tracked: _Tracked, answer: Errored) -> None:
        """The provider gave up, and charges nothing: what says so itself may be submitted again, twice."""
        flight = tracked.flight
        if flight.charged:
            await self._fail(tracked, "output_gone", f"finished before, and now the API says: {answer.message}")
            return
        again = answer.retryable and flight.provider_errors < PROVIDER_ERRORS
        new = State.PENDING if again else State.FAILED
        await self._context.ledger.provider_error(
            flight.fingerprint, flight.client_request_id, new, code=answer.code, message=answer.message, raw=answer.raw
        )
        self._context.budget.release(flight.held)
        self._leave(tracked, new, code=answer.code, message=answer.message)

    async def _not_found(self, tracked: _Tracked) -> None:
        """Unknown now is not unknown for ever: only repeatedly, and while other ids are known, is it lost."""
        if not tracked.not_found:
            tracked.answers_before = self._answers
        tracked.not_found += 1
        if tracked.not_found >= NOT_FOUND and await self._others_are_known(tracked):
            message = f"the API no longer knows the generation {tracked.flight.generation_id}"
            await self._fail(tracked, "lost", message)
            return
        self._schedule(tracked, min(LONGEST_PAUSE, 2.0 ** (tracked.not_found - 1)))

    async def _others_are_known(self, tracked: _Tracked) -> bool:
        """Whether the API knew another id since it did not know this one: else it may be the service that is ill.

        Where no other answer came meanwhile, a generation that was finished before is asked after. In a batch that
        never had another one, there is nothing to compare with: then it takes twice as many answers.
        """
        if self._answers > tracked.answers_before:
            return True
        witness = self._context.reads.last_finished()
        if witness is None:
            return len(self._tracked) == 1 and tracked.not_found >= 2 * NOT_FOUND
        permit = await self._context.throttle.acquire()
        try:
            answer = await self._context.provider.check(witness)
        finally:
            permit.answered()
        return isinstance(answer, Running | Finished | Errored)

    async def _fail(self, tracked: _Tracked, code: str, message: str) -> None:
        await self._context.ledger.fail(tracked.flight.fingerprint, State.SUBMITTED, code=code, message=message)
        self._leave(tracked, State.FAILED, code=code, message=message)

    def _deny(self, tracked: _Tracked, message: str) -> None:
        """The key may no longer even ask: what is at the provider stays there for the next run."""
        self._schedule(tracked, LONGEST_PAUSE)
        self._denied = True
        self._context.stop.close_submits(StopReason.CREDENTIALS, f"the API refuses the key: {message}")

    def _unavailable(self, tracked: _Tracked, message: str) -> None:
        tracked.unavailable += 1
        if tracked.unavailable == 3:
            self._context.events.emit(
                Noticed(message=f"asked three times in vain: {message}", name=tracked.flight.name)
            )
        self._schedule(tracked, min(LONGEST_PAUSE, 2.0 ** (tracked.unavailable - 1)))

    def _leave(
        self,
        tracked: _Tracked,
        new: State,
        *,
        seconds: float | None = None,
        code: str | None = None,
        message: str | None = None,
    ) -> None:
        flight = tracked.flight
        del self._tracked[flight.fingerprint]
        self._context.moved()
        self._context.events.emit(
            Moved(
                name=flight.name,
                pair=flight.fingerprint,
                old=State.SUBMITTED,
                new=new,
                generation_id=flight.generation_id,
                seconds=seconds,
                code=code,
                message=message,
            )
        )
