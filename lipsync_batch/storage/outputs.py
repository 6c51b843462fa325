"""A batch's finished videos in object storage: under their final key when they are whole, and never before.

Only the process that holds the batch writes final keys, and never by an upload: a video comes in by `arriving`, and
gets its name by a copy on the store's side, which is whole at once. What stores lack are renames: a move is a copy,
then a look at it, then the end of the old one.

Everything here blocks. OutputStoreError where the store does not do as it is asked: nothing that was paid for is lost
by that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lipsync_batch.errors import BatchError, OutputStoreError
from lipsync_batch.storage.arriving import ARRIVING, staging_path
from lipsync_batch.storage.folder import Listed, Standing, StoreFolder
from lipsync_batch.storage.unfinished import Unfinished

MARK = "_batch/batch.json"
"""Says whose the folder is: two batches in one would take each other's videos for their own."""


class OutputStore:
    """The folder in a bucket that one batch's videos go to. Paths are those of jobs.db."""

    def __init__(self, url: str, *, profile: str | None = None) -> None:
        """`profile` is the one of Amazon's configuration that leads there, where it is not the usual one."""
        self._folder = StoreFolder(url, profile=profile)
        self._unfinished = Unfinished(self._folder.address, profile=profile)
        self.url = self._folder.url

    def owner(self) -> str | None:
        """The id of the batch that the folder belongs to; None where it is nobody's yet."""
        try:
            mark = b"".join(self._folder.chunks(MARK))
        except FileNotFoundError:
            return None
        try:
            return str(json.loads(mark)["batch_id"])
        except (ValueError, TypeError, KeyError) as error:
            raise self._folder.error(MARK, "it does not say whose the folder is") from error

    def claim(self, batch_id: str) -> None:
        """Make the folder this batch's, and end the uploads of a killed run. BatchError if it is another's."""
        owner = self.owner()
        if owner is None:
            self._folder.create(MARK, json.dumps({"batch_id": batch_id}).encode())
            owner = self.owner()  # not every server keeps to the condition that nothing stands there
        if owner != batch_id:
            raise BatchError(
                f"{self.url}: holds the videos of another batch ({owner})",
                hint="If it is this batch, and its jobs.db is lost: lipsync-batch rebuild MANIFEST "
                f"--store {self.url}. Else choose another --store.",
            )
        self.end_uploads()

    def end_uploads(self) -> None:
        """End the uploads that nobody goes on with. Those of others in the bucket are none of ours."""
        for path in (f"{ARRIVING}/", "report."):
            self._unfinished.end(self._folder.key(path))

    # Arriving

    def stage(self, file: Path, tag: str, *, sha256: str, stop: Callable[[], bool]) -> str:
        """Upload a whole, checked file; its path in the store, which `land` takes. UploadStoppedError."""
        path = staging_path(tag)
        self._folder.upload(file, path, sha256=sha256, stop=stop)
        return path

    def land(self, staged: str, path: str, *, sha256: str) -> Standing:
        """Give what arrived its final key, where nothing may stand but a copy of it; what stands there then."""
        landed = self.copy(staged, path, sha256=sha256)
        self._folder.delete(staged)
        return landed

    def arrived(self) -> list[str]:
        """What was uploaded and has no final key yet."""
        return self._folder.below(ARRIVING)

    def remove(self, staged: Iterable[str]) -> None:
        """The end of what arrived and is waited for no more."""
        self._folder.delete(*staged)

    # Under final keys

    def standing(self, path: str) -> Standing | None:
        """What stands there; None where nothing does."""
        return self._folder.standing(path)

    def occupied(self, path: str) -> bool:
        """Whether anything stands there."""
        return self.standing(path) is not None

    def stands(self, path: str, *, size: int | None, sha256: str | None) -> bool:
        """Whether what was committed stands there, as far as the store's word goes."""
        found = self.standing(path)
        return found is not None and size in (None, found.size) and sha256 in (None, found.sha256)

    def content(self, path: str) -> Iterator[bytes]:
        """What stands there, piece by piece. FileNotFoundError where nothing does."""
        return self._folder.chunks(path)

    def below(self, path: str) -> list[str]:
        """The paths of what stands below one."""
        return self._folder.below(path)

    def listing(self) -> Iterator[list[Listed]]:
        """All that stands there, in pages of a thousand: a request for each."""
        return self._folder.listing()

    def verified(self, path: str, *, sha256: str) -> bool:
        """The same, read whole."""
        return self._folder.digest(path) == sha256

    def same(self, one: str, other: str) -> bool:
        """Whether two videos of ours have the same content."""
        first, second = self.standing(one), self.standing(other)
        return first is not None and second is not None and first.sha256 is not None and _alike(first, second)

    def copy(self, source: str, target: str, *, sha256: str | None = None) -> Standing:
        """The same video under a second name; by the store itself, so that no byte comes here.

        `sha256` is what the source must be, where that is known.
        """
        found = self.standing(source)
        if found is None or sha256 not in (None, found.sha256):
            raise self._folder.error(source, f"what was put there is not there any more, but {found}")
        self._folder.copy(source, target)
        landed = self.standing(target)
        if landed is None or not _alike(found, landed):
            raise self._folder.error(target, f"the copy is not what was copied: {landed}")
        return landed

    def move(self, source: str, target: str) -> None:
        """A copy, then the end of the old one. A move that was cut in two is made again as if it had not begun."""
        self.copy(source, target)
        self._folder.delete(source)

    def publish(self, file: Path) -> None:
        """Put a report beside the videos, in the place of the one before."""
        self._folder.upload(file, file.name)

    def silent(self, seconds: float) -> OutputStoreError:
        """What is said where nobody waits any longer."""
        return self._folder.error("", f"it did not do in {seconds:.0f} s what it was asked")


def _alike(one: Standing, other: Standing) -> bool:
    """Whether two objects have the same content, by what they say. ETags tell nothing: one of pieces is another one."""
    return (one.size, one.sha256) == (other.size, other.sha256)
