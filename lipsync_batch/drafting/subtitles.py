"""Texts out of files: plain text, and subtitles (SRT, WebVTT), whose cues are joined in their order."""

from __future__ import annotations

import html
import re
from pathlib import Path

from lipsync_batch.manifest.encoding import check_text, open_text

ENDINGS = frozenset({".txt", ".srt", ".vtt"})
_TIMES = re.compile(r"\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{3}\s*-->")
_MARKUP = re.compile(r"</?[^<>]*>|\{\\[^{}]*\}")
_TURN = re.compile("^\\s*[-\N{EN DASH}\N{EM DASH}]\\s+")
"""What shows in a line that another person speaks."""


def text_of(path: Path) -> str:
    """What is said in a file, in one line; "" where it says nothing. ManifestError where it cannot be read as text."""
    check_text(path)
    with open_text(path) as file:
        content = file.read()
    ending = path.suffix.lower()
    lines = content.splitlines() if ending == ".txt" else _spoken(content)
    text = " ".join(" ".join(lines).split())
    return html.unescape(text) if ending == ".vtt" else text


def _spoken(content: str) -> list[str]:
    """The lines of all cues, without numbers, times and markup. A block without times is a header or a note."""
    spoken = []
    for block in re.split(r"\n\s*\n", "\n".join(content.splitlines())):
        lines = block.split("\n")
        times = next((number for number, line in enumerate(lines) if _TIMES.match(line)), len(lines))
        spoken += [_TURN.sub("", _MARKUP.sub("", line)) for line in lines[times + 1 :]]
    return spoken
