"""Small pictures of the finished videos, in a folder beside the page that shows them.

They are named after the bytes of their videos: a video that was made anew gets a picture of its own, and what no job
shows any more is cleared away. They can be made again at any time, so nothing waits for a disk here, and whatever goes
wrong costs a picture and nothing else.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from lipsync_batch import media
from lipsync_batch.media import BadMediaError
from lipsync_batch.report.atomic import is_left_behind

FOLDER = "report.posters"
"""Beside the page and its videos, wherever the state folder is: whoever can open those can open these."""
MOST_POSTERS = 50_000
"""As many as a page has rows; some 350 MB."""
_NAME = re.compile(r"[0-9a-f]{16}\.jpg")


def name_of(sha256: str) -> str:
    """The file of the picture of a video with this checksum."""
    return f"{sha256[:16]}.jpg"


class Posters:
    """The pictures of one batch."""

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER
        self._root = root
        self._hopeless: set[str] = set()
        """Of videos that no picture can be had of: tried once."""
        self.names = _present(self.folder)
        """The files that are there."""

    def make(self, videos: Iterable[tuple[str, str]], *, seconds: float = float("inf")) -> None:
        """Make those that are missing, for about so long at most, and clear away the ones that nobody wants.

        `videos` are outputs with their checksums, of which the first 50,000 count. Never fails.
        """
        end = time.monotonic() + seconds
        wanted: set[str] = set()
        for output, sha256 in videos:
            name = name_of(sha256)
            if name in wanted:
                continue
            wanted.add(name)
            if name not in self.names and name not in self._hopeless and time.monotonic() < end:
                self._make_one(self._root / output, name)
            if len(wanted) >= MOST_POSTERS:
                break
        self._clear(wanted)

    def _make_one(self, video: Path, name: str) -> None:
        part = self.folder / f".{name}.{os.getpid()}.part"
        try:
            picture = media.poster(video)
        except (BadMediaError, OSError):
            self._hopeless.add(name)
            return
        with suppress(OSError):
            self.folder.mkdir(exist_ok=True)
            try:
                part.write_bytes(picture)
                part.replace(self.folder / name)
            finally:
                part.unlink(missing_ok=True)
            self.names.add(name)

    def _clear(self, wanted: Collection[str]) -> None:
        """Whatever else lies in the folder is not ours, and stays."""
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if (_NAME.fullmatch(entry.name) and entry.name not in wanted) or is_left_behind(entry.name):
                    with suppress(OSError):
                        Path(entry.path).unlink()
                    self.names.discard(entry.name)


def _present(folder: Path) -> set[str]:
    """Empty files are what a power cut left."""
    with suppress(OSError), os.scandir(folder) as entries:
        return {entry.name for entry in entries if _NAME.fullmatch(entry.name) and entry.stat().st_size > 0}
    return set()
