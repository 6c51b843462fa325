"""A provider and a network that go wrong in every way that is known, and keep the truth of what was paid for.

How a submit goes, and what becomes of its generation, is a `Fate`; a test deals them out one by one. Without one, all
goes well.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from runner_factory import START, FakeProvider, errored

from lipsync_batch.clock import VirtualClock
from lipsync_batch.fetching.fetch import BadFile, Broken, Expected, Fetched, LinkDead, Outcome, Stopped
from lipsync_batch.jobs import FileInfo, MediaInfo, Pair
from lipsync_batch.providers.base import (
    Accepted,
    Check,
    Denied,
    Finished,
    LogPage,
    LogRow,
    NotFound,
    NotSent,
    Refusal,
    Refused,
    Running,
    Submission,
    Throttled,
    Unavailable,
    Unclear,
    Unsent,
)
from lipsync_batch.runner.run import PROBE

PRICE = 240_000
"""What a generation should cost, in micro-USD."""
TIME_OUT = 30.0
"""How long an answer that never comes is waited for. Seconds."""
NEVER = float("inf")
LOG_PAGE = 1
"""Rows on a page of the log: so few that any look-up pages."""


class Answer(StrEnum):
    """How a submit goes."""

    TAKEN = "taken"
    LOST = "lost"  #: taken, but the answer never comes
    VANISHED = "vanished"  #: not taken, and no answer comes either
    MIXED_UP = "mixed up"  #: taken, but answered with the id of another generation
    THROTTLED = "throttled"
    FORBIDDEN = "forbidden"
    INVALID = "invalid"
    UNREACHABLE = "unreachable"
    BODY_CUT = "body cut"
    INPUT_CHANGED = "input changed"


class End(StrEnum):
    """What becomes of a generation."""

    FINISHED = "finished"
    ERROR = "error"  #: not charged, like the next
    PASSING_ERROR = "passing error"
    LINKLESS = "linkless"
    FORGOTTEN = "forgotten"  #: the provider knows its id no more


class Film(StrEnum):
    """How its link serves."""

    GOOD = "good"
    EXPIRED = "expired"  #: the first link is dead when it comes; the next is good
    GONE = "gone"
    BROKEN = "broken"  #: three transfers break
    BAD = "bad"  #: whole, and no video


@dataclass(frozen=True, kw_only=True)
class Fate:
    """How one submit goes and what becomes of its generation. Durations in seconds."""

    answer: Answer = Answer.TAKEN
    quote: int | None = PRICE
    logged_after: float = 0.0
    seconds: float = 34.0
    end: End = End.FINISHED
    film: Film = Film.GOOD


@dataclass(kw_only=True)
class Generation:
    """What the provider knows of one that it took."""

    request_id: str
    generation_id: str
    fingerprint: str
    started: float
    fate: Fate
    links: int = 0
    fetches: int = 0

    @property
    def charged(self) -> bool:
        """Those that end in an error are not."""
        return self.fate.end not in (End.ERROR, End.PASSING_ERROR)

    @property
    def content(self) -> bytes:
        """Its video: bytes that name it and nothing else."""
        return f"{self.generation_id} of {self.fingerprint}\n".encode()


@dataclass
class FaultyProvider(FakeProvider):
    """Deals out fates and troubles. `healthy` ends them all, for generations of the past as well."""

    healthy: bool = False
    fates: deque[Fate] = field(default_factory=deque)
    polls_to_come: deque[Check] = field(default_factory=deque)
    """Answers to the next polls, whichever they ask after."""
    outage: tuple[float, float] = (0.0, 0.0)
    """From when until when nothing can be reached, by the clock."""
    key_refused_until: float = 0.0
    log_told: Throttled | Denied | Unavailable | None = None
    slots: int | None = None
    generations: dict[str, Generation] = field(default_factory=dict)
    may_be_charged: dict[str, set[str]] = field(default_factory=dict)
    """By pair: client request ids that the caller was not told to be free of charge."""
    shown: set[str] = field(default_factory=set)
    """Client request ids that the log has named to the caller."""
    leaving: Callable[[Pair, str], None] = lambda *_: None
    """Called when a submit leaves."""
    taken_in: Callable[[Generation], None] = lambda _: None
    """Called when the provider has taken one."""
    posted: Callable[[], None] = lambda: None
    """Called after either: the caller may die now."""

    # Submits

    async def submit(self, pair: Pair, client_request_id: str, *, cut: asyncio.Event | None = None) -> Submission:
        self.leaving(pair, client_request_id)
        self.submitted.append(client_request_id)
        self.may_be_charged.setdefault(pair.fingerprint, set()).add(client_request_id)
        self.posted()
        await self.clock.sleep(self.latency)
        answer = await self._answer(pair, client_request_id)
        if isinstance(answer, Refused | NotSent):
            self._is_free(pair.fingerprint, client_request_id)
        return answer

    async def _answer(self, pair: Pair, request_id: str) -> Submission:
        if not self.healthy and self._down():
            return NotSent(reason=Unsent.UNREACHABLE, message="connection refused")
        if not self.healthy and self._key_refused():
            return _refused(Refusal.CREDENTIALS, 401)
        if not self.healthy and self.slots is not None and len(self.alive()) >= self.slots:
            return _refused(Refusal.THROTTLED, 429)
        fate = self.fates.popleft() if self.fates and not self.healthy else Fate()
        match fate.answer:
            case Answer.TAKEN:
                generation = self._take(pair, request_id, fate)
                await self.clock.sleep(self.latency)
                return Accepted(generation_id=generation.generation_id, quote=fate.quote)
            case Answer.LOST:
                self._take(pair, request_id, fate)
                return await self._time_out()
            case Answer.MIXED_UP:
                generation = self._take(pair, request_id, fate)
                await self.clock.sleep(self.latency)
                return Accepted(generation_id=next(iter(self.polls), generation.generation_id), quote=fate.quote)
            case Answer.VANISHED:
                return await self._time_out()
            case _:
                return _NOT_TAKEN[fate.answer]

    async def _time_out(self) -> Unclear:
        await self.clock.sleep(TIME_OUT)
        return Unclear(code="read_timeout", message="no answer came")

    def _take(self, pair: Pair, request_id: str, fate: Fate) -> Generation:
        generation = Generation(
            request_id=request_id,
            generation_id=self.accept(pair, request_id),
            fingerprint=pair.fingerprint,
            started=self.clock.now(),
            fate=fate,
        )
        self.generations[generation.generation_id] = generation
        self.taken_in(generation)
        self.posted()
        return generation

    def _is_free(self, fingerprint: str, request_id: str) -> None:
        self.may_be_charged[fingerprint].discard(request_id)

    # Reads

    async def check(self, generation_id: str) -> Check:
        if generation_id in self.generations:
            self.polls[generation_id] += 1
        await self.clock.sleep(self.latency)
        if not self.healthy:
            if self._down():
                return Unavailable(message="connection refused")
            if self._key_refused():
                return Denied(status=401, message="needs a valid API key")
            if self.polls_to_come and generation_id != PROBE:
                return self.polls_to_come.popleft()
        generation = self.generations.get(generation_id)
        return NotFound() if generation is None else self._standing(generation)

    def _standing(self, generation: Generation) -> Check:
        fate = generation.fate
        if fate.end is End.FORGOTTEN and not self.healthy:
            return NotFound()
        if self._runs(generation):
            return Running(status="generating")
        if not generation.charged:
            self._is_free(generation.fingerprint, generation.request_id)
            return errored(retryable=fate.end is End.PASSING_ERROR)
        if fate.end is End.LINKLESS and not self.healthy:
            return Finished(link=None)
        generation.links += 1
        link = f"https://cdn.example/{generation.generation_id}?link={generation.links}"
        return Finished(link=link, file_size=len(generation.content))

    async def find(
        self, *, since: datetime, until: datetime, offset: int = 0
    ) -> LogPage | Throttled | Denied | Unavailable:
        await self.clock.sleep(self.latency)
        if not self.healthy:
            if self._down():
                return Unavailable(message="connection refused")
            if self._key_refused():
                return Denied(status=401, message="needs a valid API key")
            if self.log_told is not None:
                return self.log_told
        rows = [self._row(generation) for generation in self.generations.values() if self._is_logged(generation)]
        rows = [row for row in rows if row.created is not None and since <= row.created <= until][::-1]
        page, end = rows[offset : offset + LOG_PAGE], offset + LOG_PAGE
        self.shown |= {row.client_request_id for row in page}
        return LogPage(rows=tuple(page), next_offset=end if len(rows) > end else None)

    def _row(self, generation: Generation) -> LogRow:
        return LogRow(
            client_request_id=generation.request_id,
            generation_id=generation.generation_id,
            failed=not generation.charged,
            created=self.at(generation.started),
            cost=generation.fate.quote,
        )

    def _is_logged(self, generation: Generation) -> bool:
        return self.healthy or self.clock.now() >= generation.started + generation.fate.logged_after

    # The truth

    @contextmanager
    def answering(self) -> Iterator[None]:
        """For a while nothing goes wrong with what it is asked."""
        healthy, self.healthy = self.healthy, True
        try:
            yield
        finally:
            self.healthy = healthy

    def at(self, seconds: float) -> datetime:
        """The instant at which the clock stood so."""
        return datetime.fromtimestamp(START.timestamp() + seconds, START.tzinfo)

    def alive(self) -> list[Generation]:
        """Generations that hold a slot now."""
        return [generation for generation in self.generations.values() if self._runs(generation)]

    def links_die(self, fingerprint: str) -> None:
        """From now on the videos of a pair are nowhere to be had."""
        for generation in self.generations.values():
            if generation.fingerprint == fingerprint:
                generation.fate = replace(generation.fate, film=Film.GONE)

    def paid(self, fingerprint: str) -> int:
        """How often a pair was charged."""
        return sum(g.charged for g in self.generations.values() if g.fingerprint == fingerprint)

    def of(self, request_id: str) -> Generation | None:
        """What a submit became, if it was taken."""
        return next((g for g in self.generations.values() if g.request_id == request_id), None)

    def _runs(self, generation: Generation) -> bool:
        seconds = min(generation.fate.seconds, 34.0) if self.healthy else generation.fate.seconds
        return self.clock.now() < generation.started + seconds

    def _down(self) -> bool:
        start, end = self.outage
        return start <= self.clock.now() < end

    def _key_refused(self) -> bool:
        return self.clock.now() < self.key_refused_until


def _refused(kind: Refusal, status: int) -> Refused:
    return Refused(kind=kind, code=f"http_{status}", message=f"{status} {kind}", status=status)


_NOT_TAKEN: dict[Answer, Refused | NotSent] = {
    Answer.THROTTLED: _refused(Refusal.THROTTLED, 429),
    Answer.FORBIDDEN: _refused(Refusal.FORBIDDEN, 403),
    Answer.INVALID: _refused(Refusal.INVALID, 400),
    Answer.UNREACHABLE: NotSent(reason=Unsent.UNREACHABLE, message="connection refused"),
    Answer.BODY_CUT: NotSent(reason=Unsent.BODY_CUT, message="broken pipe"),
    Answer.INPUT_CHANGED: NotSent(reason=Unsent.INPUT_CHANGED, message="clip.mp4 changed"),
}


class FaultyNetwork:
    """Serves the films of a provider's generations, as their fates say."""

    room = 4
    away = False

    def __init__(self, provider: FaultyProvider) -> None:
        self._provider = provider
        self.broken_off = False

    @property
    def _clock(self) -> VirtualClock:
        return self._provider.clock

    def listen(self, changed: Callable[[], None]) -> None:
        """Nothing changes."""

    async def fetch(self, link: str, destination: Path, expected: Expected) -> Outcome:
        """Half of the file, then the other half: a kill between the two leaves it so."""
        generation_id, _, number = link.removeprefix("https://cdn.example/").partition("?link=")
        generation = self._provider.generations[generation_id]
        generation.fetches += 1
        await self._clock.sleep(0.25)
        fault = None if self._provider.healthy else _fault(generation, int(number))
        if fault is not None:
            return fault
        content = generation.content
        half = len(content) // 2
        with destination.open("wb") as file:
            file.write(content[:half])
            file.flush()
            await self._clock.sleep(0.25)
            if self.broken_off:
                return Stopped()
            file.write(content[half:])
        assert expected.bytes in (None, len(content))
        media = MediaInfo(duration=1.0, has_video=True, has_audio=True, width=64, height=64)
        return Fetched(info=FileInfo(bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), media=media))

    def break_off(self) -> None:
        self.broken_off = True

    def close(self) -> None: ...


def _fault(generation: Generation, link: int) -> Outcome | None:
    match generation.fate.film:
        case Film.EXPIRED if link == 1:
            return LinkDead(status=403, reason="the link answers 403")
        case Film.GONE:
            return LinkDead(status=404, reason="the link answers 404")
        case Film.BROKEN if generation.fetches <= 3:
            return Broken(reason="connection reset")
        case Film.BAD:
            return BadFile(reason="no audio stream")
        case _:
            return None
