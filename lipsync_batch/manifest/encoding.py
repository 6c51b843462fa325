"""Is a file text at all, and in which encoding? Asked once, of the whole file, before anything is read from it.

So the readers never meet a character that they cannot decode, and an export in the wrong encoding is one clear error.
"""

from __future__ import annotations

import codecs
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lipsync_batch.errors import ManifestError, Problem
from lipsync_batch.jobs import Place

ENDINGS = (".yaml", ".yml", ".csv", ".tsv", ".jsonl", ".ndjson")
_CHUNK = 1 << 20
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SAVE_AS = 'save it again as UTF-8 (in a spreadsheet: "CSV UTF-8")'


@dataclass(frozen=True, slots=True)
class Checked:
    """A file of text as it was when it was checked."""

    path: Path
    sha256: str
    """Of all its bytes, hex."""
    stamp: tuple[int, int, int]
    """Inode, size and time of change, from before it was read."""

    def is_current(self) -> bool:
        """Whether the file was surely left alone since: what was read from it afterwards is what was checked."""
        try:
            return _stamp(self.path) == self.stamp
        except OSError:
            return False


def open_text(path: Path) -> TextIO:
    """Open a file that `check_text` let pass, with its line ends as they are (the csv module needs them)."""
    return path.open(encoding=_encoding(path), newline="")


def check_text(path: Path) -> Checked:
    """ManifestError unless `path` is a file of text in UTF-8, with or without BOM, or in UTF-16 with BOM."""
    try:
        checked = _not_a_file(path) or _check(path)
    except OSError as error:
        checked = Problem(place=Place(), cause=f"cannot be read: {error.strerror}", remedy="check its permissions")
    if isinstance(checked, Problem):
        raise ManifestError(path, [checked])
    return checked


def check_file(path: Path) -> Checked:
    """ManifestError unless `path` is a file that can be read, of whatever kind."""
    try:
        checked = _not_a_file(path) or _digest(path)
    except OSError as error:
        checked = Problem(place=Place(), cause=f"cannot be read: {error.strerror}", remedy="check its permissions")
    if isinstance(checked, Problem):
        raise ManifestError(path, [checked])
    return checked


def _digest(path: Path) -> Checked:
    stamp = _stamp(path)
    with path.open("rb") as file:
        return Checked(path, hashlib.file_digest(file, "sha256").hexdigest(), stamp)


def _not_a_file(path: Path) -> Problem | None:
    if path.is_dir():
        inside = sorted(child.name for child in path.iterdir() if child.suffix.lower() in ENDINGS)
        remedy = f"name a file in it, such as {inside[0]}" if inside else "name a file"
        return Problem(place=Place(), cause="is a folder", remedy=remedy)
    if not path.exists():
        return Problem(place=Place(), cause="there is no such file", remedy="check its name and folder")
    if not path.is_file():
        return Problem(place=Place(), cause="is no ordinary file", remedy="save it as one: it is read more than once")
    return None


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    # The mark of UTF-32 begins like that of UTF-16: as such it is read, and found to be full of NUL characters.
    return "utf-16" if start.startswith(_UTF16_MARKS) else "utf-8-sig"


def _stamp(path: Path) -> tuple[int, int, int]:
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _check(path: Path) -> Checked | Problem:
    stamp, encoding = _stamp(path), _encoding(path)
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            digest.update(chunk)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                good = error.object[: error.start].decode(encoding, errors="ignore")
                return _undecodable(error, line + good.count("\n"))
            if "\0" in text:
                return _nul(line + text[: text.index("\0")].count("\n"))
            if not chunk:
                return Checked(path, digest.hexdigest(), stamp)
            line += text.count("\n")


def _undecodable(error: UnicodeDecodeError, line: int) -> Problem:
    byte = error.object[error.start]
    cause = f"byte 0x{byte:02X} is not UTF-8"
    if "16" in error.encoding:
        cause = "is cut off in the middle of a character of UTF-16"
    elif (meant := bytes([byte]).decode("cp1252", errors="replace")) != "\N{REPLACEMENT CHARACTER}":
        cause += f' (in Windows-1252 it is "{meant}")'
    return Problem(place=Place(line=line), cause=cause, remedy=_SAVE_AS)


def _nul(line: int) -> Problem:
    return Problem(
        place=Place(line=line),
        cause="holds a NUL byte: it is not text, or it is UTF-16 or UTF-32 without a byte order mark that says so",
        remedy=_SAVE_AS,
    )
