"""Final names, given in groups: files that become whole while a folder is being synced share the next sync.

Whoever waits goes on when its own name is durable, as if it had been alone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from lipsync_batch import files
from lipsync_batch.clock import Clock


class Landing:
    """Gives files their final names, one group after the other."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: list[tuple[Path, Path]] = []
        self._group: asyncio.Task[list[OSError | None]] | None = None
        """What lands, or has landed, the group that was gathered last."""

    async def land(self, part: Path, final: Path) -> None:
        """Give a whole, checked file its final name, durably; OSError as from `files.land`."""
        if not self._waiting:
            self._group = asyncio.ensure_future(self._land_waiting(after=self._group))
        assert self._group is not None
        place, group = len(self._waiting), self._group
        self._waiting.append((part, final))
        # Shielded: others wait for the same group.
        error = (await asyncio.shield(group))[place]
        if error is not None:
            raise error

    async def _land_waiting(self, after: asyncio.Task[list[OSError | None]] | None) -> list[OSError | None]:
        if after is not None:
            await asyncio.wait([after])
        landings, self._waiting = self._waiting, []
        return await self._clock.in_thread(files.land_together, landings)
