"""A whole run in virtual time: a real store in a real folder, a provider and a network that do as they are told."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice, takewhile
from pathlib import Path

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.clock import VirtualClock, VirtualTimeLoop
from lipsync_batch.events import Event, Events
from lipsync_batch.fetching.fetch import Expected, Fetched, Outcome
from lipsync_batch.files import Folder
from lipsync_batch.jobs import (
    FileInfo,
    Job,
    JobRecord,
    Link,
    MediaInfo,
    Pair,
    State,
    StopReason,
    Text,
    Want,
)
from lipsync_batch.providers.base import (
    Accepted,
    Charge,
    ChargePage,
    Check,
    Denied,
    Errored,
    Finished,
    LogPage,
    LogRow,
    NotFound,
    Price,
    Running,
    Submission,
    Throttled,
    Unavailable,
)
from lipsync_batch.runner.context import Options
from lipsync_batch.runner.work import Work
from lipsync_batch.settings import Rate
from lipsync_batch.store import Store
from lipsync_batch.store.account_memory import AccountMemory
from lipsync_batch.store.ledger import Ledger
from lipsync_batch.store.staging import Facts

START = datetime(2026, 5, 1, 20, 0, tzinfo=UTC)


def make_pair(number: int = 0, *, take: int = 1) -> Pair:
    """A pair that differs from others by its number."""
    digest = hashlib.sha256(f"{number}/{take}".encode()).hexdigest()
    return Pair(
        fingerprint=f"v1:{digest}",
        video=Link(url=f"https://media.example/{number}.mp4"),
        speech=Text(text=f"Text {number}", speaker="Emily"),
        take=take,
    )


def make_job(number: int, *, key: str | None = None, output: str | None = None, pair: Pair | None = None) -> Job:
    """A job at a position of the manifest, by default with a pair of its own."""
    pair = pair or make_pair(number)
    key = key or f"job-{number:05}"
    return Job(
        key=key,
        output=output or f"{key}.mp4",
        want=Want(video=pair.video, speech=pair.speech, take=pair.take),
        position=number,
        labels={"language": ("de", "fr")[number % 2]},
    )


@dataclass
class FakeProvider:
    """Accepts everything and finishes after `seconds`, unless a test says otherwise. Keeps the ground truth."""

    clock: VirtualClock
    seconds: float = 34.0
    latency: float = 0.1
    name: str = "fake"
    origin: str = "https://fake.example"
    capabilities = LIP_SYNC
    left: int | None = None
    submitting: Callable[[Pair, str], Submission | None] = lambda *_: None
    """What to answer to a submit; None for the ordinary course."""
    checking: Callable[[str], Check | None] = lambda _: None
    logged: Callable[[], LogPage | Throttled | Denied | Unavailable] | None = None
    submitted: list[str] = field(default_factory=list)
    """Client request ids of all submits, accepted or not."""
    charged: dict[str, str] = field(default_factory=dict)
    """Generation ids by client request id."""
    pairs: Counter[str] = field(default_factory=Counter)
    started: dict[str, float] = field(default_factory=dict)
    arrivals: list[float] = field(default_factory=list)
    polls: Counter[str] = field(default_factory=Counter)
    ended: set[str] = field(default_factory=set)
    taken: list[Charge] = field(default_factory=list)
    """What the account says was charged."""
    charges_told: Throttled | Denied | Unavailable | None = None
    asked_for_charges: list[datetime] = field(default_factory=list)
    most_alive: int = 0
    probes: int = 0

    def accept(self, pair: Pair, request_id: str) -> str:
        """Take a submit: from here on it is charged."""
        generation_id = f"-{len(self.charged)}:gen/{request_id[-6:]}"
        self.charged[request_id] = generation_id
        self.pairs[pair.fingerprint] += 1
        self.started[generation_id] = self.clock.now()
        now = self.clock.now()
        alive = sum(1 for _ in takewhile(lambda at: now - at < self.seconds, reversed(self.started.values())))
        self.most_alive = max(self.most_alive, alive)
        return generation_id

    async def submit(self, pair: Pair, client_request_id: str, *, cut: asyncio.Event | None = None) -> Submission:
        self.submitted.append(client_request_id)
        self.arrivals.append(self.clock.now())
        answer = self.submitting(pair, client_request_id)
        if answer is None:
            answer = Accepted(generation_id=self.accept(pair, client_request_id), quote=240_000)
        await self.clock.sleep(self.latency)
        return answer

    async def check(self, generation_id: str) -> Check:
        self.arrivals.append(self.clock.now())
        if generation_id not in self.started:
            self.probes += 1
        self.polls[generation_id] += 1
        await self.clock.sleep(self.latency)
        told = self.checking(generation_id)
        if told is not None:
            return told
        if generation_id not in self.started:
            return NotFound()
        if self.clock.now() - self.started[generation_id] < self.seconds:
            return Running(status="generating")
        return Finished(link=f"https://cdn.example/{generation_id}.mp4")

    async def find(
        self, *, since: datetime, until: datetime, offset: int = 0
    ) -> LogPage | Throttled | Denied | Unavailable:
        await self.clock.sleep(self.latency)
        if self.logged is not None:
            return self.logged()
        now, earliest = self.clock.now(), (since - START).total_seconds()
        newest_first = takewhile(lambda row: self.started[row[1]] >= earliest, reversed(self.charged.items()))
        ended = (row for row in newest_first if now - self.started[row[1]] >= self.seconds)
        end = offset + 100
        rows = [
            LogRow(client_request_id=request_id, generation_id=generation_id, failed=False)
            for request_id, generation_id in islice(ended, offset, end + 1)
        ]
        return LogPage(rows=tuple(rows[:100]), next_offset=end if len(rows) > 100 else None)

    async def charges(
        self, *, since: datetime, cursor: str | None = None
    ) -> ChargePage | Throttled | Denied | Unavailable:
        """Pages of two, so that every test of more goes by way of a cursor."""
        self.asked_for_charges.append(since)
        if self.charges_told is not None:
            return self.charges_told
        start = int(cursor or 0)
        end = start + 2
        return ChargePage(charges=tuple(self.taken[start:end]), next_cursor=str(end) if len(self.taken) > end else None)

    async def balance(self) -> int | None:
        return self.left

    async def price(self) -> Price | None:
        return None

    async def aclose(self) -> None: ...


class FakeFetcher:
    """Writes a small file that names its link, after a moment."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.room = 4
        self.away = False
        self.changed: Callable[[], None] = lambda: None
        self.fetched: list[str] = []
        self.fetching: Callable[[str], Outcome | None] = lambda _: None
        self.broken_off = False

    def listen(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    async def fetch(self, link: str, destination: Path, expected: Expected) -> Outcome:
        self.fetched.append(link)
        await self._clock.sleep(0.5)
        told = self.fetching(link)
        if told is not None:
            return told
        content = link.encode()
        destination.write_bytes(content)  # noqa: ASYNC240 - a few bytes
        media = MediaInfo(duration=1.0, has_video=True, has_audio=True, width=64, height=64)
        return Fetched(info=FileInfo(bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), media=media))

    def break_off(self) -> None:
        self.broken_off = True

    def close(self) -> None: ...


class Night:
    """A batch folder, its store, and as many runs as a test wants."""

    def __init__(self, folder: Path, *, loop: VirtualTimeLoop | None = None, clock: VirtualClock | None = None) -> None:
        self.folder = Folder(folder / "out", folder / "out" / "_batch")
        self.folder.state.mkdir(parents=True)
        self.loop = loop or VirtualTimeLoop()
        self.clock = clock or VirtualClock(START, self.loop)
        self.provider = FakeProvider(self.clock)
        self.fetcher = FakeFetcher(self.clock)
        self.events: list[Event] = []
        self.log: list[str] = []
        self.store = self.opened()
        self.store.bind(provider="fake", origin="https://fake.example", manifest="spring.csv")

    def opened(self) -> Store:
        """jobs.db, made where there is none."""
        store = Store.open(self.folder.state / "jobs.db", self.clock)
        store._database.execute("PRAGMA synchronous = OFF")  # virtual time has no power cuts
        return store

    def holds(self, jobs: Sequence[Job], *, estimate: int = 240_000) -> None:
        """Reconcile the store with a manifest of these jobs."""
        staging = self.store.staging()
        for job in jobs:
            pair = make_pair(int(job.want.video.url.split("/")[-1][:-4]), take=job.want.take)
            staging.add(job, pair, Facts(speech_seconds=None, billable_seconds=1.0, upload_bytes=0))
        staging.flush()

        async def reconcile() -> None:
            self.store.reconcile(staging)
            self.store.estimate(per_generation=estimate, per_second=0)

        self.do(reconcile())

    def do(self, step):
        """Run a coroutine in this night's virtual time."""
        asyncio.set_event_loop(self.loop)
        try:
            return self.loop.run_until_complete(step)
        finally:
            asyncio.set_event_loop(None)

    def run(
        self,
        *,
        rate: str | None = None,
        budget: int | None = None,
        verify: bool = False,
        memory: Path | None = None,
        **options,
    ) -> StopReason:
        """One run of the batch, to its end. `memory` is the file that the account's runs share."""

        async def work() -> StopReason:
            self.store.reads.select()
            self.fetcher.broken_off = False
            with self.writing() as ledger:
                run = Work(
                    store=self.store,
                    provider=self.provider,
                    folder=self.folder,
                    fetcher=self.fetcher,
                    clock=self.clock,
                    events=Events(self.events.append),
                    options=Options(**options),
                    rate=Rate.parse(rate) if rate else None,
                    budget=budget,
                    verify=verify,
                    memory=AccountMemory.open(memory) if memory else None,
                    journalled=self.journalled,
                )
                return await run.run(ledger, resumed=False)

        return self.do(work())

    @contextmanager
    def writing(self) -> Iterator[Ledger]:
        with self.store.writing(self.log.extend) as ledger:
            yield ledger

    def journalled(self, request_ids: Collection[str]) -> Mapping[str, Accepted]:
        """The answers to these submits that are in run.log: none, since a night has none that outlives a run."""
        return {}

    def counts(self) -> dict[State, int]:
        return {state: number for state, number in self.store.reads.counts().items() if number}

    def record(self, key: str) -> JobRecord:
        record = self.store.reads.record(key)
        assert record is not None
        return record

    def video(self, output: str) -> str:
        """What the fake network wrote into an output."""
        return self.folder.path(output).read_text()

    def close(self) -> None:
        self.store.close()
        self.loop.close()


def errored(message: str = "no face found", *, retryable: bool = False) -> Errored:
    return Errored(code="GenerationError", message=message, retryable=retryable)
