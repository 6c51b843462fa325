"""What a provider's model takes and gives: speakers, limits, words. Pure data.

Sources: AI/ML API reference of `pixverse/lip-sync`; PixVerse platform documentation for the media limits, which the
reseller does not repeat, so breaking one is a warning here and never an error.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """Sizes in bytes, durations in seconds, money in micro-USD."""

    model: str
    speakers: tuple[str, ...]
    inline_limit: int
    """Local files up to this size go out as data URIs; a larger one needs a link."""
    inline_warning: int
    """From this size on a data URI is often refused by gateways on the way."""
    max_seconds: float
    max_bytes: int
    max_pixels: int
    """Of the longer side of the picture."""
    max_characters: int
    """Of a text to be spoken."""
    video_endings: frozenset[str]
    audio_endings: frozenset[str]
    typical_seconds: float
    """A first guess of how long a generation takes, until the account's own history says better."""
    log_rate: tuple[int, float]
    """Requests to the log that may be counted in a window of so many seconds, besides the account's own limit."""


LIP_SYNC = Capabilities(
    model="pixverse/lip-sync",
    speakers=(
        *("Harper", "Ava", "Isabella", "Sophia", "Emily", "Chloe", "Julia"),
        *("Mason", "Jack", "Liam", "James", "Oliver", "Adrian", "Ethan"),
        "Auto",
    ),
    inline_limit=50 * MIB,
    inline_warning=4 * MIB,
    max_seconds=30.0,
    max_bytes=50 * MIB,
    max_pixels=1920,
    max_characters=200,
    video_endings=frozenset({".mp4", ".mov"}),
    audio_endings=frozenset({".mp3", ".wav"}),
    typical_seconds=34.0,
    log_rate=(200, 60.0),
)
