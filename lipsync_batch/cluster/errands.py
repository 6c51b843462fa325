"""What a worker of a cluster does for a run: it fetches a video, or looks at inputs, and says what came of it.

All of it is called by its import path, and needs nothing of the run but what it is handed. Whatever a worker writes has
a name of its own that nobody else ever writes to: one that was taken for dead, and goes on, is in nobody's way.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx2

from lipsync_batch import inputs
from lipsync_batch.errors import LipsyncBatchError, OutputStoreError
from lipsync_batch.fetching import arrivals
from lipsync_batch.fetching.fetch import (
    DiskBroken,
    DiskFull,
    Expected,
    Fetched,
    Outcome,
    Stopped,
    download_client,
    fetch,
)
from lipsync_batch.fetching.part import discard
from lipsync_batch.inputs import FileFacts, Kind, Trouble
from lipsync_batch.storage.arriving import staging_path, upload
from lipsync_batch.storage.folder import UploadStoppedError
from lipsync_batch.storage.outputs import OutputStore
from lipsync_batch.version import VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedFolder:
    """A batch folder that every worker sees under the same path."""

    root: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedStore:
    """A batch's folder in object storage. Each worker goes there with credentials of its own."""

    url: str
    profile: str | None = None


Place = SharedFolder | SharedStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """A video to bring."""

    version: str
    """Of the program that sends for it."""
    batch: str
    link: str = field(repr=False)
    """Workers log what they were at when they fail: the link is not for logs."""
    tag: str
    """Names the generation in file names."""
    token: str
    """Names the connection over which it was sent; see `fit`."""
    expected: Expected
    place: Place
    at_once: int
    """Videos that one worker may fetch at once."""


@dataclass(frozen=True, slots=True)
class Look:
    """Inputs to look at."""

    version: str
    files: Sequence[tuple[Path, Kind]]


@dataclass(frozen=True, slots=True)
class Unfit:
    """This worker cannot do it; another one may."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class NotKept:
    """The video came, and its store did not take it from this worker: its fault, or the store's."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """It was told to end what the connection had sent for that the errand came over."""

    worker: str


@dataclass(frozen=True, slots=True)
class Bug:
    """An exception that nobody knows of, with its traceback."""

    text: str


Brought = Outcome | Unfit | NotKept | Ended | Bug


def program_version() -> str:
    """What is installed where this is called."""
    return VERSION


# Fitness

_TOKENS: dict[str, str] = {}
"""By batch, the connection of its run that is there now: whatever an earlier one sent for is to end."""


async def fit(terms: Mapping[str, Any]) -> str | None:
    """Why this worker cannot be used on these terms; None where it can.

    Of the terms another version of the program must be able to read `version`. With `batch` comes what it is to be
    fetched for: from then on what was sent for over an earlier connection than `token` ends.
    """
    if terms["version"] != VERSION:
        return f"lipsync-batch {VERSION} is installed there, and {terms['version']} here"
    return await asyncio.to_thread(_unfitness, terms)


def _unfitness(terms: Mapping[str, Any]) -> str | None:
    try:
        import av  # noqa: F401 - whether it loads
    except ImportError as error:
        return f"PyAV cannot be loaded there ({error})"
    if terms.get("batch") is None:
        return None
    _TOKENS[terms["batch"]] = terms["token"]
    place: Place = terms["place"]
    try:
        match place:
            case SharedFolder(root=root):
                return _unseen(root / arrivals.ARRIVING, terms["nonce"])
            case SharedStore():
                return _locked_out(place, terms["batch"], terms["nonce"])
    except LipsyncBatchError as error:
        return f"{error}. {error.hint}".removesuffix(". ")
    except OSError as error:
        return _words(error)


def _unseen(folder: Path, nonce: str) -> str | None:
    """What a run put into its folder must be seen, and something must be put beside it."""
    try:
        if (folder / f"{nonce}.seen").read_text() != nonce:
            return f"{folder} is another folder there"
    except FileNotFoundError:
        return f"the batch folder is not seen there: {folder} lacks what this run put into it"
    except OSError as error:
        return f"the batch folder cannot be read there: {error.filename}: {error.strerror}"
    probe = folder / f"{nonce}.{secrets.token_hex(4)}.probe"
    try:
        probe.write_text(nonce)
        probe.unlink()
    except OSError as error:
        return f"the batch folder cannot be written there: {error.filename}: {error.strerror}"
    return None


def _locked_out(place: SharedStore, batch: str, nonce: str) -> str | None:
    """The store must be the run's own, and must take something."""
    store = OutputStore(place.url, profile=place.profile)
    if (owner := store.owner()) != batch:
        return f"{place.url} is not this batch's store there: it is {owner or 'nobody'}'s"
    with _scratch() as file:
        file.write_text(nonce)
        path = staging_path(nonce)
        upload(file, place.url, path, sha256=hashlib.sha256(nonce.encode()).hexdigest(), profile=place.profile)
    store.remove([path])
    return None


async def halt(batch: str, token: str) -> None:
    """Whatever goes on here for a connection is to end as soon as it can; a word that comes late is about no other."""
    if _TOKENS.get(batch) == token:
        _TOKENS[batch] = ""


# Videos


def bring(errand: Errand) -> Brought:
    """Fetch a video into the place from which the run takes it: see `Fetched.staged`.

    What goes wrong with this machine is its own, and neither the video's nor the run's.
    """
    if errand.version != VERSION:
        return _unfit(f"lipsync-batch {VERSION} is installed there, and {errand.version} here")

    def stopped() -> bool:
        return _TOKENS.get(errand.batch, errand.token) != errand.token

    try:
        with _turn(errand.at_once):
            brought = Stopped() if stopped() else _bring(errand, stopped)
            return Ended(_me()) if isinstance(brought, Stopped) else brought
    except (OSError, MemoryError) as error:
        return _unfit(_words(error))
    except Exception:  # noqa: BLE001 - raised where the run is, which ends by it
        return Bug(traceback.format_exc())


def _bring(errand: Errand, stopped: Callable[[], bool]) -> Brought:
    match errand.place:
        case SharedFolder(root=root):
            return _into_folder(errand, root, stopped)
        case SharedStore() as place:
            return _into_store(errand, place, stopped)


def _into_folder(errand: Errand, root: Path, stopped: Callable[[], bool]) -> Brought:
    staged = arrivals.new(errand.tag)
    part = root / staged
    if not part.parent.is_dir():
        return _unfit(f"the batch folder is not seen there any more: {part.parent}")
    outcome = fetch(errand.link, part, expected=errand.expected, stop=stopped, client=_client())
    if isinstance(outcome, Fetched):
        return replace(outcome, staged=staged, lies_alone=False)
    with suppress(OSError):
        discard(part)  # nobody goes on with it
    return _unfit(f"{root}: {outcome.reason}") if isinstance(outcome, DiskBroken) else outcome


def _into_store(errand: Errand, place: SharedStore, stopped: Callable[[], bool]) -> Brought:
    with _scratch() as part:
        outcome = fetch(errand.link, part, expected=errand.expected, stop=stopped, client=_client())
        match outcome:
            case DiskBroken(reason=reason) | DiskFull(reason=reason):
                return _unfit(f"{part.parent}: {reason}")
            case Fetched(info=info):
                staged = staging_path(errand.tag)
                try:
                    upload(part, place.url, staged, sha256=info.sha256, profile=place.profile, stop=stopped)
                except UploadStoppedError:
                    return Stopped()
                except OutputStoreError as error:
                    return NotKept(_me(), str(error))
                except LipsyncBatchError as error:  # it is not let in, or lacks what it takes to speak to stores
                    return _unfit(f"{error}. {error.hint}")
                return replace(outcome, staged=staged, lies_alone=False)
            case _:
                return outcome


@contextmanager
def _scratch() -> Iterator[Path]:
    """A name of one's own on the worker's own disk; whatever stands there in the end is removed."""
    from distributed import get_worker

    folder = tempfile.gettempdir()
    with suppress(ValueError):
        folder = get_worker().local_directory
    part = Path(folder) / f"lipsync-batch-{secrets.token_hex(8)}.part"
    try:
        yield part
    finally:
        with suppress(OSError):
            discard(part)


def _unfit(reason: str) -> Unfit:
    return Unfit(_me(), reason)


def _me() -> str:
    """This worker's address."""
    from distributed import get_worker

    return str(get_worker().address)


def _words(error: OSError | MemoryError) -> str:
    """What a machine says of itself."""
    if isinstance(error, MemoryError):
        return "it has no memory left"
    return f"{error.filename or 'its disk'}: {error.strerror or type(error).__name__}"


@cache
def _client() -> httpx2.Client:
    return download_client()


@cache
def _turns(at_once: int) -> threading.Semaphore:
    return threading.Semaphore(at_once)


@contextmanager
def _turn(at_once: int) -> Iterator[None]:
    """No worker fetches more at once than it was told to, however many threads it has."""
    with _turns(at_once):
        yield


# Inputs


Looked = list[FileFacts | Trouble | None] | Unfit | Bug


def look_at(look: Look) -> Looked:
    """What each file is, in their order; None where it is not seen here."""
    if look.version != VERSION:
        return _unfit(f"lipsync-batch {VERSION} is installed there, and {look.version} here")
    try:
        return [inputs.inspect(path, kind) if path.exists() else None for path, kind in look.files]
    except (OSError, MemoryError) as error:
        return _unfit(_words(error))
    except Exception:  # noqa: BLE001 - raised where the run is
        return Bug(traceback.format_exc())
