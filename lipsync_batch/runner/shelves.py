"""Where finished videos stand: in the batch folder, or in object storage. What the lanes ask of either is the same.

Paths are those of jobs.db. What takes long is done in threads, as the loop must go on polling.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from lipsync_batch import files
from lipsync_batch.clock import Clock
from lipsync_batch.fetching import arrivals
from lipsync_batch.fetching.part import discard
from lipsync_batch.files import Folder
from lipsync_batch.runner.landing import Landing
from lipsync_batch.storage.arriving import tag_of
from lipsync_batch.storage.folder import Listed, Standing, UploadStoppedError
from lipsync_batch.storage.outputs import OutputStore

T = TypeVar("T")
Naming = Callable[[str], Awaitable[None]]
"""Gives a file that is whole and near its final name, durably, in one step. Nothing may stand there."""

AT_ONCE = 16
"""What is asked of a store at once."""
UPLOADS = 8
"""Videos that are on their way into a store at once: each takes the memory of some pieces."""
THREADS = "store"
"""What the threads are called that speak to a store: one that hangs must not keep the process."""


class BrokenOffError(Exception):
    """What was being carried is left where it was, for the run ends."""


class Shelf(Protocol):
    """Holds videos by path. DiskError, or OSError for one of the folder's own, where it does not."""

    is_far: bool
    """Whether a video has to be carried there, and each question takes its time."""

    async def occupied(self, path: str) -> bool:
        """Whether anything stands there."""

    async def bring(self, part: Path, tag: str, *, sha256: str) -> Naming:
        """Carry a whole, checked file so far that naming it is one step. `tag` names its generation.

        When it has its name the part is gone. BrokenOffError where the run is told to end first.
        """

    async def arrived(self, tag: str, *, sha256: str) -> Naming | None:
        """The same for one that an earlier run had carried so far; None where there is none with that content."""

    async def land(self, staged: str, path: str, *, sha256: str) -> None:
        """Give one that another machine had carried so far its name, on which nothing may stand."""

    def break_off(self) -> None:
        """What is being carried ends as soon as it can; the next run begins it anew."""

    async def move(self, source: str, target: str) -> None:
        """Give a video another name, on which nothing may stand but a copy of it."""

    async def duplicate(self, source: str, target: str) -> None:
        """The same video under a second name."""

    async def same(self, one: str, other: str) -> bool:
        """Whether two names stand for the same content."""

    async def superseded(self, output: str, tag: str) -> str:
        """A free path in `superseded/` for what is, or was, at `output`."""

    def stands(self, path: str, *, size: int | None, sha256: str | None, read: bool) -> bool:
        """Whether what was committed stands there; read whole where asked for. Blocks."""

    def tag(self, path: str) -> str | None:
        """What a store knows a video by that was just put there, or seen to be right; None for files. Said once."""

    def listing(self) -> Iterator[list[Listed]]:
        """All that stands in a store, in pages; nothing of a folder, whose files are soon looked at. Blocks."""


class FolderShelf:
    """The batch folder."""

    is_far = False

    def __init__(self, folder: Folder, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._landing = Landing(clock)

    async def occupied(self, path: str) -> bool:
        return files.occupied(self._folder.path(path))

    async def bring(self, part: Path, tag: str, *, sha256: str) -> Naming:  # noqa: ARG002 - a rename is all it takes
        async def name(path: str) -> None:
            await self._landing.land(part, self._folder.path(path))

        return name

    async def arrived(self, tag: str, *, sha256: str) -> Naming | None:
        staged = await self._clock.in_thread(arrivals.found, self._folder.root, tag, sha256)
        return None if staged is None else partial(self.land, staged, sha256=sha256)

    async def land(self, staged: str, path: str, *, sha256: str) -> None:  # noqa: ARG002 - a file needs no note of it
        part = self._folder.root / staged
        await self._landing.land(part, self._folder.path(path))
        discard(part)

    def break_off(self) -> None:
        pass

    async def move(self, source: str, target: str) -> None:
        await self._clock.in_thread(files.land, self._folder.path(source), self._folder.path(target))

    async def duplicate(self, source: str, target: str) -> None:
        await self._clock.in_thread(files.duplicate, self._folder.path(source), self._folder.path(target))

    async def same(self, one: str, other: str) -> bool:
        return await self._clock.in_thread(files.same, self._folder.path(one), self._folder.path(other))

    async def superseded(self, output: str, tag: str) -> str:
        return self._folder.superseded(output, tag)

    def stands(self, path: str, *, size: int | None, sha256: str | None, read: bool) -> bool:
        file = self._folder.path(path)
        if read and sha256 is not None:
            return files.matches(file, size=size, sha256=sha256)
        try:
            return file.is_file() and size in (None, file.stat().st_size)
        except OSError:
            return False

    def tag(self, path: str) -> str | None:  # noqa: ARG002 - files have none
        return None

    def listing(self) -> Iterator[list[Listed]]:
        return iter(())


class StoreShelf:
    """A folder in object storage."""

    is_far = True

    def __init__(self, store: OutputStore, arrived: Sequence[str] = ()) -> None:
        """`arrived` is what earlier runs uploaded and could not give a name any more; what this one does joins it."""
        self._store = store
        self._arrived = list(arrived)
        self._questions = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=THREADS)
        self._uploads = ThreadPoolExecutor(UPLOADS, thread_name_prefix=THREADS)
        self._broken_off = threading.Event()
        self._tags: dict[str, str] = {}
        """Of what was put or seen there, until somebody asks."""

    def close(self) -> None:
        """Begin nothing more."""
        self.break_off()
        for threads in (self._questions, self._uploads):
            threads.shutdown(wait=False, cancel_futures=True)

    def break_off(self) -> None:
        self._broken_off.set()

    async def _do(self, step: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._questions, partial(step, *arguments))

    async def occupied(self, path: str) -> bool:
        return await self._do(self._store.occupied, path)

    async def bring(self, part: Path, tag: str, *, sha256: str) -> Naming:
        upload = partial(self._store.stage, part, tag, sha256=sha256, stop=self._broken_off.is_set)
        try:
            staged = await asyncio.get_running_loop().run_in_executor(self._uploads, upload)
        except UploadStoppedError as error:
            raise BrokenOffError from error
        self._arrived.append(staged)  # where it cannot be named now, it need not be uploaded again

        async def name(path: str) -> None:
            await self.land(staged, path, sha256=sha256)
            await self._do(part.unlink)

        return name

    async def arrived(self, tag: str, *, sha256: str) -> Naming | None:
        for staged in [path for path in self._arrived if tag_of(path) == tag]:
            if await self._do(partial(self._store.stands, staged, size=None, sha256=sha256)):
                return partial(self.land, staged, sha256=sha256)
        return None

    async def land(self, staged: str, path: str, *, sha256: str) -> None:
        """Give what was uploaded its final name."""
        self._note(path, await self._do(partial(self._store.land, staged, path, sha256=sha256)))
        with suppress(ValueError):
            self._arrived.remove(staged)

    async def move(self, source: str, target: str) -> None:
        await self._do(self._store.move, source, target)

    async def duplicate(self, source: str, target: str) -> None:
        self._note(target, await self._do(self._store.copy, source, target))

    async def same(self, one: str, other: str) -> bool:
        return await self._do(self._store.same, one, other)

    async def superseded(self, output: str, tag: str) -> str:
        number = 0
        while True:
            path = files.superseded_name(output, tag, number)
            if not await self.occupied(path):
                return path
            number += 1

    def stands(self, path: str, *, size: int | None, sha256: str | None, read: bool) -> bool:
        found = self._store.standing(path)
        if found is None or size not in (None, found.size) or sha256 not in (None, found.sha256):
            return False
        if read and sha256 is not None and not self._store.verified(path, sha256=sha256):
            return False
        self._note(path, found)
        return True

    def _note(self, path: str, standing: Standing) -> None:
        if standing.tag is not None:
            self._tags[path] = standing.tag

    def tag(self, path: str) -> str | None:
        return self._tags.pop(path, None)

    def listing(self) -> Iterator[list[Listed]]:
        return self._store.listing()
