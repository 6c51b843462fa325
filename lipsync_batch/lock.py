"""One run at a time: an OS lock on the batch, free the moment its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lipsync_batch.errors import BatchHeldError
from lipsync_batch.files import disk_faults

TRIES = 5
"""How often the lock is tried: whoever only looks whether it is held has it for a moment."""
PAUSE = 0.05
"""Seconds between two tries."""


@contextmanager
def held(state: Path) -> Iterator[int]:
    """Hold a batch's state folder; BatchHeldError (exit 4) while another process does, DiskError if it cannot be.

    Yields the descriptor that holds it: a process that inherits it holds it as well.
    """
    descriptor = _locked(state / "lock")
    try:
        with suppress(OSError):  # who holds it is for people only: the lock itself is the kernel's
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    """The lock file, locked. One that was removed meanwhile is nobody's any more, and is made again."""
    tries = 0
    while True:
        with disk_faults(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BlockingIOError:
            tries += 1
            if tries == TRIES:
                raise _held_by(descriptor, path) from None
            time.sleep(PAUSE)
        os.close(descriptor)


def _held_by(descriptor: int, path: Path) -> BatchHeldError:
    holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
    os.close(descriptor)
    return BatchHeldError(
        f"another run holds this batch (process {holder}): {path.parent.parent}",
        hint="Wait until it has ended, or end it with Ctrl-C; `lipsync-batch status` shows how far it is.",
    )


def is_held(state: Path) -> bool:
    """Whether a process holds the batch now."""
    try:
        descriptor = os.open(state / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
