"""A folder in a bucket that is written to: what is asked of it, with its faults in our words.

Each object that we put there carries the SHA-256 of its content as metadata, which says without a download whether it
is what was committed. Everything here blocks. OutputStoreError where the store does not do as it is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lipsync_batch.addresses import Address
from lipsync_batch.errors import OutputStoreError, UnlistableError, UsageError
from lipsync_batch.storage.chains import open_store
from lipsync_batch.storage.faults import Fault, Kind

if TYPE_CHECKING:
    from obstore import ObjectMeta

PIECE = 8 * 1024 * 1024
"""Bytes that go up at once; a larger file goes in pieces."""
PIECES_AT_ONCE = 2
PAGE = 1_000
"""Objects in a page of a listing: no store gives more."""
READ = 256 * 1024
"""Bytes that are read of a file between two looks at whether to go on."""
SHA256 = "sha256"
_TYPES = {".mp4": "video/mp4", ".html": "text/html; charset=utf-8", ".csv": "text/csv", ".json": "application/json"}

Listed = tuple[str, int, str | None]
"""What a listing says of an object: path, bytes, and what the store knows it by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What stands under a key. Bytes, and the hex digest that was sent along, where it was we who put it there."""

    size: int
    sha256: str | None
    tag: str | None


class UploadStoppedError(Exception):
    """Whoever asked for an upload wants it no more. Nothing of it can be seen in the store."""


class StoreFolder:
    """Paths are relative to the folder, as they are in jobs.db to a batch's."""

    def __init__(self, url: str, *, profile: str | None = None) -> None:
        """`profile` is the one of Amazon's configuration that leads there, where it is not the usual one."""
        self.url = url.rstrip("/")
        self.address = Address.parse(self.url)
        self._store: Any = open_store(self.address, profile=profile, patient=True).store

    def where(self, path: str) -> str:
        """The address of a path."""
        return f"{self.url}/{path}"

    def key(self, path: str) -> str:
        """The key of a path in the bucket."""
        return f"{self.address.key}/{path}" if self.address.key else path

    def standing(self, path: str) -> Standing | None:
        """What stands there; None where nothing does."""
        from obstore import get

        with self._faults(path):
            try:
                found = get(self._store, self.key(path), options={"head": True})
            except FileNotFoundError:
                return None
        meta: ObjectMeta = found.meta
        return Standing(size=meta["size"], sha256=found.attributes.get(SHA256), tag=meta["e_tag"])

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of an object, piece by piece. FileNotFoundError where there is none."""
        from obstore import get

        try:
            with self._faults(path, missing=False):
                for chunk in get(self._store, self.key(path)).stream(min_chunk_size=PIECE):
                    yield bytes(chunk)
        except FileNotFoundError as error:
            raise FileNotFoundError(self.where(path)) from error

    def digest(self, path: str) -> str | None:
        """The SHA-256 of what stands there, read whole; None where nothing does."""
        digest = hashlib.sha256()
        try:
            for chunk in self.chunks(path):
                digest.update(chunk)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    def create(self, path: str, content: bytes) -> bool:
        """Put something small there, unless anything stands there: False then. UsageError where there is no bucket."""
        from obstore import put
        from obstore.exceptions import AlreadyExistsError, BaseError

        with self._faults(path):
            try:
                put(self._store, self.key(path), content, mode="create")
            except AlreadyExistsError:
                return False
            except (BaseError, FileNotFoundError) as error:
                if Fault.of(error).kind is not Kind.MISSING:
                    raise
                raise UsageError(
                    f"{self.url}: there is no {self.address.place}", hint="Make it, or write another --store."
                ) from error
        return True

    def upload(
        self, file: Path, path: str, *, sha256: str | None = None, stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Put a file there, in pieces where it is large, and see that all of it stands there.

        `stop` is asked before each piece: UploadStoppedError. What goes over the wire then ends by its time-outs.
        """
        from obstore import put

        size = file.stat().st_size
        about = {"Content-Type": _TYPES.get(file.suffix, _TYPES.get(Path(path).suffix, "application/octet-stream"))}
        with file.open("rb") as content, self._faults(path):
            result = put(
                self._store,
                self.key(path),
                _read(content, stop),
                attributes={**about, **({SHA256: sha256} if sha256 else {})},
                use_multipart=size > PIECE,
                chunk_size=PIECE,
                max_concurrency=PIECES_AT_ONCE,
            )
        found = self.standing(path)
        agrees = found is not None and (found.size, found.tag, found.sha256) == (size, result["e_tag"], sha256)
        if not agrees:
            raise self.error(path, f"the store took {size:,} bytes, and shows something else: {found}")

    def copy(self, source: str, target: str) -> None:
        """The same content under a second name, at once and whole, by the store itself."""
        from obstore import copy

        with self._faults(source):
            copy(self._store, self.key(source), self.key(target))

    def delete(self, *paths: str) -> None:
        """Nothing stands there any more, whether or not anything did."""
        from obstore import delete

        if paths:
            with self._faults(paths[0]):
                try:
                    delete(self._store, [self.key(path) for path in paths])
                except FileNotFoundError:
                    return  # some stores say so, where others do not

    def listing(self, path: str = "") -> Iterator[list[Listed]]:
        """What stands below a path, in pages. UnlistableError for a name that a stranger made."""
        from obstore import list as pages

        start, prefix = len(self.key("")), self.key(path).rstrip("/")
        with self._faults(path):
            for page in pages(self._store, prefix or None, chunk_size=PAGE):
                yield [(meta["path"][start:], meta["size"], meta["e_tag"]) for meta in page]

    def below(self, path: str) -> list[str]:
        """The paths of what stands below one."""
        return [found for page in self.listing(path) for found, _, _ in page]

    @contextmanager
    def _faults(self, path: str, *, missing: bool = True) -> Iterator[None]:
        """`missing` says whether it is a fault that there is no such object."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            fault = Fault.of(error)
            if fault.kind is Kind.MISSING and not missing and isinstance(error, FileNotFoundError):
                raise
            if fault.kind is Kind.UNLISTABLE:
                raise UnlistableError(
                    f"{self.where(path).removesuffix('/')}: cannot be listed ({fault.words})",
                    hint="Rename that object, or move it away.",
                ) from error
            why = "there is no such bucket, or no such object" if fault.kind is Kind.MISSING else fault.words
            raise self.error(path, why) from error

    def error(self, path: str, why: str) -> OutputStoreError:
        """What is wrong with a path, or with all of them, and what would help."""
        return OutputStoreError(
            f"{self.where(path).removesuffix('/')}: cannot be written or read ({why})",
            hint="Look after that store, and after who may write to it; then run the same command again: "
            "nothing that was paid for is lost.",
        )


def _read(content: BinaryIO, stop: Callable[[], bool]) -> Iterator[bytes]:
    while piece := content.read(READ):
        if stop():
            raise UploadStoppedError
        yield piece
