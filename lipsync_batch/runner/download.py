"""The download lane: finished generations become files, whole and right under their final names.

The order of each: fetch beside the final name, length, media check, fsync; sha256 committed; rename; fsync of the
folder; `done`. In a store the rename is an upload to a name that nobody looks at, and a copy to the final one. Whatever
moment the process dies in, the next run sees which of these steps were made.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from lipsync_batch import files
from lipsync_batch.errors import OutputStoreError
from lipsync_batch.events import Downloaded, Event, Moved, Noticed
from lipsync_batch.fetching.fetch import (
    BadFile,
    Broken,
    DiskBroken,
    DiskFull,
    Expected,
    Fetched,
    LinkDead,
    Outcome,
    Stopped,
)
from lipsync_batch.fetching.part import discard
from lipsync_batch.jobs import FileInfo, State, StopReason
from lipsync_batch.media import suspect
from lipsync_batch.runner.arrange import clear, short
from lipsync_batch.runner.context import Context
from lipsync_batch.runner.fetchers import Fetcher
from lipsync_batch.runner.poll import PollLane
from lipsync_batch.runner.shelves import BrokenOffError, Naming
from lipsync_batch.store.lane_reads import Arrival

LINK_REFRESHES = 6
"""How often the provider is asked for a fresh link; the pauses double from 1 s."""
BROKEN = 6
"""How often a transfer may fail for good, each time after reconnects of its own; the pauses double from 2 s."""
ROUNDS_A_LINK = 2
"""After so many failed rounds the provider is asked for another link."""
REFUSED = 6
"""How often a store may refuse a video while it takes others; the pauses double from 2 s."""
LONGEST_PAUSE = 60.0
PAGE = 64
"""Ready pairs that are read from jobs.db at once."""
BUSY = 256
"""Pairs that may be on their way to their final name at once, whether they are fetched or wait for the disk."""


class Landed:
    """A file that an earlier run gave its final name, and could not say so any more."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A whole file whose checksum is committed, one step from its final name."""

    name: Naming


class DownloadLane:
    """Ready pairs, oldest link first, so many at a time."""

    def __init__(self, context: Context, polls: PollLane, fetcher: Fetcher) -> None:
        self._context = context
        self._polls = polls
        self._fetcher = fetcher
        self._busy: set[str] = set()
        self._fetching = 0
        """How many of those are still being fetched; the others only wait for the disk."""
        self._broken: dict[str, int] = {}
        self._landed = 0
        """Videos that have come to their places."""
        self._tried_another = float("-inf")
        """When a video was begun although so many wait for a store."""
        self._refused: dict[str, tuple[int, int]] = {}
        """How often the store did not take a video that waits on this disk, and how many had landed before."""
        self._resting: dict[str, float] = {}
        """Pairs whose transfer failed, with the time until which they are left alone."""
        self._page: deque[Arrival] = deque()
        """The next ones. Nobody but this lane moves a pair that is ready, so they stay as they were read."""
        self._more = True
        """Whether there may be ready pairs in jobs.db beyond those."""
        self._folders: set[Path] = set()
        """Those that are known to be there."""
        context.events.listen(self._hear)
        fetcher.listen(context.wake)

    @property
    def away(self) -> bool:
        """Whether nothing can be fetched now, for want of those who would."""
        return self._fetcher.away

    @property
    def idle(self) -> bool:
        """Whether nothing is being fetched, and nothing is there to fetch, now or after a rest."""
        return not (self._busy or self._resting or self._page or self._more)

    @property
    def held_up(self) -> bool:
        """Whether all that is left waits for a store that does not take it: who knows for how long."""
        others = self._resting.keys() - self._refused.keys()
        if self._busy or others or not self._refused:
            return False
        return self._must_wait(self._page[0]) if self._page else not self._more

    def break_off(self) -> None:
        """What is being fetched ends as soon as it can; the next run goes on where it stands."""
        self._fetcher.break_off()
        self._context.shelf.break_off()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Moved) and event.new is State.READY:
            self._more = True

    async def run(self) -> None:
        """Fetch until the run stops; what is on its way then is finished or broken off by the stop's own clock."""
        async with asyncio.TaskGroup() as group:
            while not self._context.stop.requested.is_set():
                with self._context.in_order():
                    for arrival in self._next():
                        self._busy.add(arrival.fingerprint)
                        self._fetching += 1
                        group.create_task(self._collect(arrival))
                await self._wait()

    def _next(self) -> list[Arrival]:
        now = self._context.clock.now()
        over = [fingerprint for fingerprint, until in self._resting.items() if until <= now]
        for fingerprint in over:
            del self._resting[fingerprint]
            self._more = True
            if fingerprint in self._refused:
                self._page.clear()  # it is older than what was read meanwhile, and comes first when that is read again
        room = self._fetcher.room
        free = min(room - self._fetching, max(BUSY, 2 * room) - len(self._busy))
        if self._more and len(self._page) < free:
            self._turn_page(max(PAGE, free))
        taken: list[Arrival] = []
        while self._page and len(taken) < free and not self._must_wait(self._page[0]):
            taken.append(self._page.popleft())
            if len(self._refused) >= self._context.options.downloads:
                self._tried_another = now
        return taken

    def _must_wait(self, arrival: Arrival) -> bool:
        """Whether no other video may come to this disk now: so many wait on it for a store that does not take them.

        One does, now and then: it may be their names that are refused, and no others.
        """
        waiting = self._refused
        if len(waiting) < self._context.options.downloads or arrival.fingerprint in waiting:
            return False
        return self._context.clock.now() < self._tried_another + LONGEST_PAUSE

    def _turn_page(self, size: int) -> None:
        page = self._context.reads.arrivals(size, exclude=[*self._busy, *self._resting])
        self._page = deque(page)
        self._more = len(page) == size
        if self.idle:
            self._context.changed.set()  # whoever asked before heard that there might be more

    async def _wait(self) -> None:
        """Until something changed, or a rest is over."""
        context = self._context
        context.arrived.clear()
        rests = [until - context.clock.now() for until in self._resting.values()]
        await context.clock.wait(context.arrived, max(0.0, min(rests)) if rests else None)

    async def _collect(self, arrival: Arrival) -> None:
        context = self._context
        try:
            with context.in_order(), files.disk_faults(context.folder.root):
                try:
                    await self._collect_one(arrival)
                except BrokenOffError:
                    pass  # the run ends; the next one carries it
                except OutputStoreError as error:
                    if not context.stop.requested.is_set():
                        await self._rest_for(arrival, f"{error}")
                except OSError as error:
                    if error.errno not in files.OF_ONE_NAME:
                        raise
                    await self._fail(arrival, "output_blocked", f"{error.filename}: {error.strerror}")
        finally:
            self._busy.discard(arrival.fingerprint)
            context.wake()

    async def _collect_one(self, arrival: Arrival) -> None:
        folder, tag = self._context.folder, _tag(arrival)
        with self._slot():
            paths = arrival.outputs or (await self._unwanted_path(arrival, tag),)
            part = folder.part(paths[0], tag)
            outcome = await self._bring(arrival, paths[0], part)
            # What waits to be carried away takes room on the disk.
            if self._context.shelf.is_far and not (isinstance(outcome, Fetched) and outcome.staged):
                await self._record(arrival, paths, part, outcome)
                return
        await self._record(arrival, paths, part, outcome)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """One of the downloads at a time, given back while its file still waits for the disk."""
        try:
            yield
        finally:
            self._fetching -= 1
            self._context.arrived.set()

    async def _rest_for(self, arrival: Arrival, reason: str) -> None:
        """A store that does not take a video now may do so later: it waits on the disk, and was paid for once.

        Longer each time, and without an end: its store is not its fault. But where that takes others meanwhile, it is.
        """
        rounds, landed_before = self._refused.get(arrival.fingerprint, (0, self._landed))
        if rounds >= REFUSED and self._landed > landed_before:
            await self._fail(arrival, "output_blocked", f"its store takes other videos, and not this one: {reason}")
            return
        self._refused[arrival.fingerprint] = (rounds + 1, landed_before)
        pause = min(LONGEST_PAUSE, 2.0 ** min(rounds + 1, REFUSED))
        self._resting[arrival.fingerprint] = self._context.clock.now() + pause
        message = f"the video could not be put into its store, again in {pause:.0f} s: {reason}"
        self._context.events.emit(Noticed(message=message, name=arrival.name))

    async def _bring(self, arrival: Arrival, path: str, part: Path) -> Outcome | Landed | Carried:
        """The file, from the network or from an earlier run, under one of its two names; or why it does not come."""
        if arrival.sha256 is not None:
            found = await self._left_over(path, part, arrival)
            if found is not None:
                return found
        if arrival.link is None:
            return LinkDead(status=None, reason="the link is not known")
        if part.parent not in self._folders:
            part.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(part.parent)
        check: Literal["media", "size"] = "size" if self._context.options.check == "size" else "media"
        expected = Expected(bytes=arrival.link_bytes, check=check)
        outcome = await self._fetcher.fetch(arrival.link, part, expected)
        if not isinstance(outcome, Fetched):
            self._folders.discard(part.parent)  # it may be that somebody took it away
        return outcome

    async def _left_over(self, path: str, part: Path, arrival: Arrival) -> Landed | Carried | None:
        """How far an earlier run came with the file whose checksum it committed; a file is read whole for that."""
        shelf, in_thread = self._context.shelf, self._context.clock.in_thread
        assert arrival.sha256 is not None
        size, sha256 = arrival.bytes, arrival.sha256
        if await in_thread(shelf.stands, path, size=size, sha256=sha256, read=True):
            return Landed()
        if (naming := await shelf.arrived(_tag(arrival), sha256=sha256)) is not None:
            return Carried(naming)
        if await in_thread(files.matches, part, size=size, sha256=sha256):
            return Carried(await shelf.bring(part, _tag(arrival), sha256=sha256))
        return None

    async def _unwanted_path(self, arrival: Arrival, tag: str) -> str:
        """No job wants the video any more, but it was paid for: it is kept aside."""
        known = [path for path in self._context.reads.outputs(arrival.fingerprint) if path.startswith(files.SUPERSEDED)]
        return known[0] if known else await self._context.shelf.superseded(arrival.last_output, tag)

    async def _record(
        self, arrival: Arrival, paths: tuple[str, ...], part: Path, outcome: Outcome | Landed | Carried
    ) -> None:
        match outcome:
            case Landed():
                discard(part)
                await self._finish(arrival, paths)
            case Carried(name=naming):
                await self._place(arrival, paths, part, naming)
            case Fetched():
                self._context.events.emit(Downloaded(bytes=outcome.info.bytes))
                await self._land(arrival, paths, part, outcome)
            case LinkDead(reason=reason):
                await self._refresh(arrival, reason)
            case Broken(reason=reason, retry_after=retry_after):
                await self._rest(arrival, reason, retry_after)
            case BadFile(reason=reason):
                discard(part)
                await self._fail(arrival, "bad_file", f"the provider's file is not a usable video: {reason}")
            case DiskFull(reason=reason):
                self._context.stop.request(StopReason.DISK_FULL, f"{part}: {reason}. {files.REMEDY_FULL}")
            case DiskBroken(reason=reason):
                self._context.stop.request(StopReason.DISK_ERROR, f"{part}: {reason}. {files.REMEDY_OTHER}")
            case Stopped():
                pass

    async def _land(self, arrival: Arrival, paths: tuple[str, ...], part: Path, fetched: Fetched) -> None:
        context, info = self._context, fetched.info
        doubt = suspect(info.media, arrival.speech_seconds) if info.media else None
        await context.ledger.keep_file(arrival.fingerprint, info, doubt)
        if await context.shelf.occupied(paths[0]) and await self._is_its_own(paths[0], arrival, info):
            discard(part)  # what a worker left besides is swept away with the rest
            await self._finish(arrival, paths)
            return
        if fetched.staged is not None:
            naming: Naming = partial(context.shelf.land, fetched.staged, sha256=info.sha256)
        else:
            naming = await context.shelf.bring(part, _tag(arrival), sha256=info.sha256)
        await self._place(arrival, paths, part, naming, lies_alone=fetched.lies_alone)

    async def _is_its_own(self, path: str, arrival: Arrival, info: FileInfo) -> bool:
        """Whether what stands there is this video, and no other pair's: a jobs.db that was made again may not know."""
        context = self._context
        if context.reads.output_owner(path) not in (None, arrival.fingerprint):
            return False
        stands = context.shelf.stands
        return await context.clock.in_thread(stands, path, size=info.bytes, sha256=info.sha256, read=True)

    async def _place(
        self, arrival: Arrival, paths: tuple[str, ...], part: Path, naming: Naming, *, lies_alone: bool = False
    ) -> None:
        """A whole file whose checksum is committed gets its names, and its pair is done."""
        occupied = False
        for path in paths:
            occupied = occupied or await self._context.shelf.occupied(path)
        if occupied:
            async with self._context.names:
                await self._clear(paths[0])
                await self._name(arrival, paths, part, naming, lies_alone=lies_alone)
        else:
            await self._name(arrival, paths, part, naming, lies_alone=lies_alone)

    async def _name(
        self, arrival: Arrival, paths: tuple[str, ...], part: Path, naming: Naming, *, lies_alone: bool
    ) -> None:
        await naming(paths[0])
        if not lies_alone:
            discard(part)
        await self._finish(arrival, paths)

    async def _finish(self, arrival: Arrival, paths: tuple[str, ...]) -> None:
        """The first job has its file; the others that want the same pair get it as a hard link."""
        shelf = self._context.shelf
        for path in paths[1:]:
            if await shelf.same(paths[0], path):
                continue  # it stands there, and the run that put it there could not say so any more
            await self._clear(path)
            await shelf.duplicate(paths[0], path)
        tags = {path: tag for path in paths if (tag := shelf.tag(path)) is not None}
        await self._context.ledger.done(arrival.fingerprint, paths, superseded=not arrival.outputs, tags=tags)
        self._broken.pop(arrival.fingerprint, None)
        self._landed += 1
        self._refused.pop(arrival.fingerprint, None)
        self._tell(arrival, State.DONE)

    async def _clear(self, path: str) -> None:
        context = self._context
        await clear(path, context.shelf, context.reads, context.ledger, context.events)

    async def _refresh(self, arrival: Arrival, reason: str) -> None:
        """The link is dead: the provider is asked for a fresh one, so often; never for a new generation."""
        if arrival.link_refreshes >= LINK_REFRESHES:
            code = "output_gone" if arrival.sha256 else "link_dead"
            await self._fail(arrival, code, f"the provider gave no working link to the video: {reason}")
            return
        self._refused.pop(arrival.fingerprint, None)
        await self._context.ledger.refresh_link(arrival.fingerprint)
        self._tell(arrival, State.SUBMITTED, message=reason)
        self._polls.board_again(arrival.fingerprint)

    async def _rest(self, arrival: Arrival, reason: str, retry_after: float | None) -> None:
        """The transfer failed: leave it alone for a while, and give it up after so many rounds."""
        rounds = self._broken[arrival.fingerprint] = self._broken.get(arrival.fingerprint, 0) + 1
        if rounds >= BROKEN:
            await self._fail(arrival, "download_failed", f"the video could not be fetched: {reason}")
            return
        if rounds % ROUNDS_A_LINK == 0 and arrival.link_refreshes < LINK_REFRESHES:
            await self._refresh(arrival, reason)  # perhaps the host of the link is gone, and not only for a moment
            return
        pause = max(retry_after or 0.0, min(LONGEST_PAUSE, 2.0**rounds))
        self._resting[arrival.fingerprint] = self._context.clock.now() + pause
        self._context.events.emit(
            Noticed(message=f"download broke off, again in {pause:.0f} s: {reason}", name=arrival.name)
        )

    async def _fail(self, arrival: Arrival, code: str, message: str) -> None:
        self._broken.pop(arrival.fingerprint, None)
        self._refused.pop(arrival.fingerprint, None)
        await self._context.ledger.fail(arrival.fingerprint, State.READY, code=code, message=message)
        self._tell(arrival, State.FAILED, code=code, message=message)

    def _tell(self, arrival: Arrival, new: State, *, code: str | None = None, message: str | None = None) -> None:
        self._context.moved()
        self._context.events.emit(
            Moved(
                name=arrival.name,
                pair=arrival.fingerprint,
                old=State.READY,
                new=new,
                wanted=bool(arrival.outputs),
                generation_id=arrival.generation_id,
                code=code,
                message=message,
            )
        )


def _tag(arrival: Arrival) -> str:
    """Names a generation in file names. Not by its id, which may hold `/` or `:`, or begin with `-`."""
    return f"{short(arrival.fingerprint)}-{arrival.attempt}"
