"""The first of two steps by which a finished video comes into a batch's store: under a name that nobody looks at.

A video is uploaded below `_batch/arriving/`, looked at, and given its final key by a copy on the store's side, which is
made by the process that holds the batch and by no other: whoever uploads may have been stopped for hours when it goes
on, on whatever machine, and cannot touch what stands under a final key by then. What arrives and is not wanted any more
is swept away by a run at its beginning and its end.

Nothing here needs the runner: all of it works as well on another machine, from arguments that can be sent there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from lipsync_batch.storage.folder import StoreFolder

ARRIVING = "_batch/arriving"
_OPEN = 8
"""Folders that stay open in a process: finding out who we are takes its time."""

_opened = lru_cache(maxsize=_OPEN)(StoreFolder)


def staging_path(tag: str) -> str:
    """A path that nothing else has, for one upload. `tag` names the generation, and holds no dot."""
    return f"{ARRIVING}/{tag}.{secrets.token_hex(8)}"


def tag_of(path: str) -> str:
    """Which generation an upload is of."""
    return path.rpartition("/")[2].partition(".")[0]


def upload(
    file: Path,
    url: str,
    path: str,
    *,
    sha256: str,
    profile: str | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Bring a whole, checked file into the store `url` of a batch, to a path of `staging_path`.

    Blocks. OutputStoreError where the store does not take all of it, UploadStoppedError soon after `stop` says so.
    """
    _opened(url, profile=profile).upload(file, path, sha256=sha256, stop=stop)
