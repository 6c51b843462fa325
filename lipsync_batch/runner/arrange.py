"""Every finished file to the place where the manifest wants it now: before the lanes start, so that none is in the way.

Renames go by way of a holding name that nothing else has, in two phases, written down before the first: so two jobs may
swap their outputs, and a crash between any two renames loses nothing.
"""

from __future__ import annotations

import asyncio

from lipsync_batch import files
from lipsync_batch.events import Events, Noticed
from lipsync_batch.files import Folder
from lipsync_batch.runner.shelves import Shelf
from lipsync_batch.store.ledger import FileMove, Ledger
from lipsync_batch.store.reads import Reads


class Arranger:
    """The finished files of a batch against its jobs."""

    def __init__(
        self, folder: Folder, shelf: Shelf, reads: Reads, ledger: Ledger, events: Events, stopping: asyncio.Event
    ) -> None:
        """Once `stopping` is set nothing more is begun; what was begun with the moves is ended."""
        self._stopping = stopping
        self._folder = folder
        self._shelf = shelf
        self._reads = reads
        self._ledger = ledger
        self._events = events

    async def finish_moves(self) -> None:
        """Finish what an earlier run began. DiskError where files cannot be moved; the next run moves them."""
        with files.disk_faults(self._folder.root):
            moves, held = self._reads.file_moves()
            if moves:
                await (self._land(moves) if held else self._carry_out(moves))

    async def place(self, fingerprint: str | None = None) -> bool:
        """Move, link and copy what does not stand where jobs want it: all of it, or one pair's; whether that was ended.

        DiskError where files cannot be moved; what is not moved yet is moved by the next run.
        """
        if self._stopping.is_set():
            return False
        with files.disk_faults(self._folder.root):
            await self._place(self._reads.unplaced(fingerprint))
        return True

    async def _place(self, unplaced: list[tuple[str, str]]) -> None:
        """Give finished files the names that jobs want now: moved if no job wants the old name, else linked."""
        moves: list[FileMove] = []
        links: list[tuple[str, str]] = []
        taken: set[str] = set()
        for fingerprint, output in unplaced:
            wanted = set(self._reads.wanted_outputs(fingerprint))
            spare = [p for p in self._reads.outputs(fingerprint) if p not in wanted and p not in taken]
            if spare:
                taken.add(spare[0])
                moves.append(self._move(fingerprint, spare[0], output))
            else:
                links.append((fingerprint, output))
        if moves:
            await self._ledger.plan_file_moves(moves)
            await self._carry_out(moves)
        for fingerprint, output in links:
            await self._link(fingerprint, output)

    def _move(self, fingerprint: str, source: str, target: str) -> FileMove:
        tag = fingerprint.rpartition(":")[2][:16]
        return FileMove(holding=f"{target}.{tag}.moving", source=source, target=target, fingerprint=fingerprint)

    async def _carry_out(self, moves: list[FileMove]) -> None:
        """Phase one: every file leaves its old name. Nobody takes an old name before all have left.

        A move in a store that was cut in two left a copy at either end: it is made again.
        """
        shelf, held = self._shelf, []
        for move in moves:
            is_held = await shelf.occupied(move.holding)
            if (shelf.is_far or not is_held) and await shelf.occupied(move.source):
                await shelf.move(move.source, move.holding)
                is_held = True
            if is_held:
                held.append(move)
            else:  # deleted by somebody; what stands under its new name is another pair's
                await self._ledger.file_moved(move, landed=False)
        await self._ledger.file_moves_held()
        await self._land(held)

    async def _land(self, moves: list[FileMove]) -> None:
        """Phase two: every file takes its new name; what stands there, and is not ours to overwrite, goes aside.

        One that was held, and is no more, took its new name before a crash: what stood there had gone aside by then.
        """
        shelf = self._shelf
        for move in moves:
            if await shelf.occupied(move.holding):
                if not (shelf.is_far and await shelf.same(move.holding, move.target)):
                    await self._clear(move.target)
                await shelf.move(move.holding, move.target)
            await self._ledger.file_moved(move, landed=await shelf.occupied(move.target))

    async def _link(self, fingerprint: str, output: str) -> None:
        """Another job wants a file that stays where it is."""
        shelf = self._shelf
        for source in self._reads.outputs(fingerprint):
            if await shelf.occupied(source):
                break
        else:
            return
        if not await shelf.same(source, output):
            await self._clear(output)
            await shelf.duplicate(source, output)
        await self._ledger.outputs_added(fingerprint, [output])

    async def _clear(self, path: str) -> None:
        await clear(path, self._shelf, self._reads, self._ledger, self._events)


async def clear(path: str, shelf: Shelf, reads: Reads, ledger: Ledger, events: Events) -> None:
    """Make room at a final name: what stands there is kept in `superseded/`."""
    if not await shelf.occupied(path):
        return
    owner = reads.output_owner(path)
    aside = await shelf.superseded(path, short(owner) if owner else "found")
    await shelf.move(path, aside)
    await ledger.outputs_moved([(path, aside, True)])
    if owner is None:
        events.emit(Noticed(message=f"a file that stood in the way was moved to {aside}", name=path))


def short(fingerprint: str) -> str:
    """Enough of a fingerprint to tell files apart."""
    return fingerprint.rpartition(":")[2][:8]
