"""Files that are never seen half-written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from lipsync_batch.files import fsync_folder


@contextmanager
def replacing(path: Path, *, encoding: str = "utf-8", newline: str = "\n") -> Iterator[TextIO]:
    """Write `path` anew: what is written appears under its name all at once, when the block ends well.

    When it does not, the old file stays as it was. The process id in the temporary name keeps apart a run and a
    `report` command that write at the same time: the last one to finish wins, with a whole file.
    """
    with (
        _standing_in(path) as part,
        part.open("w", encoding=encoding, errors="backslashreplace", newline=newline) as out,
    ):
        # A lone surrogate (a broken file name, a provider's broken JSON) must not cost the report of a whole night.
        yield out
        out.flush()
        os.fsync(out.fileno())


@contextmanager
def replacing_bytes(path: Path) -> Iterator[BinaryIO]:
    """The same for a file of bytes."""
    with _standing_in(path) as part, part.open("w+b") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())


@contextmanager
def _standing_in(path: Path) -> Iterator[Path]:
    """A temporary file's name; it becomes `path` when the block ends well, and is gone when it does not."""
    _clear_leftovers(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    fsync_folder(path.parent)


def is_left_behind(name: str) -> bool:
    """Whether a name in a folder is that of a temporary file, `.NAME.PID.part`, whose process is gone."""
    number = name.removesuffix(".part").rpartition(".")[2]
    return name.startswith(".") and name.endswith(".part") and number.isdecimal() and not _is_alive(int(number))


def _clear_leftovers(path: Path) -> None:
    """What processes left behind that were killed while they wrote: nobody else takes it away."""
    for part in path.parent.glob(f".{path.name}.*.part"):
        if is_left_behind(part.name):
            part.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # it is another user's, or no number of ours
        pass
    return True
