"""The videos that are there: those that are byte for byte as they were reported need not be fetched again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from lipsync_batch import files
from lipsync_batch.files import Folder
from lipsync_batch.store import Store
from lipsync_batch.store.hearing import ToldFile
from lipsync_batch.store.recovery import Recovery

_ASIDE = re.compile(r"\.([0-9a-f]{8})(?:-\d+)?(?:\.\d+)?\.\w+$")
"""How the name of a file in superseded/ ends: with the beginning of its pair's digest."""


def look_at_videos(folder: Folder, store: Store, recovery: Recovery, say: Callable[[str], None]) -> int:
    """Take for finished what stands in its place as it was reported; how many pairs."""
    say("Comparing the videos that are there")
    looked = 0
    for chunk in recovery.files():
        found = [told for told in chunk if _stands(folder, told)]
        with store.together():
            for told in found:
                recovery.in_place(told)
        looked += len(chunk)
        if looked > len(chunk):
            say(f"Comparing the videos that are there: {looked:,}")
    with store.together():
        for path in _put_aside_before(folder.state / "superseded"):
            match = _ASIDE.search(path.name)
            if match is not None:
                recovery.in_superseded(f"{files.SUPERSEDED}/{path.name}", match[1])
        return recovery.finish()


def _stands(folder: Folder, told: ToldFile) -> bool:
    return files.matches(folder.path(told.path), size=told.bytes, sha256=told.sha256)


def _put_aside_before(folder: Path) -> Iterable[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
