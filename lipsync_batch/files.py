"""The files of a batch: where they stand, and how they get there without ever being half there.

A path in jobs.db is relative: to the batch folder, or, when it begins with `_batch/`, to the state folder, which may
be on another disk. Nothing is ever renamed onto an occupied path: what stands there goes to `_batch/superseded/`.
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lipsync_batch.errors import DiskError

STATE = "_batch"
SUPERSEDED = f"{STATE}/superseded"
LONGEST_STEM = 200
"""Bytes of an output's path that name it in superseded/: a name may have 255 in all."""
LOWEST_FREE = 512 * 1024 * 1024
"""Bytes that must stay free, so that answers to paid calls can always be recorded."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
BROKEN = frozenset({errno.EIO, errno.EROFS, errno.ENXIO, errno.ENODEV, errno.ESTALE})
"""What a disk says whatever file is written to it."""
_NO_FOLDER_FSYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF})
"""Some network file systems have no fsync for folders; a rename is then as durable as they make it."""
OF_ONE_NAME = frozenset(
    {errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EILSEQ, errno.ENOTEMPTY}
)
"""What is said of one path: others on the same disk fare better."""
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
REMEDY_FULL = "Free some space on that disk, then run the same command again: nothing that was paid for is lost."
REMEDY_READ_ONLY = "Make it writable, then run the same command again: nothing that was paid for is lost."
REMEDY_OTHER = "Look after that disk, then run the same command again: nothing that was paid for is lost."


@dataclass(frozen=True, slots=True)
class Folder:
    """A batch folder and its state folder."""

    root: Path
    state: Path

    def path(self, relative: str) -> Path:
        """The file that a path in jobs.db means."""
        if relative.startswith(f"{STATE}/"):
            return self.state / relative.removeprefix(f"{STATE}/")
        return self.root / relative

    def superseded(self, output: str, tag: str) -> str:
        """A free relative path in `superseded/` for a file that is, or was, at `output`."""
        number = 0
        while True:
            relative = superseded_name(output, tag, number)
            if not os.path.lexists(self.path(relative)):
                return relative
            number += 1

    def part(self, relative: str, tag: str) -> Path:
        """Where a file is downloaded to before it has its name: beside it, so that the rename stays on one disk."""
        final = self.path(relative)
        return final.with_name(f"{final.name}.{tag}.part")

    def free_bytes(self) -> int:
        """On the fuller of the two disks. DiskError where one of them cannot be asked."""
        with disk_faults(self.root):
            return min(shutil.disk_usage(path).free for path in (self.root, self.state))


def tag_of_part(part: Path) -> str:
    """What `Folder.part` was told: the tag that names a generation in file names."""
    return part.name.removesuffix(".part").rpartition(".")[2]


def superseded_name(output: str, tag: str, number: int) -> str:
    """The relative path in `superseded/` that is tried as the so-many-th."""
    path = Path(output.removeprefix(f"{SUPERSEDED}/").replace("/", "__"))
    stem, ending = path.stem.encode()[:LONGEST_STEM].decode(errors="ignore"), path.suffix
    more = f".{number}" if number else ""
    return f"{SUPERSEDED}/{stem}.{tag}{more}{ending}"


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Let OSError come out as DiskError. `path` is what the block works on, where the error names nothing nearer."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error


def disk_error(error: OSError, path: Path) -> DiskError:
    """What the system says of a file, with the remedy."""
    message = f"{error.filename or path}: cannot be written or read ({error.strerror or type(error).__name__})"
    if error.errno in FULL:
        return DiskError(message, hint=REMEDY_FULL, full=True)
    return DiskError(message, hint=REMEDY_READ_ONLY if error.errno in READ_ONLY else REMEDY_OTHER)


def occupied(path: Path) -> bool:
    """Whether anything stands there, a dangling link included."""
    return os.path.lexists(path)


def land(part: Path, final: Path) -> None:
    """Give a whole, checked file its final name, durably. FileExistsError where something stands there."""
    _name(part, final)
    fsync_folder(final.parent)


def land_together(landings: Sequence[tuple[Path, Path]]) -> list[OSError | None]:
    """What `land` does for each of several (part, final), with one sync for all names in a folder; each one's error."""
    errors: list[OSError | None] = [_error(_name, part, final) for part, final in landings]
    synced: dict[Path, OSError | None] = {}
    for position, (_, final) in enumerate(landings):
        if errors[position] is None:
            if final.parent not in synced:
                synced[final.parent] = _error(fsync_folder, final.parent)
            errors[position] = synced[final.parent]
    return errors


def _error(step: Callable[..., None], *paths: Path) -> OSError | None:
    try:
        step(*paths)
    except OSError as error:
        return error
    return None


def _name(part: Path, final: Path) -> None:
    """Rename, or copy to another disk. Not durable before the folder is synced."""
    if final.parent != part.parent:
        final.parent.mkdir(parents=True, exist_ok=True)
    if occupied(final):
        raise FileExistsError(errno.EEXIST, "something stands under the final name", str(final))
    try:
        part.rename(final)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy(part, final)
        part.unlink()


def duplicate(source: Path, target: Path) -> None:
    """The same file under a second name: a hard link where the file system has them, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if occupied(target):
        raise FileExistsError(errno.EEXIST, "something stands under the final name", str(target))
    try:
        target.hardlink_to(source)
    except OSError:
        copy(source, target)
    fsync_folder(target.parent)


def same(one: Path, other: Path) -> bool:
    """Whether two names stand for one file, or for two with the same bytes. False where one cannot be read."""
    try:
        return one.samefile(other) or filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False


def copy(source: Path, target: Path) -> None:
    """A durable copy that is never seen half."""
    beside = target.with_name(f"{target.name}.copy.part")
    try:
        with source.open("rb") as reading, beside.open("wb") as writing:
            shutil.copyfileobj(reading, writing, 1024 * 1024)
            writing.flush()
            os.fsync(writing.fileno())
        beside.rename(target)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """Make names durable: a rename is only on disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_FSYNC:
            raise
    finally:
        os.close(descriptor)


def matches(path: Path, *, size: int | None, sha256: str | None) -> bool:
    """Whether a file is, byte for byte, what was committed. False when nothing was."""
    if sha256 is None:
        return False
    try:
        if size is not None and path.stat().st_size != size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False
