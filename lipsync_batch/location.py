"""Where a batch is: BATCH is a manifest or its batch folder, everywhere."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lipsync_batch import files
from lipsync_batch.errors import BatchError, UsageError
from lipsync_batch.files import STATE, Folder
from lipsync_batch.mounts import network_drive

DATABASE = "jobs.db"
POINTER = "state-folder.txt"
"""In `_batch/` of a batch whose state is elsewhere (--state): one line, the path of its state folder."""
SANDBOX_ENDING = ".sandbox"


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """A batch's folders, and the manifest if it was named."""

    folder: Folder
    manifest: Path | None
    named: str
    """How the user named the batch: what commands that go on are written with."""

    @property
    def database(self) -> Path:
        return self.folder.state / DATABASE

    @property
    def exists(self) -> bool:
        return self.database.exists()

    @property
    def was_begun(self) -> bool:
        """Whether anything is left of a run: a ledger, a log or a report."""
        return self.exists or _trace(self) is not None

    def must_exist(self) -> None:
        """BatchError where nothing was run yet, or where the ledger of what was run is gone."""
        if not self.exists:
            must_be_untouched(self)
            raise BatchError(
                f"{self.named}: nothing was run yet (there is no {self.database})",
                hint=f"`lipsync-batch run {self.named}` makes the batch; if it is elsewhere, name its folder instead.",
            )


def find(target: Path, *, out: Path | None = None, state: Path | None = None, sandbox: bool = False) -> Location:
    """The batch that `target` means, whether or not it exists yet. UsageError where it can be none.

    `out` defaults to `out/<manifest's name>` beside the manifest; a rehearsal has a folder of its own.
    """
    if not target.exists():
        raise UsageError(
            f"{target}: there is no such manifest or batch folder",
            hint="Check its name. To make a manifest of media or of a sheet: lipsync-batch init FOLDER|SHEET",
        )
    if target.is_dir():
        if out is not None:
            raise UsageError("--out goes with a manifest; a batch folder is its own", hint="Leave --out away.")
        return _of_folder(target)
    manifest = target.resolve()
    root = (out or manifest.parent / "out" / _name(manifest, sandbox=sandbox)).resolve()
    return Location(folder=Folder(root, _state(root, state)), manifest=manifest, named=str(target))


def prepare(location: Location) -> None:
    """Make the folders of a batch, and say in the batch folder where its state is.

    BatchError where that is no place for a ledger, or where the ledger of what was paid for has gone; DiskError where
    no disk has room.
    """
    must_be_local(location)
    if not location.exists:
        must_be_untouched(location)
    make_folders(location)


def must_be_untouched(location: Location) -> None:
    """BatchError where a batch was run, whose ledger is gone or empty."""
    if (trace := _trace(location)) is not None:
        raise BatchError(
            f"{location.folder.root}: a batch was run here ({trace.name} is there), but its ledger "
            f"{location.database} is gone: what was paid for is not known any more",
            hint=f"`lipsync-batch rebuild {location.named}` makes it again from what is left, the manifest and the "
            "provider's records. Or put jobs.db back, or mount the disk that it is on. To pay for everything anew: "
            "another --out.",
        )


def make_folders(location: Location) -> None:
    """Make the folders of a batch, whatever was there; see `prepare`."""
    folder = location.folder
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
        folder.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        inside = folder.root / STATE
        if folder.state != inside:
            inside.mkdir(exist_ok=True)
            _point(inside / POINTER, folder.state)
    except OSError as error:
        if error.errno in {*files.FULL, errno.EIO}:
            raise files.disk_error(error, folder.root) from error
        raise BatchError(
            f"{folder.root}: the batch folder cannot be made ({error.strerror})", hint="Choose another with --out."
        ) from error


def _point(pointer: Path, state: Path) -> None:
    """Say durably where the state is, before anything is in it: without this the ledger would not be found again."""
    line = f"{state}\n"
    if pointer.is_file() and pointer.read_text(encoding="utf-8") == line:
        return
    part = pointer.with_name(f"{pointer.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    part.replace(pointer)
    files.fsync_folder(pointer.parent)
    files.fsync_folder(pointer.parent.parent)


def must_be_local(location: Location) -> None:
    """BatchError where the state would be on a network drive."""
    state = location.folder.state
    if (kind := network_drive(state)) is not None:
        raise BatchError(
            f"{state}: on a network drive ({kind}), where the ledger's locks and commits do not hold",
            hint="Keep it on a local disk: --state DIR. The videos may go to the network drive.",
        )


def _trace(location: Location) -> Path | None:
    """What a batch leaves behind that was begun: a sign that there was a ledger."""
    root, state = location.folder.root, location.folder.state
    log = state / "run.log"
    signs = [
        (log, b'"intent"'),
        (log, b'"accepted"'),  # its beginning may be gone
        (root / "report.json", b'"batch_id"'),
        (root / "report.csv", b"client_request_id"),
    ]
    if not state.exists():  # on a disk that is not mounted, perhaps
        signs.append((root / STATE / POINTER, b"/"))
    return next((path for path, sign in signs if _holds(path, sign)), None)


def _holds(path: Path, sign: bytes) -> bool:
    with suppress(OSError), path.open("rb") as lines:
        return any(sign in line for line in lines)
    return False


def _of_folder(root: Path) -> Location:
    root = root.resolve()
    location = Location(folder=Folder(root, _state(root, None)), manifest=None, named=str(root))
    if not location.exists:
        raise UsageError(
            f"{root}: a folder, but not of a batch (there is no {location.database})",
            hint="Name a manifest, or the folder that `run` made for it. If it is gone: `lipsync-batch rebuild`."
            if _trace(location) is not None
            else "Name a manifest, or the folder that `run` made for it.",
        )
    return location


def _name(manifest: Path, *, sandbox: bool) -> str:
    return manifest.stem + (SANDBOX_ENDING if sandbox else "")


def _state(root: Path, asked: Path | None) -> Path:
    """The state folder: where it has been, or else where it is asked for. UsageError where the two disagree."""
    inside = root / STATE
    has_been = inside if (inside / DATABASE).exists() else None
    if (inside / POINTER).is_file():
        has_been = Path((inside / POINTER).read_text(encoding="utf-8").strip())
        if not has_been.is_absolute():
            raise UsageError(
                f"{inside / POINTER} does not say where the state of this batch is",
                hint="Write the path of its state folder into it: the folder below --state that holds jobs.db.",
            )
    if asked is None:
        return has_been or inside
    # One --state folder may serve many batches: each has its own below it.
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
    place = asked.resolve() / f"{root.name}-{digest}"
    if has_been not in (None, place):
        raise UsageError(
            f"{root}: the state of this batch is in {has_been} already",
            hint=f"Leave --state away. To move it while no run goes on: move all that is in there to {place}, and "
            f"write that path into {inside / POINTER}.",
        )
    return place


def forget(location: Location) -> None:
    """Remove what `prepare` made for a batch that came to nothing. Folders that hold anything else stay."""
    state = location.folder.state
    shutil.rmtree(state / "sandbox", ignore_errors=True)
    pointer = location.folder.root / STATE / POINTER
    # The lock goes last: who waits for it may make the batch anew from then on.
    mine = [state / name for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", "run.log")]
    for path in (*mine, pointer, state / "lock"):
        with suppress(OSError):
            path.unlink()
    for folder in (state, location.folder.root / STATE, location.folder.root, location.folder.root.parent):
        with suppress(OSError):
            folder.rmdir()
