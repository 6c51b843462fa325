"""Videos that other machines put into a shared batch folder, before they have their names.

Each stands below `_batch/arriving/` of the folder, wherever the state is kept: beside nothing that anybody looks at,
under a name that nobody else ever writes to. Only the process that holds the batch gives it its final name.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from lipsync_batch import files
from lipsync_batch.fetching import part

ARRIVING = f"{files.STATE}/arriving"


def new(tag: str) -> str:
    """A path in the batch that nothing else has, for one file. `tag` names the generation, and holds no dot."""
    return f"{ARRIVING}/{tag}.{secrets.token_hex(8)}"


def found(root: Path, tag: str, sha256: str) -> str | None:
    """The one of a generation that has the content that was committed; each is read whole."""
    for file in _files(root):
        if _tag(file) == tag and files.matches(file, size=None, sha256=sha256):
            return f"{ARRIVING}/{file.name}"
    return None


def sweep(root: Path, wanted: Callable[[str], bool]) -> None:
    """Remove what nobody waits for: files of workers that were taken for dead. `wanted` is asked by the tag."""
    for file in list(_files(root)):
        if not wanted(_tag(file)):
            with suppress(OSError):
                part.discard(file)
    with suppress(OSError):
        (root / ARRIVING).rmdir()  # if it is empty


def _files(root: Path) -> Iterator[Path]:
    try:
        yield from (root / ARRIVING).iterdir()
    except FileNotFoundError:
        return


def _tag(file: Path) -> str:
    return file.name.partition(".")[0]
