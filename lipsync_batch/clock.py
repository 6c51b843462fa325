"""Time, passed in: so that a night of twelve hours is tested in seconds.

Under a loop that jumps ahead whenever it would wait, and a clock that reads that loop's time, the same code runs in
virtual time, and nothing else has to know.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Clock:
    """Seconds that only go forward, the instant now in UTC, and waiting."""

    virtual = False

    def now(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        return time.monotonic()

    def utc(self) -> datetime:
        """The instant now, timezone-aware."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """Wait for `event`, but no longer than `seconds`; whether it came. Never raises TimeoutError."""
        if event.is_set():
            return True
        try:
            async with self.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something that blocks without holding up the loop."""
        return await asyncio.to_thread(function, *args, **kwargs)

    async def wait_for_tasks(self, tasks: Collection[asyncio.Task[Any]], seconds: float | None) -> None:
        """Wait for all tasks to end, but no longer than `seconds`. They are left as they are."""
        if tasks:
            await asyncio.wait(list(tasks), timeout=seconds)


class VirtualClock(Clock):
    """A clock whose UTC moves with a loop's virtual time, from a given instant."""

    virtual = True

    def __init__(self, start: datetime, loop: VirtualTimeLoop) -> None:
        self._start = start
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()

    def utc(self) -> datetime:
        return self._start + timedelta(seconds=self.now())

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Inline: virtual time would overtake a thread."""
        return function(*args, **kwargs)


SELECT_EVERY = 64
"""Turns of the loop between two looks at the selector, where nothing but timers is waited for."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time: when nothing is ready, its clock jumps to the next timer.

    Only for code that waits for nothing but timers and other tasks. A real socket or thread would be overtaken.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._turns = 0
        real_select = self._selector.select  # type: ignore[attr-defined]  # typeshed hides it

        def select(timeout: float | None) -> object:
            if timeout is None:
                return real_select(0.05)
            self._now += max(timeout, 0.0)
            self._turns += 1
            return real_select(0) if self._turns % SELECT_EVERY == 0 else ()

        self._selector.select = select  # type: ignore[attr-defined]  # likewise

    def time(self) -> float:
        return self._now


def iso(instant: datetime) -> str:
    """An instant as jobs.db and the reports hold it: UTC, milliseconds, `Z`; sorts as text."""
    utc = instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds")[:-6] + "Z"


def from_iso(text: str) -> datetime:
    """The inverse of `iso`."""
    return datetime.fromisoformat(text)
