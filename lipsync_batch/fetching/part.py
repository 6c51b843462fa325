"""A download in progress: `NAME.<generation>.part` and the sidecar that lets it go on after a kill.

The sidecar (`<part>.meta`, JSON) says how many bytes are known to be on disk for good, and of which version of the
file they are. After a power loss a file may have its length and yet hold zeros, so only what was synced is kept.
A file that comes whole before its first checkpoint never has one: fetching it again costs less than a sidecar does.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from lipsync_batch import media

CHECKPOINT = 4 * 1024 * 1024
"""Bytes between two syncs: what a kill or a power loss may cost of a download."""

_BLOCK = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class _Meta:
    """What the sidecar holds. `source` names the link by a hash, since links are kept in jobs.db alone."""

    source: str
    etag: str | None
    total: int | None
    synced: int

    @classmethod
    def parse(cls, content: bytes) -> Self | None:
        """The sidecar's content; None where it is torn or not ours."""
        try:
            meta = cls(**json.loads(content))
        except (ValueError, TypeError):
            return None
        return meta if meta._is_sound() else None

    def save(self, path: Path) -> None:
        draft = _draft_path(path)
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(path)

    def _is_sound(self) -> bool:
        return (
            isinstance(self.source, str)
            and isinstance(self.etag, str | None)
            and isinstance(self.total, int | None)
            and isinstance(self.synced, int)
            and self.synced >= 0
        )


class Part:
    """The bytes so far, with their running SHA-256.

    A context manager: leaving it makes the bytes durable that a later download can build on, and removes any others.
    Errors of the disk come out as OSError.
    """

    def __init__(self, path: Path, source: str) -> None:
        """`source` names what is downloaded; a part of something else is not continued."""
        self.path = path
        self.size = 0
        self.head = b""
        """The first bytes, as many as `media.disguise` wants to see."""
        self.etag: str | None = None
        """The strong validator of the version that the bytes belong to; None where the server gave none."""
        self.total: int | None = None
        """Bytes of the whole file, as far as the server said."""
        self.lies_alone = True
        """Whether nothing of this download can lie on disk but the part: no sidecar, no draft of one."""
        self._source = source
        self._synced = 0
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        # Without a buffer of Python's: pieces are large, or the only one of a small file.
        self._file = self.path.open("a+b", 0)
        try:
            self._restore()
        except OSError:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a disk that is full has been reported by the write before
            if self._can_continue and self.size > self._synced:
                self._checkpoint()
        with suppress(OSError):
            self._open.close()
        with suppress(OSError):
            if not (self._can_continue or self.is_complete):
                discard(self.path)

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes so far."""
        return self._hash.hexdigest()

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there and on disk for good."""
        return self.size > 0 and self.size == self.total == self._synced

    def begin(self, *, etag: str | None, total: int | None) -> None:
        """Start over with a version of the file: its strong validator and its length in bytes, where known."""
        self.clear()
        self.etag, self.total = etag, total

    def write(self, chunk: bytes) -> None:
        left = memoryview(chunk)
        while left:  # the kernel may take less than it is given
            left = left[self._open.write(left) :]
        self._count(chunk)
        if self._can_continue and self.size - self._synced >= CHECKPOINT:
            self._checkpoint()

    def finish(self) -> None:
        """Make the whole file durable; from now on it is complete."""
        self.total = self.size
        if self.lies_alone:
            self._sync()
        else:
            self._checkpoint()

    def clear(self) -> None:
        """Forget every byte."""
        if not self.lies_alone:
            # The sidecar goes first: it must never vouch for bytes that are no longer there.
            _discard_sidecar(self.path)
        if self.size:
            self._open.seek(0)
            self._open.truncate()
            self._hash = hashlib.sha256()
        self.size = self._synced = 0
        self.head = b""
        self.etag = self.total = None

    @property
    def _open(self) -> BinaryIO:
        assert self._file is not None, "a Part is used inside its with block"
        return self._file

    @property
    def _can_continue(self) -> bool:
        return self.etag is not None and self.size > 0

    def _restore(self) -> None:
        """Take up what an earlier download left and made durable."""
        left = os.fstat(self._open.fileno()).st_size
        sidecar = _read(_meta_path(self.path))
        self.lies_alone = not left and sidecar is None
        if self.lies_alone:
            return
        self.size = left  # until it is known whether they are of use
        meta = None if sidecar is None else _Meta.parse(sidecar)
        usable = meta is not None and meta.source == self._source and 0 < meta.synced <= left
        if meta is None or not usable or not (meta.etag or meta.synced == meta.total):
            self.clear()
            return
        self._open.truncate(meta.synced)
        self._open.seek(0)
        self.size = 0
        while block := self._open.read(_BLOCK):
            self._count(block)
        self._synced = self.size
        self.etag, self.total = meta.etag, meta.total

    def _count(self, chunk: bytes) -> None:
        """Take bytes that are in the file into account."""
        self._hash.update(chunk)
        self.size += len(chunk)
        if len(self.head) < media.SNIFFED:
            self.head += chunk[: media.SNIFFED - len(self.head)]

    def _checkpoint(self) -> None:
        self.lies_alone = False
        self._sync()
        _Meta(source=self._source, etag=self.etag, total=self.total, synced=self.size).save(_meta_path(self.path))

    def _sync(self) -> None:
        os.fsync(self._open.fileno())
        self._synced = self.size


def discard(path: Path) -> None:
    """Remove what a download left: the part, unless it was renamed, and its sidecar."""
    _discard_sidecar(path)
    path.unlink(missing_ok=True)


def _discard_sidecar(path: Path) -> None:
    meta = _meta_path(path)
    for leftover in (_draft_path(meta), meta):
        leftover.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _meta_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.meta")


def _draft_path(meta_path: Path) -> Path:
    return meta_path.with_name(f"{meta_path.name}.new")
