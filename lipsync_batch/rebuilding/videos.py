"""The videos that are there: those that are byte for byte as they were reported need not be fetched again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from lipsync_batch import files
from lipsync_batch.errors import OutputStoreError
from lipsync_batch.files import Folder
from lipsync_batch.report.atomic import replacing_bytes
from lipsync_batch.runner.shelves import THREADS
from lipsync_batch.storage.outputs import OutputStore
from lipsync_batch.store import Store
from lipsync_batch.store.hearing import ToldFile
from lipsync_batch.store.recovery import Recovery

_ASIDE = re.compile(r"\.([0-9a-f]{8})(?:-\d+)?(?:\.\d+)?\.\w+$")
"""How the name of a file in superseded/ ends: with the beginning of its pair's digest."""


class Videos(Protocol):
    """Where they stand: in the batch folder, or in object storage."""

    at_once: int
    """Videos that are compared at once."""

    def stands(self, path: str, *, size: int | None, sha256: str | None) -> bool:
        """Whether a video that was reported stands there."""

    def below(self, path: str) -> Iterable[str]:
        """The paths of what stands below one."""


class Away:
    """In object storage. What cannot be asked after is not known to stand: it is fetched again, for nothing."""

    at_once = 16

    def __init__(self, outputs: OutputStore) -> None:
        self._outputs = outputs

    def stands(self, path: str, *, size: int | None, sha256: str | None) -> bool:
        try:
            return self._outputs.stands(path, size=size, sha256=sha256)
        except OutputStoreError:
            return False

    def below(self, path: str) -> Iterable[str]:
        return self._outputs.below(path)


class Here:
    """In the batch folder."""

    at_once = 1
    """Each is read whole, and a disk is read best by one."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def stands(self, path: str, *, size: int | None, sha256: str | None) -> bool:
        return files.matches(self._folder.path(path), size=size, sha256=sha256)

    def below(self, path: str) -> Iterable[str]:
        folder = self._folder.path(path)
        return [f"{path}/{file.name}" for file in sorted(folder.iterdir())] if folder.is_dir() else []


def look_at_videos(videos: Videos, store: Store, recovery: Recovery, say: Callable[[str], None]) -> int:
    """Take for finished what stands in its place as it was reported; how many pairs."""
    say("Comparing the videos that are there")
    looked = 0

    def stands(told: ToldFile) -> bool:
        return videos.stands(told.path, size=told.bytes, sha256=told.sha256)

    with ThreadPoolExecutor(videos.at_once, thread_name_prefix=THREADS) as threads:
        for chunk in recovery.files():
            found = [told for told, there in zip(chunk, threads.map(stands, chunk), strict=True) if there]
            with store.together():
                for told in found:
                    recovery.in_place(told)
            looked += len(chunk)
            if looked > len(chunk):
                say(f"Comparing the videos that are there: {looked:,}")
    with store.together():
        for path in videos.below(files.SUPERSEDED):
            match = _ASIDE.search(path)
            if match is not None:
                recovery.in_superseded(path, match[1])
        return recovery.finish()


def fetch_report(videos: OutputStore, report: Path) -> bool:
    """The report that went to the store with the videos, in the place of one that is lost; whether there is one."""
    with files.disk_faults(report), suppress(FileNotFoundError):
        with replacing_bytes(report) as out:
            for chunk in videos.content(report.name):
                out.write(chunk)
        return True
    return False
