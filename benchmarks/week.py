"""A week of a large batch in virtual time: the program's own lanes, store and files; a provider that is only simulated.

    python -m benchmarks.week --jobs 1000000

The manifest is real, and so are jobs.db, run.log's lines and the files. What is not: time, the network, and syncs, for
virtual time has no power cuts. The provider keeps the truth: what was charged, for which pair, in a byte for each.
Outages come as they do in weeks: hours without an API, minutes in which answers get lost after submits were accepted,
a day on which a third of all requests is refused, a host of videos that is down. Each day the run ends by its deadline,
and the next one goes on, with `--retry-failed`. (That a process may be killed anywhere is for the crash matrix, which
has real ones.)
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import os
import random
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import manifests
from benchmarks.figures import FailedError
from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.clock import VirtualClock, VirtualTimeLoop
from lipsync_batch.events import Event, Events
from lipsync_batch.fetching.fetch import Broken, Expected, Fetched, Outcome
from lipsync_batch.files import Folder
from lipsync_batch.jobs import FileInfo, MediaInfo, Pair, State, StopReason, Text
from lipsync_batch.manifest import Manifest
from lipsync_batch.plan import Planner
from lipsync_batch.providers.base import (
    Accepted,
    ChargePage,
    Check,
    Denied,
    Finished,
    LogPage,
    LogRow,
    NotFound,
    NotSent,
    Price,
    Refusal,
    Refused,
    Running,
    Submission,
    Throttled,
    Unavailable,
    Unclear,
    Unsent,
)
from lipsync_batch.remedies import retry
from lipsync_batch.runlog import RunLog
from lipsync_batch.runner.context import Options
from lipsync_batch.runner.work import Work
from lipsync_batch.settings import Rate, Settings
from lipsync_batch.store import Store
from lipsync_batch.store.ledger import Ledger
from lipsync_batch.store.writer import Statement

START = datetime(2026, 5, 4, 6, 0, tzinfo=UTC)
DAY = 86_400.0
WEEK = 7 * DAY
MEDIAN = 34.0
SPREAD = 0.3
LATENCY = 0.15
PRICE = 240_000
LOG_KEPT = 6 * 3600.0
"""Seconds that the simulated log goes back: longer than any doubt lasts here, so that memory stays flat."""
PUTS_A_COMMIT = 5_000
MEDIA = MediaInfo(duration=1.0, has_video=True, has_audio=True, width=64, height=64)


@dataclass(frozen=True, slots=True)
class Weather:
    """What goes wrong, as shares of the week: (from, to)."""

    down: tuple[tuple[float, float], ...] = ((0.10, 0.11), (0.36, 0.38), (0.83, 0.835))
    """The API refuses connections: 1.7, 3.4 and 0.8 hours of a week."""
    lossy: tuple[tuple[float, float], ...] = ((0.2, 0.202), (0.55, 0.553))
    """Submits are accepted, and half of the answers never come."""
    slow: tuple[tuple[float, float], ...] = ((0.62, 0.65),)
    """A third of all requests is refused with 429."""
    cdn: tuple[tuple[float, float], ...] = ((0.45, 0.455), (0.7, 0.71))
    """Videos cannot be fetched."""
    deadlines: tuple[float, ...] = (1 / 7, 2 / 7, 3 / 7, 0.552, 5 / 7, 6 / 7)
    """A run must be over by then, whatever is at the provider; the next one begins at once."""


def during(times: tuple[tuple[float, float], ...], share: float) -> bool:
    return any(begin <= share < end for begin, end in times)


@dataclass(kw_only=True)
class SimulatedProvider:
    """Accepts, takes its time, and keeps the truth: of each pair one byte, of what it is at a little more."""

    clock: VirtualClock
    jobs: int
    span: float
    """Seconds that a week of this size has."""
    weather: Weather
    name: str = "simulated"
    origin: str = "https://simulated.example"
    capabilities = LIP_SYNC
    submits: int = 0
    polls: int = 0
    refused: int = 0
    lost: int = 0
    alive: dict[str, float] = field(default_factory=dict)
    """When each generation that was not seen to be finished will be."""
    log: deque[tuple[float, str, str]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.charged = bytearray(self.jobs)
        self.chance = random.Random(1)
        self.most_alive = 0

    @property
    def share(self) -> float:
        """How much of the week is over."""
        return self.clock.now() / self.span

    def _down(self) -> bool:
        return during(self.weather.down, self.share)

    def _throttles(self) -> bool:
        if during(self.weather.slow, self.share) and self.chance.random() < 1 / 3:
            self.refused += 1
            return True
        return False

    async def submit(self, pair: Pair, client_request_id: str, *, cut: asyncio.Event | None = None) -> Submission:
        await self.clock.sleep(LATENCY)
        if self._down():
            return NotSent(reason=Unsent.UNREACHABLE, message="connection refused")
        if self._throttles():
            return Refused(kind=Refusal.THROTTLED, code="429", message="too many requests", status=429)
        number = number_of(pair)
        if self.charged[number] < 255:
            self.charged[number] += 1
        self.submits += 1
        now = self.clock.now()
        generation_id = f"{number}:{self.submits}"
        self.alive[generation_id] = now + MEDIAN * self.chance.lognormvariate(0.0, SPREAD)
        self.most_alive = max(self.most_alive, len(self.alive))
        self.log.append((now, client_request_id, generation_id))
        while self.log[0][0] < now - LOG_KEPT:
            self.log.popleft()
        if during(self.weather.lossy, self.share) and self.chance.random() < 0.5:
            self.lost += 1
            return Unclear(code="no_answer", message="no answer came")
        return Accepted(generation_id=generation_id, quote=PRICE)

    async def check(self, generation_id: str) -> Check:
        self.polls += 1
        await self.clock.sleep(LATENCY)
        if self._down():
            return Unavailable(message="connection refused")
        if self._throttles():
            return Throttled()
        number, _, submit = generation_id.partition(":")
        if not submit or not number.isdecimal():
            return NotFound()
        if self.clock.now() < self.alive.get(generation_id, 0.0):
            return Running(status="generating")
        self.alive.pop(generation_id, None)
        return Finished(link=f"https://cdn.example/{number}.mp4")

    async def find(
        self, *, since: datetime, until: datetime, offset: int = 0
    ) -> LogPage | Throttled | Denied | Unavailable:
        await self.clock.sleep(LATENCY)
        if self._down():
            return Unavailable(message="connection refused")
        earliest, latest = ((instant - START).total_seconds() for instant in (since, until))
        rows: list[LogRow] = []
        skipped = 0
        for at, ours, theirs in reversed(self.log):
            if at < earliest:
                break
            if at > latest or self.clock.now() < self.alive.get(theirs, 0.0):
                continue
            skipped += 1
            if skipped > offset:
                rows.append(LogRow(client_request_id=ours, generation_id=theirs, failed=False, cost=PRICE))
            if len(rows) > 100:
                break
        return LogPage(rows=tuple(rows[:100]), next_offset=offset + 100 if len(rows) > 100 else None)

    async def charges(self, *, since: datetime, cursor: str | None = None) -> ChargePage:
        return ChargePage(charges=(), next_cursor=None)

    async def balance(self) -> int | None:
        return None

    async def price(self) -> Price | None:
        return Price(per_generation=PRICE, source="simulated")

    async def aclose(self) -> None: ...


def number_of(pair: Pair) -> int:
    """The number of a job of `manifests.texts`: the last word of what is said."""
    assert isinstance(pair.speech, Text)
    return int(pair.speech.text.rsplit(" ", 1)[1].rstrip("."))


class SimulatedNetwork:
    """Fetches a small file that names its link."""

    room = 16
    away = False

    def __init__(self, clock: VirtualClock, provider: SimulatedProvider) -> None:
        self._clock = clock
        self._provider = provider
        self.fetched = 0

    def listen(self, changed: Callable[[], None]) -> None:
        """Nothing changes."""

    async def fetch(self, link: str, destination: Path, expected: Expected) -> Outcome:
        await self._clock.sleep(0.5)
        if during(self._provider.weather.cdn, self._provider.share):
            return Broken(reason="the host of the video does not answer", retry_after=None)
        content = link.encode()
        destination.write_bytes(content)  # noqa: ASYNC240 - a few bytes
        self.fetched += 1
        return Fetched(info=FileInfo(bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), media=MEDIA))

    def break_off(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Week:
    """What came of it. Memory in MiB, times in seconds."""

    jobs: int
    done: int
    paid_twice: int
    never_paid: int
    wrong_files: int
    days: float
    runs: int
    seconds: float
    peak: float
    """Of the process, at its end."""
    peak_early: float
    """When a tenth of the jobs were done."""
    requests_a_job: float
    refused: int
    answers_lost: int
    most_alive: int
    database_bytes: int
    stop_reasons: tuple[str, ...]


def simulate(folder: Path, jobs: int, *, weather: Weather | None = None) -> Week:
    """Run a batch of so many jobs in `folder` until all are done. FailedError where that takes too many runs.

    The week of fewer jobs is as much shorter, with the same weather, and so is what is alive at once.
    """
    span = WEEK * jobs / 1_000_000
    started = time.monotonic()
    loop = VirtualTimeLoop()
    clock = VirtualClock(START, loop)
    provider = SimulatedProvider(clock=clock, jobs=jobs, span=span, weather=weather or Weather())
    network = SimulatedNetwork(clock, provider)
    batch = Folder(folder / "out", folder / "out" / "_batch")
    batch.state.mkdir(parents=True)
    manifest = manifests.texts(folder / "week.csv", jobs)
    store = _opened(batch, clock)
    store.bind(provider="simulated", origin=provider.origin, manifest="../week.csv")
    planner = Planner(Manifest.load(manifest), store, Settings())
    planner.stage()
    planner.take_in()
    store.estimate(per_generation=PRICE, per_second=0)
    watch = _Watch(jobs)
    reasons: list[str] = []
    deadlines = iter(provider.weather.deadlines)
    asyncio.set_event_loop(loop)
    try:
        with _without_syncs():
            while store.reads.pair_counts()[State.DONE] < jobs:
                if len(reasons) > 40:
                    raise FailedError(f"{reasons[-5:]} after {len(reasons)} runs, {store.reads.pair_counts()}")
                reasons.append(_run(store, provider, network, batch, clock, watch, loop, next(deadlines, None)))
                store.close()
                store = _opened(batch, clock)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    done, size = store.reads.pair_counts()[State.DONE], (batch.state / "jobs.db").stat().st_size
    wrong = sum(1 for _ in _wrong_files(batch, jobs))
    store.close()
    return Week(
        jobs=jobs,
        done=done,
        paid_twice=sum(1 for times in provider.charged if times > 1),
        never_paid=provider.charged.count(0),
        wrong_files=wrong,
        days=clock.now() / DAY,
        runs=len(reasons),
        seconds=time.monotonic() - started,
        peak=_peak(),
        peak_early=watch.peak_early,
        requests_a_job=(provider.submits + provider.polls) / jobs,
        refused=provider.refused,
        answers_lost=provider.lost,
        most_alive=provider.most_alive,
        database_bytes=size,
        stop_reasons=tuple(reasons),
    )


class _Watch:
    """How much memory a tenth of the week takes."""

    def __init__(self, jobs: int) -> None:
        self._due = jobs // 10
        self._done = 0
        self.peak_early = 0.0

    def listen(self, event: Event) -> None:
        if getattr(event, "new", None) is State.DONE:
            self._done += 1
            if self._done == self._due:
                self.peak_early = _peak()


def _run(
    store: Store,
    provider: SimulatedProvider,
    network: SimulatedNetwork,
    folder: Folder,
    clock: VirtualClock,
    watch: _Watch,
    loop: VirtualTimeLoop,
    deadline: float | None,
) -> str:
    """One run, to its end or its deadline, a share of the week; why it ended."""
    until = None if deadline is None else START + timedelta(seconds=deadline * provider.span)

    async def work() -> StopReason:
        store.reads.select()
        await retry(store, log, selected=True)  # as `run --retry-failed` does: what the host of videos lost is fetched
        with _writing(store, log.durable) as writer:
            return await Work(
                store=store,
                provider=provider,
                folder=folder,
                fetcher=network,
                clock=clock,
                events=Events(watch.listen),
                options=Options(max_in_flight=400, downloads=16, deadline=until),
                rate=Rate.parse("5/s"),
            ).run(Ledger(writer, clock), resumed=False)

    with RunLog(folder.state / "run.log", clock) as log:
        return str(loop.run_until_complete(work()))


class _Writer:
    """Commits puts together, as the program's own does where many come at once: there are no power cuts here."""

    def __init__(self, connection: sqlite3.Connection, journal: Callable[[Sequence[str]], None]) -> None:
        self._connection = connection
        self._journal = journal
        self._puts = 0

    async def put(self, *statements: Statement, lines: Sequence[str] = ()) -> None:
        if not self._puts:
            self._connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            statement.execute(self._connection)
        self._journal(lines)
        self._puts += 1
        if self._puts >= PUTS_A_COMMIT:
            self.close()

    def close(self) -> None:
        if self._puts:
            self._connection.execute("COMMIT")
            self._puts = 0


@contextmanager
def _writing(store: Store, journal: Callable[[Sequence[str]], None]) -> Iterator[_Writer]:
    writer = _Writer(store._database.conn, journal)
    try:
        yield writer
    finally:
        writer.close()


def _opened(folder: Folder, clock: VirtualClock) -> Store:
    store = Store.open(folder.state / "jobs.db", clock)
    for setting in ("synchronous = OFF", "journal_mode = MEMORY", "cache_size = -65536"):
        store._database.execute(f"PRAGMA {setting}")
    return store


@contextmanager
def _without_syncs() -> Iterator[None]:
    """Virtual time has no power cuts."""
    really = os.fsync
    os.fsync = lambda _: None
    try:
        yield
    finally:
        os.fsync = really


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _wrong_files(folder: Folder, jobs: int) -> Iterator[int]:
    """Jobs whose file is not there, or is not the one of its own generation."""
    for number in range(jobs):
        path = folder.path(f"line/{number // 1000}/{number}.mp4")
        if not path.is_file() or path.read_text() != f"https://cdn.example/{number}.mp4":
            yield number


def main() -> int:
    """Exit 1 where a pair was not paid for exactly once, or a file is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.week", description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="a disk with room for a file of 4 KiB a job")
    options = parser.parse_args()
    gc.freeze()  # as `run` does
    gc.set_threshold(10_000, 20, 20)
    folder = Path(tempfile.mkdtemp(prefix="week-", dir=options.folder))
    try:
        week = simulate(folder, options.jobs)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(asdict(week)))
    return 0 if (week.paid_twice, week.never_paid, week.wrong_files) == (0, 0, 0) else 1


if __name__ == "__main__":
    sys.exit(main())
