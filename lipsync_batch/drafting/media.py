"""The media below a folder, by what the API takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.drafting.subtitles import ENDINGS as TEXT_ENDINGS

_OTHER_MEDIA = frozenset({".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".m4a", ".aac", ".flac", ".ogg", ".opus"})


@dataclass(slots=True)
class Found:
    """Paths relative to the folder, in the order of their names."""

    videos: list[Path] = field(default_factory=list)
    audios: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    """Media of kinds that the API does not take."""


def found_in(folder: Path) -> Found:
    """What lies below a folder, without hidden files, and without what batches have made."""
    found = Found()
    for path in sorted(_files(folder)):
        ending = path.suffix.lower()
        for endings, paths in (
            (LIP_SYNC.video_endings, found.videos),
            (LIP_SYNC.audio_endings, found.audios),
            (TEXT_ENDINGS, found.texts),
            (_OTHER_MEDIA, found.others),
        ):
            if ending in endings:
                paths.append(path)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if "_batch" in folders:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name).relative_to(folder) for name in names if not name.startswith("."))
