"""Those who fetch may be gone for a while: a cluster whose scheduler, or whose last worker, has ended."""

from __future__ import annotations

import asyncio

from runner_factory import Night, make_job

from lipsync_batch.events import Moved
from lipsync_batch.jobs import State, StopReason


def gone(night: Night) -> None:
    """Whatever is handed out now is not done, and does not end either."""

    class Gone(type(night.fetcher)):
        async def fetch(self, link, destination, expected):
            self.fetched.append(link)
            if not self.away:
                return await super().fetch(link, destination, expected)
            await self.back.wait()
            return await super().fetch(link, destination, expected)

    night.fetcher.__class__ = Gone
    night.fetcher.away = True
    night.fetcher.back = asyncio.Event()


def test_submits_and_polls_go_on_while_nobody_fetches(night: Night) -> None:
    """And a run that has nothing but downloads left ends by --patience; another one goes on, and pays nothing."""
    night.holds([make_job(number) for number in range(12)])
    gone(night)

    assert night.run(patience=600.0) is StopReason.PATIENCE
    assert night.counts() == {State.READY: 12}
    assert len(night.provider.charged) == 12

    night.fetcher.away = False
    assert night.run() is StopReason.FINISHED
    assert night.counts() == {State.DONE: 12}
    assert len(night.provider.charged) == 12


def test_downloads_go_on_when_they_are_back(night: Night) -> None:
    """Nothing failed meanwhile, and no attempt was used up."""
    night.holds([make_job(number) for number in range(6)])
    gone(night)

    async def come_back() -> None:
        await night.clock.sleep(300.0)
        night.fetcher.away = False
        night.fetcher.back.set()
        night.fetcher.changed()

    back = night.loop.create_task(come_back())
    assert night.run(patience=600.0) is StopReason.FINISHED
    assert back.done()
    assert night.counts() == {State.DONE: 6}


def test_as_many_are_handed_out_as_there_is_room_for(night: Night) -> None:
    """It is asked anew each time: workers come and go."""
    night.holds([make_job(number) for number in range(40)])
    alive: list[int] = []
    night.fetcher.room = 2

    class Counting(type(night.fetcher)):
        async def fetch(self, link, destination, expected):
            alive.append(link)
            most.append((len(alive), self.room))
            outcome = await super().fetch(link, destination, expected)
            alive.remove(link)
            if len(self.fetched) == 10:
                self.room = 7
                self.changed()
            return outcome

    most: list[tuple[int, int]] = []
    night.fetcher.__class__ = Counting

    assert night.run(max_in_flight=40) is StopReason.FINISHED
    assert all(count <= room for count, room in most)
    assert {max(count for count, room in most if room == limit) for limit in (2, 7)} == {2, 7}
    assert sum(isinstance(event, Moved) and event.new is State.DONE for event in night.events) == 40
