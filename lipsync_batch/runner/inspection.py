"""The inspection: is every file that was finished in an earlier run still there, and whole?

It goes on behind the other lanes, a page at a time, since half a million files are more than anyone would wait for
before the first submit. What is missing or damaged becomes `ready`, and is fetched again by the download lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lipsync_batch import files
from lipsync_batch.events import Moved, Noticed
from lipsync_batch.jobs import State
from lipsync_batch.runner.arrange import Arranger
from lipsync_batch.runner.context import Context
from lipsync_batch.runner.shelves import AT_ONCE
from lipsync_batch.store.file_reads import Finished

PAGE = 200
"""Pairs that are asked for at once: the other lanes wait for no longer than that takes, some two milliseconds."""


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
        self.over = False
        """Nothing more will be found missing: until then the run goes on."""

    async def run(self) -> None:
        """Look at every finished file once; a stop ends it. DiskError where the folder cannot be read or written."""
        context = self._context
        try:
            with files.disk_faults(context.folder.root):
                after = 0
                while not self._stopping.is_set() and (page := context.reads.finished(after, PAGE)):
                    for pair, good in await context.clock.in_thread(self._look, page):
                        await self._settle(pair, good)
                    after = page[-1].number
        finally:
            self.over = True
            context.wake()

    def _look(self, page: Sequence[Finished]) -> list[tuple[Finished, list[str]]]:
        """The pairs with which something is wrong, each with those of its paths where a good file stands."""
        if not self._context.shelf.is_far:
            return [found for pair in page if (found := self._trouble(pair)) is not None]
        with ThreadPoolExecutor(AT_ONCE) as threads:
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
