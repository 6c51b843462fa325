"""Globs over objects: what local ones mean, asked of a listing that is read by pages and kept on disk."""

from __future__ import annotations

import json
import re
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from fnmatch import translate
from typing import Any

from lipsync_batch.addresses import Address
from lipsync_batch.jobs import StoredObject
from lipsync_batch.storage.stores import Stores

MAGIC = re.compile(r"[*?\[]")
IN_MEMORY = 1024 * 1024
"""Bytes of a listing that stay in memory; a longer one goes to a file without a name."""
BLOCK = 64 * 1024
"""Bytes of it that are read at once."""
_ANY_DEPTH = None


class Listing:
    """What a pattern matched, in the order of the store. It may be gone through many times, and by several at once."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._count = 0
        self._lines: Any = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (it lives as long as this)
        weakref.finalize(self, self._lines.close)

    def add(self, key: str, identity: str, size: int) -> None:
        """One more; not after the first was read."""
        self._lines.write(json.dumps([key, identity, size]).encode() + b"\n")
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[StoredObject]:
        offset = 0
        while True:
            self._lines.seek(offset)
            lines = self._lines.readlines(BLOCK)
            if not lines:
                return
            offset += sum(map(len, lines))
            for key, identity, size in map(json.loads, lines):
                yield StoredObject(url=f"{self._bucket}/{key}", identity=identity, size=size)


def listed(stores: Stores, pattern: Address) -> tuple[Listing, int]:
    """(what a pattern matches, how many objects were looked at). StoreError.

    All that is below the folder before the first wildcard is looked at. An object that is called like the pattern is
    meant alone; one with nothing in it stands for a folder, and is passed over.
    """
    parts = _parts(pattern.key)
    found, looked_at = Listing(pattern.place), 0
    for key, identity, size in stores.below(folder_of(pattern)):
        looked_at += 1
        if key == pattern.key:
            found = Listing(pattern.place)
            found.add(key, identity, size)
            break
        if size and _fits(key.split("/"), parts):
            found.add(key, identity, size)
    return found, looked_at


def folder_of(pattern: Address) -> Address:
    """What stands before the first wildcard, up to the last slash."""
    fixed = MAGIC.split(pattern.key, maxsplit=1)[0].rpartition("/")[0]
    return Address(scheme=pattern.scheme, bucket=pattern.bucket, key=fixed)


def _parts(pattern: str) -> list[re.Pattern[str] | None]:
    return [_ANY_DEPTH if part == "**" else re.compile(_shown(part) + translate(part)) for part in pattern.split("/")]


def _shown(part: str) -> str:
    """A wildcard does not match the dot at the beginning of a name."""
    return "" if part.startswith(".") else r"(?!\.)"


def _fits(names: Sequence[str], parts: Sequence[re.Pattern[str] | None]) -> bool:
    if not parts:
        return not names
    first, rest = parts[0], parts[1:]
    if first is not _ANY_DEPTH:
        return bool(names) and first.match(names[0]) is not None and _fits(names[1:], rest)
    if not rest:
        return bool(names) and not any(name.startswith(".") for name in names)
    if _fits(names, rest):
        return True
    return bool(names) and not names[0].startswith(".") and _fits(names[1:], parts)
