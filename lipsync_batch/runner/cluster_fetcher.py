"""Downloads by the workers of a cluster. No byte comes to this machine: they go to a shared folder, or to a store.

A worker leaves a file under a name of its own; final names are given by this process alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lipsync_batch.cluster.connection import Cluster, ErrandError, HaltedError
from lipsync_batch.cluster.errands import Bug, Ended, Errand, NotKept, Place, SharedFolder, Unfit, bring
from lipsync_batch.errors import OutputStoreError
from lipsync_batch.fetching.fetch import Broken, Expected, Fetched, Outcome, Stopped
from lipsync_batch.files import tag_of_part
from lipsync_batch.version import VERSION

SEEN_WITHIN = 5.0
"""Seconds until a file that a worker wrote is seen here: network drives take their time."""
SEEN_LOOKS = 0.5
GIVEN = 1_800.0
"""Seconds that a video may take, ..."""
SLOWEST = 20_000
"""... and one more for so many of its bytes."""
UNKNOWN = 50_000_000
"""Bytes that a video counts as whose length is not known."""


class ClusterFetcher:
    """Hands downloads to a cluster, as many as its workers take at once."""

    def __init__(
        self, cluster: Cluster, *, batch: str, place: Place, at_once: int, notice: Callable[[str], None]
    ) -> None:
        """`at_once`: downloads of one worker. `notice` hears, in this loop's thread, what people should know."""
        self._cluster = cluster
        self._errand = partial(Errand, version=VERSION, batch=batch, place=place, at_once=at_once)
        self._root = place.root if isinstance(place, SharedFolder) else None
        self._notice = notice

    @property
    def room(self) -> int:
        return self._cluster.room

    @property
    def away(self) -> bool:
        return bool(self._cluster.trouble)

    def listen(self, changed: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        def later(step: Callable[..., None], *arguments: str) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(step, *arguments)

        self._cluster.listen(changed=partial(later, changed), tell=partial(later, self._notice))
        if self._cluster.trouble:
            self._notice(f"{self._cluster.trouble}: downloads wait until that is over; submits and polls go on")

    async def fetch(self, link: str, destination: Path, expected: Expected) -> Outcome:
        errand = partial(self._errand, link=link, tag=tag_of_part(destination), expected=expected)
        try:
            brought = await self._cluster.do(bring, lambda token: errand(token=token), within=_within(expected.bytes))
        except HaltedError:
            return Stopped()
        except ErrandError as error:
            return Broken(reason=str(error))
        match brought:
            case NotKept(reason=reason):
                raise OutputStoreError(reason, hint="Look after that store, and after who may write to it.")
            case Fetched(staged=staged) if self._root is not None and staged is not None:
                return brought if await self._seen(self._root / staged, brought.info.bytes) else _unseen(staged)
            case _:
                assert not isinstance(brought, Bug | Unfit | Ended), "the cluster sees to those"
                return brought

    async def _seen(self, file: Path, size: int) -> bool:
        """Whether what a worker wrote is here, too, all of it."""
        until = asyncio.get_running_loop().time() + SEEN_WITHIN
        while not (seen := await asyncio.to_thread(_has_size, file, size)):
            if asyncio.get_running_loop().time() > until:
                break
            await asyncio.sleep(SEEN_LOOKS)
        return seen

    def break_off(self) -> None:
        self._cluster.halt()

    def close(self) -> None:
        self._cluster.listen(changed=lambda: None, tell=lambda _: None)


def _within(size: int | None) -> float:
    """Seconds after which a worker that does not come back with a video hangs, however slow the line is."""
    return GIVEN + (UNKNOWN if size is None else size) / SLOWEST


def _has_size(file: Path, size: int) -> bool:
    try:
        return file.stat().st_size == size
    except OSError:
        return False


def _unseen(staged: str) -> Broken:
    return Broken(reason=f"a worker fetched the video, and what it wrote is not seen here ({staged})")
