"""Which video a recording or a text belongs to, and in which language: by their names, then by their folders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lipsync_batch.drafting.languages import folded, language_after, language_of, without_language

WHOLLY = 1
"""The recording begins with all of the video's name."""
BUT_ITS_LANGUAGE = 0
"""It begins with the video's name without the language that this one ends in: clip_EN.mp4 with clip_DE.wav."""


class _Kinship(NamedTuple):
    """How near a video is to a recording: the greater, the nearer."""

    length: int
    """Of what their names have in common."""
    part: int
    """WHOLLY, or BUT_ITS_LANGUAGE."""
    folders: int
    """How much of their folders they have in common, languages aside."""
    exactly: int
    """The same, languages included."""


class Family:
    """Videos by the beginnings of names that may be about them."""

    def __init__(self, videos: Sequence[Path]) -> None:
        self._videos: defaultdict[str, list[Path]] = defaultdict(list)
        for video in videos:
            own = without_language(video.stem)
            for name in {folded(video.stem), folded(own[0] if own else video.stem)}:
                self._videos[name].append(video)

    def relatives(self, speech: Path) -> list[Path]:
        """The videos that its name begins like."""
        name = folded(speech.stem)
        return [video for end in range(1, len(name) + 1) for video in self._videos.get(name[:end], ())]

    def owners_of(self, speech: Path) -> list[tuple[Path, str]]:
        """The nearest of the videos that a recording may belong to, with its language, "" where it names none."""
        fitting = [
            (kin, video, language) for video in self.relatives(speech) for kin, language in _kinship(speech, video)
        ]
        best = max((kin for kin, _, _ in fitting), default=None)
        return sorted({(video, language) for kin, video, language in fitting if kin == best})


def _kinship(speech: Path, video: Path) -> list[tuple[_Kinship, str]]:
    """At most one: none where the recording is not called like the video."""
    folders = _folders_in_common(speech, video)
    language = language_after(speech.stem, video.stem)
    own = without_language(video.stem)
    if language is not None:
        language = language or (own[1] if own else _language_of_folder(speech))
        return [(_Kinship(len(video.stem), WHOLLY, *folders), language)]
    if own is None:
        return []
    language = language_after(speech.stem, own[0])
    language = language if language != "" else _language_of_folder(speech)
    return [(_Kinship(len(own[0]), BUT_ITS_LANGUAGE, *folders), language)] if language else []


def _folders_in_common(speech: Path, video: Path) -> tuple[int, int]:
    one, other = ([folded(part) for part in path.parent.parts] for path in (speech, video))
    plain_one, plain_other = ([part for part in parts if language_of(part) is None] for parts in (one, other))
    apart = abs(len(plain_one) - len(plain_other))
    return _common(plain_one, plain_other) - apart, _common(one, other)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _language_of_folder(speech: Path) -> str:
    return next((language for part in reversed(speech.parent.parts) if (language := language_of(part))), "")
