"""When the next API request may leave: the given rate, or one that is found out; one for all runs of an account.

The provider counts requests when they arrive, in a sliding window. We know only that a request arrived between the
moment it left and the moment it was answered. So a request takes its place in the window from the first, and gives it
back a whole window after the second: whatever the network does, the provider never counts more than the limit. Where
every answer is long on its way, a part of that is sure to be the way itself, and is given back sooner.

Several runs of one account on one machine share the window and what was learned (`AccountMemory`), and a run that is
started again knows what the one before it sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from lipsync_batch.clock import Clock
from lipsync_batch.runner.pace import LEARNED, Pace
from lipsync_batch.settings import Rate
from lipsync_batch.store.account_memory import BusyError, LostError
from lipsync_batch.store.lone_memory import LoneMemory, Memory

NOTHING = 1e-6
"""Seconds that are no wait: what is left by rounding would be waited for again and again."""
SURE_WAY = 0.5
"""The share of the shortest trip of all that was surely spent on the way, and not on waiting at either end."""
NOISE = 0.01
"""Seconds that programs, and not the network, may take at both ends."""
BLOCK_SECONDS = 0.02
"""Requests for so long are taken out of what is shared at once: at high rates it would cost more than they do."""
MOST_IN_BLOCK = 64
OTHERS_LOOK = 0.02
"""Seconds between two looks at what only another run can make room for."""
HELD_TOO_LONG = 5.0
"""Seconds after which a memory that another process holds is given up."""
RALLY = 15.0
"""Seconds between two looks at whether other runs are still alive."""


Change = Callable[[Pace, float], Pace]
"""What a pace is after something happened, at an instant of the clock."""


class Permit:
    """The right to send one request. Exactly one of `answered` and `unused` must follow."""

    __slots__ = ("_throttle", "left_at")

    def __init__(self, throttle: Throttle, left_at: float) -> None:
        self._throttle = throttle
        self.left_at = left_at

    def answered(self) -> None:
        """The request was sent, and answered or given up."""
        self._throttle.came_back(self.left_at)

    def unused(self) -> None:
        """It was not sent after all."""
        self._throttle.give_back()


class Throttle:
    """The request budget of one run."""

    def __init__(
        self,
        clock: Clock,
        *,
        rate: Rate | None = None,
        memory: Memory | None = None,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`memory` is what is shared with other runs of the account; without one this run is alone."""
        self.refusals = 0
        self.taken = 0
        """Requests that left."""
        self._clock = clock
        self._rate = rate
        self._given = rate.count / rate.seconds if rate is not None else None
        self._memory: Memory = memory or LoneMemory()
        self._notice = notice
        self._pace = Pace() if rate is None else Pace(per_second=None)
        """As it was last seen."""
        self._name = LEARNED if rate is None else f"pace under {rate}"
        self._ready = 0
        """Requests that were taken out of what is shared, and have not left yet."""
        self._ready_until = 0.0
        self._unused = 0
        self._in_flight = 0
        self._answered = 0
        self._earlier = 0
        self._missed: list[Change] = []
        """What was learned while another process held what is shared: it is told the others later."""
        self._arrived_by = 0.0
        self._shortest_trip = float("inf")
        self._wait = 0.0
        self._looked_at = float("-inf")
        self._held_since: float | None = None
        self._joined = False
        self._changed = asyncio.Event()
        self._flush: asyncio.TimerHandle | None = None

    # What lanes ask for

    async def acquire(self) -> Permit:
        """Wait until a request may leave."""
        while (permit := self.take()) is None:
            self._changed.clear()
            await self._clock.wait(self._changed, self._wait if self._wait < float("inf") else None)
        return permit

    def take(self) -> Permit | None:
        """The permit for a request that leaves now; None where it has to wait."""
        now = self._clock.now()
        if not (self._ready and now <= self._ready_until):
            self._wait = 0.0
            self._shared(self._reserve, now)
        if not self._ready:
            return None
        self._ready -= 1
        self._in_flight += 1
        self.taken += 1
        return Permit(self, now)

    def came_back(self, left_at: float) -> None:
        """A request that left then was answered, or given up."""
        now = self._clock.now()
        self._shortest_trip = min(self._shortest_trip, now - left_at)
        self._arrived_by = max(self._arrived_by, now - max(0.0, self._shortest_trip * SURE_WAY - NOISE))
        self._answered += 1
        self._in_flight -= 1
        self._changed.set()
        self._flush_soon()

    def give_back(self) -> None:
        """A request did not leave."""
        self._unused += 1
        self._in_flight -= 1
        self.taken -= 1
        self._changed.set()
        self._flush_soon()

    def refused(self, permit: Permit, retry_after: float | None) -> float:
        """429: every lane of every run waits; for how many seconds."""
        self.refusals += 1
        self._unused += self._ready  # none of what is in hand leaves now
        self._ready = 0
        self._change(
            lambda pace, now: pace.refused(now, left_at=permit.left_at, retry_after=retry_after, given=self._given)
        )
        self._changed.set()
        return max(0.0, self._pace.opens_at - self._clock.now())

    def was_too_fast(self) -> None:
        """A request was refused for their number, as is known now that others were taken: slower, without a pause."""
        self.refusals += 1
        self._change(lambda pace, now: pace.cut(now, self._given))

    def accepted(self, permit: Permit) -> None:
        """A request was taken."""
        if self._pace.row:
            self._change(lambda pace, now: pace.accepted(now, left_at=permit.left_at))
            self._changed.set()

    def count_earlier(self, requests: int) -> None:
        """Requests that this process sent before the run, which the provider counts like any other."""
        self._earlier += requests
        self._shared(self._settle_up, self._clock.now())

    @property
    def is_closed(self) -> bool:
        """Whether a refusal holds back every request for now."""
        return self.closed_for > 0.0

    @property
    def is_feeling_its_way(self) -> bool:
        """Whether the rate is still being doubled: the first refusal will be one request too many, before all else."""
        return self._given is None and self._pace.ceiling is None

    @property
    def is_trying(self) -> bool:
        """Whether requests were refused, and none was taken since."""
        return self._pace.row > 0

    @property
    def closed_for(self) -> float:
        """For how many seconds a refusal holds back every request."""
        return max(0.0, self._pace.opens_at - self._clock.now())

    @property
    def per_second(self) -> float | None:
        """The requests a second that are possible as far as is known; None while nothing limits them."""
        known = [rate for rate in (self._given, self._pace.per_second) if rate is not None]
        return min(known) if known else None

    @property
    def window(self) -> float:
        """How long it may take until a request may leave, in seconds."""
        seconds = self._rate.seconds if self._rate is not None else 1.0
        return max(seconds, 1.0 / self._pace.per_second if self._pace.per_second else 0.0)

    def recall(self, name: str) -> dict[str, Any] | None:
        """What a run of this account has learned; None where there is nothing, or it cannot be read now."""
        with suppress(BusyError, LostError), self._memory.exclusive():
            return self._memory.recall(name)
        return None

    def remember(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep what was learned for other runs of the account, if that is possible now."""
        with suppress(BusyError, LostError), self._memory.exclusive():
            self._memory.remember(name, value)

    def close(self) -> None:
        """Leave what is shared to the other runs."""
        if self._flush is not None:
            self._flush.cancel()
        if self._joined:
            with suppress(BusyError, LostError), self._memory.exclusive():
                now = self._clock.now()
                self._settle_up(now)
                self._memory.leave(now)
        self._memory.close()

    # What is shared, each step as a whole

    def _shared(self, step: Callable[..., None], *args: object) -> bool:
        """Do something to what is shared. Where another process holds it, nothing is done; whether it was."""
        try:
            with self._memory.exclusive():
                if not self._joined:
                    self._join()
                for change in self._missed:
                    self._apply(change)
                self._missed.clear()
                step(*args)
        except BusyError as error:
            now = self._clock.now()
            self._held_since = now if self._held_since is None else self._held_since
            self._wait = OTHERS_LOOK
            if now - self._held_since < HELD_TOO_LONG:
                self._flush_soon()  # looks again, also where nothing else does: it may be held for a moment only
                return False
            self._alone(str(error))
            return self._shared(step, *args)
        except LostError as error:
            self._alone(str(error))
            return self._shared(step, *args)
        self._held_since = None
        return True

    def _alone(self, why: str) -> None:
        """Go on without the others: only the pace of requests suffers."""
        self._notice(f"what runs of this account share cannot be used ({why}): the rate is kept for this run alone")
        self._memory.close()
        self._memory = LoneMemory()
        self._joined = False
        self._held_since = None
        self._missed.clear()  # the pace that is taken along knows it

    def _join(self) -> None:
        now = self._clock.now()
        limit = None if self._rate is None else (self._rate.count, self._rate.seconds)
        self._memory.join(now=now, limit=limit)
        if self._rate is None or self._memory.others():
            self._pace = Pace.read(self._memory.recall(self._name), now=now) or self._pace
        self._memory.remember(self._name, self._pace.as_dict())
        self._memory.took(self._ready + self._answered + self._unused + self._in_flight)
        self._looked_at = now
        self._joined = True

    def _reserve(self, now: float) -> None:
        """Take requests out of what may leave now, or find out how long that takes."""
        if self._unused or self._answered or self._ready or self._earlier:
            self._settle_up(now)
        if now >= self._looked_at + RALLY:
            self._looked_at = now
            self._memory.bury_the_dead(now)
        pace = self._pace = self._recalled(now)
        self._wait = pace.wait(now)
        if self._wait > NOTHING:
            return
        limit = self._limit()
        rates = [rate for rate in (pace.per_second, limit and limit[0] / limit[1]) if rate]
        wanted = 1 if pace.row else min(MOST_IN_BLOCK, max(1, int(min(rates) * BLOCK_SECONDS)))
        if limit is not None:
            free = limit[0] - self._memory.counted_since(now - limit[1], now=now)
            if free <= 0:
                self._wait = self._until_free(limit, 1 - free, now)
                return
            wanted = min(wanted, free)
        self._memory.took(wanted)
        self._ready, self._ready_until = wanted, now + BLOCK_SECONDS
        if pace.per_second is not None:
            self._keep(pace.spend(wanted, now, most=limit and limit[0] / limit[1]))
        if wanted > 1:
            self._flush_soon()

    def _limit(self) -> tuple[int, float] | None:
        """The given rate; where none was given to this run, what another one of the account was given holds for it."""
        return (self._rate.count, self._rate.seconds) if self._rate is not None else self._memory.strictest_limit()

    def _until_free(self, limit: tuple[int, float], places: int, now: float) -> float:
        """Seconds until so many places are free; where they wait for answers, those of this run will say so."""
        for at, requests in self._memory.arrivals_since(now - limit[1]):
            places -= requests
            if places <= 0:
                return max(NOTHING * 2, at + limit[1] - now)
        return float("inf") if self._in_flight and not self._memory.others() else OTHERS_LOOK

    def _settle_up(self, now: float) -> None:
        """Write down what came back, and what was taken out and did not leave in time."""
        if self._answered:
            self._memory.answered(self._answered, at=min(now, self._arrived_by))
        if back := self._unused + self._ready:
            self._memory.took(-back)
        if self._earlier:
            self._memory.count(self._earlier, at=now)
        self._answered = self._unused = self._ready = self._earlier = 0
        self._arrived_by = 0.0

    def _recalled(self, now: float) -> Pace:
        return Pace.read(self._memory.recall(self._name), now=now) or self._pace

    def _change(self, change: Change) -> None:
        """Learn something: for all runs, or for this one at once and for the others as soon as they let go."""
        if not self._shared(self._apply, change):
            self._pace = change(self._pace, self._clock.now())
            self._missed.append(change)

    def _apply(self, change: Change) -> None:
        now = self._clock.now()
        self._keep(change(self._recalled(now), now))

    def _keep(self, pace: Pace) -> None:
        self._pace = pace
        self._memory.remember(self._name, pace.as_dict())

    def _flush_soon(self) -> None:
        """Tell the other runs what came back, even where this one wants nothing more."""
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(2 * BLOCK_SECONDS, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        now = self._clock.now()
        if self._ready and now <= self._ready_until:
            self._flush_soon()
        elif self._answered or self._unused or self._ready or self._held_since is not None:
            self._shared(self._settle_up, now)
