"""The request budget of one account, however many runs it has: counted at the provider's end."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from limited_server import LimitedServer
from runner_factory import START

from lipsync_batch.clock import VirtualClock, VirtualTimeLoop
from lipsync_batch.errors import DiskError
from lipsync_batch.runner.throttle import Throttle
from lipsync_batch.settings import Rate
from lipsync_batch.store.account_memory import AccountMemory


class Wires:
    """A throttle's requests on their way to a server, in virtual time."""

    def __init__(self, clock: VirtualClock, server: LimitedServer, *, trip: float = 0.05, seed: int = 1) -> None:
        self._clock = clock
        self._server = server
        self._trip = trip
        self._random = Random(seed)

    async def send(self, throttle: Throttle, *, until: float, at_once: int = 16) -> int:
        """Send as much as is allowed; how many requests were taken."""
        room = asyncio.Semaphore(at_once)
        taken = 0

        async def one(permit) -> None:
            nonlocal taken
            there, back = (self._trip * self._random.uniform(0.5, 1.5) / 2 for _ in range(2))
            await self._clock.sleep(there)
            accepted = self._server.takes(self._clock.now())
            await self._clock.sleep(back)
            permit.answered()
            if accepted:
                taken += 1
                throttle.accepted(permit)
            else:
                throttle.refused(permit, None)
            room.release()

        async with asyncio.TaskGroup() as group:
            while self._clock.now() < until:
                await room.acquire()
                group.create_task(one(await throttle.acquire()))
        return taken


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    """Time that jumps; `clock._loop.run_until_complete` is what runs in it."""
    loop = VirtualTimeLoop()
    yield VirtualClock(START, loop)
    loop.close()


def run(clock: VirtualClock, step: Callable[[], object]) -> object:
    async def begun() -> object:
        return await step()  # type: ignore[misc]

    return clock._loop.run_until_complete(begun())


@pytest.mark.parametrize(
    "rate", [Rate(20, 1.0), Rate(60, 60.0), Rate(5, 10.0), Rate(200, 1.0)], ids=["20/s", "60/m", "5/10s", "200/s"]
)
def test_given_rate_is_kept_as_the_server_counts_it(clock: VirtualClock, rate: Rate) -> None:
    """Whatever the network does to single requests, no window of the provider's holds more; and hardly one less."""
    server, seconds = LimitedServer(rate.count, rate.seconds), max(30.0, 5 * rate.seconds)

    async def send() -> int:
        throttle = Throttle(clock, rate=rate)
        return await Wires(clock, server).send(throttle, until=seconds)

    taken = run(clock, send)

    assert server.refused_share() == 0.0
    assert taken >= 0.9 * rate.count / rate.seconds * seconds


def test_runs_of_one_account_keep_its_rate_together(clock: VirtualClock, tmp_path: Path) -> None:
    """A second batch that is started in another terminal must not double the rate; and neither of them starves."""
    server = LimitedServer(20)

    async def send() -> list[int]:
        throttles = [
            Throttle(clock, rate=Rate(20, 1.0), memory=AccountMemory.open(tmp_path / "account.db")) for _ in range(2)
        ]
        wires = [Wires(clock, server, seed=seed) for seed in range(2)]
        taken = await asyncio.gather(*(w.send(t, until=60.0) for w, t in zip(wires, throttles, strict=True)))
        for throttle in throttles:
            throttle.close()
        return taken

    taken = run(clock, send)

    assert server.refused_share() <= 0.01
    assert sum(taken) >= 0.9 * 20 * 60
    assert min(taken) >= 0.25 * sum(taken)


def test_runs_of_one_account_learn_its_rate_together(clock: VirtualClock, tmp_path: Path) -> None:
    """Two runs that each look for the limit alone would meet it at every second request."""
    server = LimitedServer(20)

    async def send() -> list[int]:
        throttles = [Throttle(clock, memory=AccountMemory.open(tmp_path / "account.db")) for _ in range(2)]
        wires = [Wires(clock, server, seed=seed) for seed in range(2)]
        return await asyncio.gather(*(w.send(t, until=120.0) for w, t in zip(wires, throttles, strict=True)))

    taken = run(clock, send)

    assert server.refused_share() <= 0.02
    assert server.taken(30.0, 120.0) >= 0.9 * 20 * 90
    assert min(taken) >= 0.25 * sum(taken)


def test_run_without_a_rate_keeps_the_one_that_another_was_given(clock: VirtualClock, tmp_path: Path) -> None:
    """Who names the account's rate names it for all."""
    server = LimitedServer(10)

    async def send() -> None:
        given = Throttle(clock, rate=Rate(10, 1.0), memory=AccountMemory.open(tmp_path / "account.db"))
        other = Throttle(clock, memory=AccountMemory.open(tmp_path / "account.db"))
        await asyncio.gather(*(Wires(clock, server).send(t, until=20.0) for t in (given, other)))

    run(clock, send)

    assert server.refused_share() <= 0.01


def test_next_run_begins_at_the_rate_that_was_learned(clock: VirtualClock, tmp_path: Path) -> None:
    """The search for the limit is paid for once."""
    server = LimitedServer(20)

    async def send(until: float) -> float | None:
        throttle = Throttle(clock, memory=AccountMemory.open(tmp_path / "account.db"))
        await Wires(clock, server).send(throttle, until=until)
        throttle.close()
        return throttle.per_second

    run(clock, lambda: send(40.0))
    run(clock, lambda: send(50.0))

    assert server.taken(41.0, 50.0) >= 0.85 * 20 * 9
    assert server.refused_share(40.0, 50.0) <= 0.03


def test_run_that_follows_a_killed_one_knows_what_it_sent(clock: VirtualClock, tmp_path: Path) -> None:
    """kill -9 and start again at once: the provider still counts the requests of the minute before."""
    script = f"""
import os
from pathlib import Path
from lipsync_batch.store.account_memory import AccountMemory
memory = AccountMemory.open(Path({str(tmp_path / "account.db")!r}))
with memory.exclusive():
    memory.join(now=0.0, limit=(60, 60.0))
    memory.took(40)
    memory.answered(35, at=0.0)
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)

    server = LimitedServer(1_000)

    async def send() -> None:
        throttle = Throttle(clock, rate=Rate(60, 60.0), memory=AccountMemory.open(tmp_path / "account.db"))
        await Wires(clock, server).send(throttle, until=30.0)

    async def send_for_half_a_minute() -> None:
        sending = asyncio.ensure_future(send())
        await clock.sleep(30.0)
        sending.cancel()

    run(clock, send_for_half_a_minute)

    assert server.taken() == 20


def test_unused_permits_are_given_back(clock: VirtualClock, tmp_path: Path) -> None:
    """A request that was not sent after all leaves its place to another run."""

    async def take_and_give_back() -> int:
        memory = AccountMemory.open(tmp_path / "account.db")
        throttle = Throttle(clock, rate=Rate(1, 3_600.0), memory=memory)
        (await throttle.acquire()).unused()
        await clock.sleep(1.0)
        other = Throttle(clock, rate=Rate(1, 3_600.0), memory=AccountMemory.open(tmp_path / "account.db"))
        async with clock.timeout(1.0):
            await other.acquire()
        return 1

    assert run(clock, take_and_give_back) == 1


def test_memory_that_another_process_holds_does_not_stop_the_run(clock: VirtualClock, tmp_path: Path) -> None:
    """A process that is stopped in the middle of a write, or a backup program: the rate is kept for this run alone."""
    said: list[str] = []

    async def send() -> int:
        throttle = Throttle(
            clock, rate=Rate(20, 1.0), memory=AccountMemory.open(tmp_path / "account.db"), notice=said.append
        )
        with sqlite3.connect(tmp_path / "account.db", isolation_level=None) as holder:
            holder.execute("BEGIN IMMEDIATE")
            return await Wires(clock, LimitedServer(20)).send(throttle, until=10.0)

    assert run(clock, send) > 50
    assert "for this run alone" in said[0]


def test_what_is_learned_while_the_memory_is_held_is_told_the_others_later(clock: VirtualClock, tmp_path: Path) -> None:
    """A refusal, and what was sent before the run: at once for this run, and for the others when they let go."""
    path = tmp_path / "account.db"

    async def runs() -> None:
        said: list[str] = []
        this = Throttle(clock, rate=Rate(20, 1.0), memory=AccountMemory.open(path), notice=said.append)
        other = Throttle(clock, rate=Rate(20, 1.0), memory=AccountMemory.open(path))
        permit = await this.acquire()
        (await other.acquire()).answered()
        await clock.sleep(2.0)
        holder = sqlite3.connect(path, isolation_level=None)
        for _ in range(3):  # for moments only, some time apart: that is no reason to go on alone
            holder.execute("BEGIN IMMEDIATE")
            permit.answered()
            this.refused(permit, 20.0)
            this.count_earlier(1)
            assert this.take() is None
            holder.execute("ROLLBACK")
            await clock.sleep(0.2)
            assert other.take() is None
            assert 15.0 < other.closed_for <= 20.0
            await clock.sleep(40.0)
            permit = await this.acquire()
        assert not said
        holder.close()

    run(clock, runs)


def test_damaged_memory_is_made_anew(tmp_path: Path) -> None:
    """What it knew is learned again; no run is refused for it."""
    path = tmp_path / "account.db"
    path.write_bytes(b"this is no database " * 100)

    memory = AccountMemory.open(path)

    with memory.exclusive():
        memory.join(now=0.0, limit=None)
        assert memory.recall("pace") is None
    memory.close()
    assert path.stat().st_mode & 0o077 == 0


def test_memory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A state folder that is a file, or on a disk that is read-only."""
    (tmp_path / "file").write_text("")

    with pytest.raises(DiskError, match="cannot be used"):
        AccountMemory.open(tmp_path / "file" / "account.db")


def test_dead_runs_are_told_from_living_ones(tmp_path: Path) -> None:
    """A pid comes again; a run is known by when its process began as well."""
    memory = AccountMemory.open(tmp_path / "account.db")
    with memory.exclusive():
        memory.join(now=0.0, limit=None)
    other = AccountMemory.open(tmp_path / "account.db")
    with other.exclusive():
        other.join(now=1.0, limit=(5, 1.0))
        assert other.others() == 1
        other._connection.execute("UPDATE runs SET born = 1.0 WHERE pid = ?", (os.getpid(),))
        other.bury_the_dead(2.0)

        assert other.others() == 0
