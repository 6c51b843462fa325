"""Where an output may land: inside the batch folder, under a name that every system can hold."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from functools import lru_cache

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.manifest.faults import FieldError

MOST_COMPONENT = 255
"""Bytes that file systems give a name."""
MOST_NAME = 200
"""Bytes of a video's own name: while it is being fetched, `.<generation>.part` is put behind it."""
MOST_PATH = 1024
MOST_KEY = 512
"""Characters."""

_OURS = frozenset({"_batch", "report.html", "report.csv", "report.json", "report.posters"})
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FORBIDDEN = re.compile(rf'[<>:"|?*\\]|{_CONTROL.pattern}')


def checked_output(text: str) -> str:
    """The path as it is kept: `/` between its parts, in NFC. FieldError if nothing could or should stand there."""
    text = text if text.isascii() else unicodedata.normalize("NFC", text)
    if text.startswith(("/", "~")):
        raise FieldError(f'"{text}" is not inside the batch folder', "make it relative; the folder itself is --out")
    above, _, name = text.rpartition("/")
    if name == "." and above:
        return checked_output(above)
    folder = _checked_folder(above)
    if not folder:
        _check_ours(name)
    _check_name("" if name == "." else name)
    output = folder + name
    if len(output.encode()) > MOST_PATH:
        raise FieldError(f"the path is longer than {MOST_PATH:,} bytes", "shorten it")
    return output


@lru_cache(maxsize=1024)  # many outputs share a folder
def _checked_folder(above: str) -> str:
    """What stands before an output's name, with a `/` at its end; empty for none."""
    parts = [part for part in above.split("/") if part not in {"", "."}]
    for part in parts:
        _check_part(part, MOST_COMPONENT)
    if parts:
        _check_ours(parts[0])
    return "".join(f"{part}/" for part in parts)


def checked_key(text: str) -> str:
    """The key in NFC; FieldError if a terminal or a database could not show it."""
    key = text if text.isascii() else unicodedata.normalize("NFC", text)
    if bad := _CONTROL.search(key):
        raise FieldError(f"holds {_shown(bad[0])}", "leave it out")
    if len(key) > MOST_KEY:
        raise FieldError(f"is longer than {MOST_KEY} characters", "shorten it")
    return key


def as_part(text: str) -> str:
    """`text` with everything that cannot be in a file's name replaced, for names that we make up."""
    text = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", text)).replace("/", "_")
    return text.strip(" .") or "_"


def _check_ours(first: str) -> None:
    if first.casefold() in _OURS:
        raise FieldError(f'"{first}" is where the batch keeps its own files', "choose another name")


def _check_name(name: str) -> None:
    ending = posixpath.splitext(name)[1].casefold()
    if ending not in LIP_SYNC.video_endings:
        known = " or ".join(sorted(LIP_SYNC.video_endings))
        raise FieldError(f'"{name}" does not end like a video', f"let it end in {known}")
    _check_part(name, MOST_NAME)


def _check_part(part: str, most_bytes: int) -> None:
    if part == "..":
        raise FieldError('".." leads out of the batch folder', "leave it out; the folder itself is --out")
    if bad := _FORBIDDEN.search(part):
        remedy = "separate folders by /" if bad[0] == "\\" else "leave it out: not every system can hold such a name"
        raise FieldError(f"a name holds {_shown(bad[0])}", remedy)
    if part.endswith((".", " ")) or part.startswith(" "):
        raise FieldError(f'"{part}" begins or ends with a space, or ends with a dot', "leave it out")
    if part.partition(".")[0].rstrip().casefold() in _DEVICES:
        raise FieldError(f'"{part}" is the name of a device on Windows', "choose another name")
    if len(part.encode()) > most_bytes:
        raise FieldError(f'"{part[:40]}..." is longer than {most_bytes} bytes', "shorten it")


def _shown(character: str) -> str:
    return f'"{character}"' if character.isprintable() else f"the control character U+{ord(character):04X}"
