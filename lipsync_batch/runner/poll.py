"""The poll lane: asks after generations, each when it is worth a request, and never forgets one.

A heap of due times: where requests are short, what has been due for longest is what has most likely ended since it was
asked last. Local deadlines abandon nothing: whatever is still running when a run ends is asked again by the next one.
"""

from __future__ import annotations

import heapq
from collections import deque
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
POLLS_AT_ONCE, FEWEST_AT_ONCE = 32, 3
POLLS_A_SECOND = 400.0
"""As many at once as so many a second need: more connections would only cost the time that looking after them takes."""
NEW_TRIP = 0.1
"""What one answer weighs in how long they usually take."""


@dataclass(slots=True)
class _Tracked:
    """A generation that is being polled."""

    flight: Flight
    accepted: float
    """When it was accepted, by the clock of this run; before its start for generations of earlier runs."""
    scout: bool = False
    asked: bool = False
    """A request is on the wire, or its answer is being recorded."""
    asked_at_age: float = 0.0
    """How old it was when it was last known to be running."""
    linkless: int = 0
    not_found: int = 0
    answers_before: int = 0
    """How many polls had been answered with knowledge of an id when this one was first unknown."""
    unavailable: int = 0
    due: float = 0.0

    @property
    def by_forecast(self) -> bool:
        """Whether it is asked after because it may have ended by then, and for no other reason."""
        return not (self.asked or self.flight.link_refreshes or self.linkless or self.not_found or self.unavailable)


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
        self._scouts = 0
        self._unanswered = 0
        self._usual_trip = 0.0
        """Seconds that answers to polls take."""
        self._slots: int | None = None
        self._aging: deque[_Tracked] = deque()
        """Those that are not overdue yet, the oldest first; among them some that have left."""
        self._holding: set[str] = set()
        """Those that hold a slot: neither overdue, nor only in want of a fresh link."""
        self._hopeful: set[str] = set()
        """Those that may come to an end soon: neither overdue, nor out of reach."""
        for flight in context.reads.flights():
            self._track(flight, from_earlier_run=True)

    @property
    def alive(self) -> int:
        """Generations that hold a slot: not those that are overdue, nor those that only need a fresh link."""
        self._age_out()
        return len(self._holding)

    @property
    def idle(self) -> bool:
        """Whether there is nothing that can be asked."""
        return not self._tracked or self._denied

    @property
    def answers(self) -> int:
        """How many polls were answered with knowledge of the id."""
        return self._answers

    def only_overdue(self) -> bool:
        """Whether nothing is left but generations that may never end, or that cannot be asked after now."""
        self._age_out()
        return not self._hopeful

    def watch(self, slots: int | None) -> None:
        """Pairs wait for one of so many slots (None: none waits): with few of them, each is watched more closely."""
        if slots != self._slots:
            self._slots = slots
            self._schedule_anew()

    def board_again(self, fingerprint: str) -> None:
        """Begin to poll a pair that is submitted by what jobs.db says of it: adopted, or in want of a fresh link."""
        flight = self._context.reads.flight(fingerprint)
        assert flight is not None, f"{fingerprint} is not submitted"
        self.board(flight)

    def board(self, flight: Flight) -> None:
        """Begin to poll a generation that was just accepted."""
        self._track(flight, from_earlier_run=False)
        self._context.changed.set()

    def next_flight(self, *, late_by: float = 0.0) -> Flight | None:
        """The generation most worth asking, if one is due; with `late_by`, only one that has been due for so long."""
        if self._wires_are_full():
            return None
        due = self._first_due()
        if due is None or due + late_by > self._context.clock.now():
            return None
        return self._tracked[self._heap[0][1]].flight

    def soonest_flight(self) -> Flight | None:
        """The generation that is due next, whether or not it is yet; None where it was asked too shortly ago."""
        if self._first_due() is None:
            return None
        tracked = self._tracked[self._heap[0][1]]
        rested = self._age(tracked) - tracked.asked_at_age >= self._context.forecast.floor
        return tracked.flight if rested and tracked.by_forecast else None

    def wait_seconds(self) -> float | None:
        """How long until the next one is due; None when none will be."""
        due = None if self._wires_are_full() else self._first_due()
        return None if due is None else max(0.0, due - self._context.clock.now())

    def _wires_are_full(self) -> bool:
        return self._unanswered >= min(POLLS_AT_ONCE, max(FEWEST_AT_ONCE, self._usual_trip * POLLS_A_SECOND))

    def ask(self, flight: Flight, permit: Permit) -> Coroutine[Any, Any, None]:
        """Take a generation's turn now; the step that asks once after it, and records what came of it."""
        tracked = self._tracked[flight.fingerprint]
        tracked.asked = True
        self._unanswered += 1
        return self._ask(tracked, permit)

    async def _ask(self, tracked: _Tracked, permit: Permit) -> None:
        clock, began = self._context.clock, self._context.clock.now()
        try:
            answer = await self._context.provider.check(tracked.flight.generation_id)
        finally:
            permit.answered()
            self._unanswered -= 1
            self._usual_trip += NEW_TRIP * (clock.now() - began - self._usual_trip)
            self._context.changed.set()
        with self._context.in_order():
            await self._record(tracked, answer, permit)
        self._context.changed.set()

    def _track(self, flight: Flight, *, from_earlier_run: bool) -> None:
        clock, fingerprint = self._context.clock, flight.fingerprint
        age = max(0.0, (clock.utc() - flight.accepted_at).total_seconds())
        scout = self._scouts < SCOUTS and not from_earlier_run
        self._scouts += scout
        tracked = self._tracked[fingerprint] = _Tracked(flight, accepted=clock.now() - age, scout=scout)
        self._aging.append(tracked)
        self._hopeful.add(fingerprint)
        if flight.link_refreshes:
            self._schedule(tracked, min(LONGEST_PAUSE, 2.0 ** (flight.link_refreshes - 1)))
            return
        self._holding.add(fingerprint)
        if from_earlier_run:
            self._schedule(tracked, 0.0)
        else:
            self._schedule_by_forecast(tracked)

    def _age_out(self) -> None:
        """Those that have become overdue neither hold a slot nor are they waited for."""
        while self._aging:
            tracked = self._aging[0]
            fingerprint = tracked.flight.fingerprint
            if self._tracked.get(fingerprint) is tracked:
                if not self._context.forecast.overdue(self._age(tracked)):
                    return
                self._holding.discard(fingerprint)
                self._hopeful.discard(fingerprint)
            self._aging.popleft()

    def _first_due(self) -> float | None:
        """The earliest due time; entries that were superseded are dropped on the way."""
        if self._denied:
            return None
        while self._heap:
            due, fingerprint = self._heap[0]
            tracked = self._tracked.get(fingerprint)
            if tracked is not None and tracked.due == due and not tracked.asked:
                return due
            heapq.heappop(self._heap)
        return None

    def _schedule(self, tracked: _Tracked, seconds: float) -> None:
        tracked.asked = False
        tracked.due = self._context.clock.now() + seconds
        heapq.heappush(self._heap, (tracked.due, tracked.flight.fingerprint))

    def _schedule_by_forecast(self, tracked: _Tracked) -> None:
        ask_at = self._context.forecast.next_ask(tracked.asked_at_age, scout=tracked.scout, slots=self._slots)
        self._schedule(tracked, max(0.0, ask_at - self._age(tracked)))

    def _schedule_anew(self) -> None:
        """What was scheduled by another forecast than holds now."""
        for tracked in self._tracked.values():
            if tracked.by_forecast:
                self._schedule_by_forecast(tracked)

    def _age(self, tracked: _Tracked) -> float:
        return self._context.clock.now() - tracked.accepted

    async def _record(self, tracked: _Tracked, answer: Check, permit: Permit) -> None:
        if isinstance(answer, Running | Finished | Errored):
            self._is_known(tracked, permit)
        match answer:
            case Running(status=status):
                self._notice_status(status)
                tracked.asked_at_age = self._age(tracked)
                self._schedule_by_forecast(tracked)
            case Finished(link=None):
                await self._linkless(tracked)
            case Finished():
                await self._ready(tracked, answer)
            case Errored():
                await self._errored(tracked, answer)
            case NotFound():
                self._context.throttle.accepted(permit)
                await self._not_found(tracked)
            case Throttled(retry_after=retry_after):
                pause = self._context.throttle.refused(permit, retry_after)
                self._context.events.emit(RateRefused(what="poll", pause=pause))
                self._schedule(tracked, 0.0)
            case Denied(message=message):
                self._deny(tracked, message)
            case Unavailable(message=message):
                self._unavailable(tracked, message)

    def _is_known(self, tracked: _Tracked, permit: Permit) -> None:
        """The API has an answer that is about this generation."""
        self._answers += 1
        tracked.not_found = tracked.unavailable = 0
        if not self._context.forecast.overdue(self._age(tracked)):
            self._hopeful.add(tracked.flight.fingerprint)
        self._context.throttle.accepted(permit)

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
        if not flight.link_refreshes:
            others = (other.asked_at_age for other in self._tracked.values() if other is not tracked)
            context.forecast.learn(tracked.asked_at_age, seconds, running=others)
            if context.forecast.moved():
                self._schedule_anew()
        self._release(tracked)
        await context.ledger.ready(
            flight.fingerprint,
            flight.client_request_id,
            link=answer.link,
            link_bytes=answer.file_size,
            usage=answer.usage,
        )
        context.budget.quoted(flight.held, answer.usage)
        self._leave(tracked, State.READY, seconds=seconds)

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
        if again:
            self._context.turns.grew()
        self._leave(tracked, new, code=answer.code, message=answer.message)

    async def _not_found(self, tracked: _Tracked) -> None:
        """Unknown now is not unknown for ever: only repeatedly, and while other ids are known, is it lost."""
        if not tracked.not_found:
            tracked.answers_before = self._answers
        tracked.not_found += 1
        self._hopeful.discard(tracked.flight.fingerprint)
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
        self._hopeful.discard(tracked.flight.fingerprint)
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
        self._release(tracked)
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

    def _release(self, tracked: _Tracked) -> None:
        """Ask after it no more: what holds its slot at the provider has ended, whether or not that is on disk yet."""
        fingerprint = tracked.flight.fingerprint
        self._tracked.pop(fingerprint, None)
        self._holding.discard(fingerprint)
        self._hopeful.discard(fingerprint)
