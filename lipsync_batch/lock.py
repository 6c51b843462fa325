"""One run at a time: an OS lock on the batch, free the moment its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lipsync_batch.errors import BatchHeldError
from lipsync_batch.files import disk_faults


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Hold a batch's state folder; BatchHeldError (exit 4) while another process does, DiskError if it cannot be."""
    with disk_faults(state / "lock"):
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            raise BatchHeldError(
                f"another run holds this batch (process {holder}): {state.parent}",
                hint="Wait until it has ended, or end it with Ctrl-C; `lipsync-batch status` shows how far it is.",
            ) from None
        with suppress(OSError):  # who holds it is for people only: the lock itself is the kernel's
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        yield
    finally:
        os.close(descriptor)


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
