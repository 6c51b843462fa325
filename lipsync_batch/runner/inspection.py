"""The inspection: is every file that was finished in an earlier run still there, and whole?

It goes on behind the other lanes, a page at a time, since half a million files are more than anyone would wait for
before the first submit. What is missing or damaged becomes `ready`, and is fetched again by the download lane.

A store is listed, a thousand videos a request; what that shows otherwise than it was is asked about one by one. It may
be out of order for a while, as any server: then the inspection waits, and the other lanes go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lipsync_batch import files
from lipsync_batch.errors import OutputStoreError, UnlistableError
from lipsync_batch.events import Moved, Noticed
from lipsync_batch.jobs import State
from lipsync_batch.runner.arrange import Arranger
from lipsync_batch.runner.context import Context
from lipsync_batch.runner.shelves import AT_ONCE, THREADS
from lipsync_batch.store.file_reads import Finished

PAGE = 200
"""Pairs that are asked for at once: the other lanes wait for no longer than that takes, some two milliseconds."""

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds between two tries of a store that does not answer."""
T = TypeVar("T")


class Inspection:
    """The lane that looks at finished files."""

    def __init__(self, context: Context, *, verify: bool) -> None:
        """With `verify` each file is read again and compared with the checksum that was committed for it."""
        self._context = context
        self._verify = verify
        self._stopping = context.stop.requested
        self._arranger = Arranger(
            context.folder, context.shelf, context.reads, context.ledger, context.events, self._stopping
        )
        self._listed = False
        self._after = 0
        """The number of the last pair that was looked at."""
        self.over = False
        """Nothing more will be found missing: until then the run goes on."""

    async def run(self) -> None:
        """Look at every finished file once; a stop ends it. DiskError where the folder cannot be read or written."""
        context = self._context
        try:
            with files.disk_faults(context.folder.root):
                await self._patiently(self._list)
                while not self._stopping.is_set() and await self._patiently(self._look_at_page):
                    pass
        finally:
            self.over = True
            context.wake()

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T | None:
        """A step that may ask a store; None where the run is over before that answers. OutputStoreError in the end."""
        context, pause = self._context, FIRST_PAUSE
        until = context.clock.now() + context.options.patience
        while not self._stopping.is_set():
            try:
                return await step()
            except OutputStoreError as error:
                if context.clock.now() + pause > until:
                    raise
                message = f"finished videos cannot be looked at, again in {pause:.0f} s: {error}"
                context.events.emit(Noticed(message=message))
            await context.clock.wait(self._stopping, pause)
            pause = min(LONGEST_PAUSE, 2 * pause)
        return None

    async def _list(self) -> None:
        """What stands in a store, into a table that the pages are compared with."""
        context = self._context
        if not context.shelf.is_far or self._verify:
            return
        context.reads.forget_listing()
        pages = context.shelf.listing()
        try:
            while (
                not self._stopping.is_set() and (page := await context.clock.in_thread(next, pages, None)) is not None
            ):
                context.reads.note_listed(page)
        except UnlistableError as error:
            context.events.emit(Noticed(message=f"each finished video is asked for by itself: {error}"))
            return
        self._listed = True

    async def _look_at_page(self) -> bool:
        """The next page of finished pairs; whether there was one."""
        context = self._context
        page = context.reads.finished(self._after, PAGE, listed=self._listed)
        doubted = [pair for pair in page if pair.unplaced or not pair.sure]
        for pair, good in await context.clock.in_thread(self._look, doubted):
            await self._settle(pair, good)
        if tagged := self._tagged(doubted):
            await context.ledger.outputs_tagged(tagged)
        self._after = page[-1].number if page else self._after
        return bool(page)

    def _tagged(self, page: Sequence[Finished]) -> list[tuple[str, str, str]]:
        tag = self._context.shelf.tag
        return [(path, pair.fingerprint, found) for pair in page for path in pair.paths if (found := tag(path))]

    def _look(self, page: Sequence[Finished]) -> list[tuple[Finished, list[str]]]:
        """The pairs with which something is wrong, each with those of its paths where a good file stands."""
        if not self._context.shelf.is_far:
            return [found for pair in page if (found := self._trouble(pair)) is not None]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix=THREADS) as threads:
            return [found for found in threads.map(self._trouble, page) if found is not None]

    def _trouble(self, pair: Finished) -> tuple[Finished, list[str]] | None:
        """Where a good file of a pair stands, if that is not everywhere where it should."""
        if self._stopping.is_set():
            return None
        good = [path for path in pair.paths if self._stands(path, pair)]
        return (pair, good) if pair.unplaced or not good or len(good) < len(pair.paths) else None

    def _stands(self, path: str, pair: Finished) -> bool:
        return self._context.shelf.stands(path, size=pair.bytes, sha256=pair.sha256, read=self._verify)

    async def _settle(self, pair: Finished, good: Sequence[str]) -> None:
        """A finished pair keeps only outputs that are there; with none left it is fetched again."""
        context, fingerprint = self._context, pair.fingerprint
        # Another lane may have put a file of its own there since: what is not this pair's any more is none of its loss.
        bad = [p for p in pair.paths if p not in good and context.reads.output_owner(p) == fingerprint]
        wanted = context.reads.wanted_outputs(fingerprint)
        if good:
            if bad:
                await context.ledger.outputs_gone(bad)
            async with context.names:
                await self._arranger.place(fingerprint)
        elif wanted:
            await context.ledger.output_missing(fingerprint, bad)
            context.events.emit(Moved(name=wanted[0], pair=fingerprint, old=State.DONE, new=State.READY))
            message = "the finished video is missing or damaged: it is fetched again"
            context.events.emit(Noticed(message=message, name=wanted[0]))
            context.wake()
