"""Renders what was accepted: a bounded number at a time, each in a process of its own, oldest first.

What is to do stands in the records, so nothing is lost by a restart, and no queue grows in memory.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

from lipsync_batch.sandbox import worker
from lipsync_batch.sandbox.contract import Order
from lipsync_batch.sandbox.records import Records


class Studio:
    """The rendering side of a sandbox."""

    def __init__(self, records: Records, folder: Path, *, workers: int) -> None:
        self.inputs = folder / "inputs"
        self.films = folder / "films"
        for path in (self.inputs, self.films):
            path.mkdir(exist_ok=True)
            _sweep(path)
        self._records = records
        self._workers = workers
        self._busy: set[str] = set()
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """Something new is to be rendered."""
        self._wanted.set()

    async def work(self) -> None:
        """Render for ever; cancelling kills the processes."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            order = self._records.next_render(self._busy)
            if order is None:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            self._busy.add(order.pair)
            try:
                await self._render(order)
            finally:
                self._busy.discard(order.pair)

    async def _render(self, order: Order) -> None:
        try:
            result = await worker.run("render", self.inputs, self.films, given=order.as_json().encode())
        except (worker.WorkerError, OSError) as error:
            result = {"problem": f"Something went wrong while rendering: {error}"}
        self._records.rendered(order.pair, at=time.time(), **result)

    async def test_card(self) -> str:
        """The etag of a video that is made once and stands for all others."""
        made = await worker.run("card", self.films)
        return str(made["etag"])

    def film(self, etag: str) -> Path:
        return self.films / f"{etag}.mp4"


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed left half-made: all names here but those are hashes."""
    for path in folder.glob("tmp*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
