"""A download in progress: `NAME.<generation>.part` and the sidecar that lets it go on after a kill.

The sidecar (`<part>.meta`, JSON) says how many bytes are known to be on disk for good, and of which version of the
file they are. After a power loss a file may have its length and yet hold zeros, so only what was synced is kept.
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

CHECKPOINT = 1024 * 1024
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
    def load(cls, path: Path) -> Self | None:
        """The sidecar's content; None where it is missing, torn or not ours."""
        try:
            meta = cls(**json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
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
        self.etag: str | None = None
        """The strong validator of the version that the bytes belong to; None where the server gave none."""
        self.total: int | None = None
        """Bytes of the whole file, as far as the server said."""
        self._source = source
        self._synced = 0
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._file = self.path.open("a+b")
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
        self._open.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)
        if self._can_continue and self.size - self._synced >= CHECKPOINT:
            self._checkpoint()

    def finish(self) -> None:
        """Make the whole file durable; from now on it is complete."""
        self.total = self.size
        self._checkpoint()

    def head(self, size: int) -> bytes:
        """The first bytes. Everything written can be read by its path from now on, too."""
        self._open.flush()
        with self.path.open("rb") as file:
            return file.read(size)

    def clear(self) -> None:
        """Forget every byte."""
        # The sidecar goes first: it must never vouch for bytes that are no longer there.
        _meta_path(self.path).unlink(missing_ok=True)
        self._open.seek(0)
        self._open.truncate()
        self.size = self._synced = 0
        self.etag = self.total = None
        self._hash = hashlib.sha256()

    @property
    def _open(self) -> BinaryIO:
        assert self._file is not None, "a Part is used inside its with block"
        return self._file

    @property
    def _can_continue(self) -> bool:
        return self.etag is not None and self.size > 0

    def _restore(self) -> None:
        """Take up what an earlier download left and made durable."""
        meta = _Meta.load(_meta_path(self.path))
        left = os.fstat(self._open.fileno()).st_size
        usable = meta is not None and meta.source == self._source and 0 < meta.synced <= left
        if meta is None or not usable or not (meta.etag or meta.synced == meta.total):
            self.clear()
            return
        self._open.truncate(meta.synced)
        self._open.seek(0)
        while block := self._open.read(_BLOCK):
            self._hash.update(block)
        self.size = self._synced = meta.synced
        self.etag, self.total = meta.etag, meta.total

    def _checkpoint(self) -> None:
        self._open.flush()
        os.fsync(self._open.fileno())
        _Meta(source=self._source, etag=self.etag, total=self.total, synced=self.size).save(_meta_path(self.path))
        self._synced = self.size


def discard(path: Path) -> None:
    """Remove what a download left: the part, unless it was renamed, and its sidecar."""
    meta = _meta_path(path)
    for leftover in (_draft_path(meta), meta, path):
        leftover.unlink(missing_ok=True)


def _meta_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.meta")


def _draft_path(meta_path: Path) -> Path:
    return meta_path.with_name(f"{meta_path.name}.new")
