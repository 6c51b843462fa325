"""Download one finished video: whole, checked, and durable under the name that the caller gave.

`fetch` is a pure, idempotent, blocking function. It needs nothing of the runner, so it runs in a thread or on another
machine as well. What came of it is a value of a closed union; exceptions are bugs.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Literal

import httpx2
import tenacity

from lipsync_batch import files, media
from lipsync_batch.fetching.part import Part
from lipsync_batch.fetching.transfer import LinkError, StopAskedError, Transfer, TransferError, http_url, refuse_page
from lipsync_batch.jobs import FileInfo, MediaInfo

STEP = 1024 * 1024
"""Bytes that count as progress: a bad line may break any number of times, as long as so much comes in between."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What is known of a file before its download."""

    bytes: int | None = None
    """Its length as the provider named it."""
    check: Literal["media", "size"] = "media"
    """Whether it must prove to be a playable video, or only to have its length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a download goes on under faults. Seconds. A slow download without a fault is never given up."""

    connect: float = 10.0
    stall: float = 30.0
    """Without a single byte, before the connection counts as dead. Also how late a stop may be noticed."""
    attempts: int = 6
    """That together bring less than `STEP`."""
    seconds: float = 180.0
    """Since the last `STEP` that came, pauses included."""
    first_pause: float = 0.5
    longest_pause: float = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """The file is whole, checked and synced."""

    info: FileInfo
    lies_alone: bool = False
    """Whether nothing but the part itself was left on disk, so that there is nothing to discard after its rename."""
    staged: str | None = None
    """Where another machine left it, as a path in the batch: below `_batch/arriving/`. None: in the destination."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkDead:
    """This link does not give the file: ask the provider for a fresh one.

    `status` is the server's last answer: 4xx, or 200 with a page or nothing in it; None where it was never asked.
    """

    status: int | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """The transfer failed although it was tried again: try later. `retry_after` in seconds, where the server said."""

    reason: str
    retry_after: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BadFile:
    """The provider's file itself is wrong: the same bytes came whole, twice, and are not the video. None is kept."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskFull:
    """There is no room for the file. What has come so far is kept."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskBroken:
    """The disk takes nothing, or does not give it back. No other file will fare better."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """The caller asked to stop. What has come so far is kept."""


Outcome = Fetched | LinkDead | Broken | BadFile | DiskFull | DiskBroken | Stopped


def fetch(
    link: str,
    destination: Path,
    *,
    expected: Expected = Expected(),
    stop: Callable[[], bool] = lambda: False,
    client: httpx2.Client | None = None,
    patience: Patience = Patience(),
) -> Outcome:
    """Download `link` to `destination`, a name of the caller's that stands for one generation, and check it.

    A part that is already there goes on by Range where the server can prove that it is the same file. The caller
    renames the file, then calls `part.discard` unless it `lies_alone`. `client` may be shared between threads: see
    `download_client`.
    `stop` is asked before each request, at each chunk and while waiting.
    """
    if client is None:
        with download_client() as own:
            return fetch(link, destination, expected=expected, stop=stop, client=own, patience=patience)
    url = http_url(link)
    if url is None:
        return LinkDead(status=None, reason="the provider's link is not an http or https address")
    transfer = Transfer(client=client, stop=stop, connect=patience.connect, stall=patience.stall)
    try:
        with Part(destination, _source(url)) as part:
            return _Download(url, part, expected, transfer, stop, patience).run()
    except OSError as error:
        return _disk_trouble(error)


def download_client() -> httpx2.Client:
    """A client for downloads: no key, no cookies, no proxy on the way to this machine. Safe to share between threads.

    (The pool under a sync client is locked, and nothing else of it changes after its making once cookies are out.)
    """
    direct: dict[str, httpx2.BaseTransport | None] = {
        f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")
    }
    return httpx2.Client(cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())), mounts=direct)


class _BadFileError(Exception):
    """The same bad bytes came twice."""


class _Download:
    """One call of `fetch`: attempts until the file is whole and right, or patience is at its end."""

    def __init__(
        self,
        url: httpx2.URL,
        part: Part,
        expected: Expected,
        transfer: Transfer,
        stop: Callable[[], bool],
        patience: Patience,
    ) -> None:
        self._url = url
        self._part = part
        self._expected = expected
        self._transfer = transfer
        self._stop = stop
        self._patience = patience
        self._reached = part.size
        self._reached_at = time.monotonic()
        self._attempts = 0
        self._bad_sha256: str | None = None

    def run(self) -> Outcome:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            stop=self._patience_is_over,
            wait=self._pause,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            info = retrying(self._attempt)
            return Fetched(info=info, lies_alone=self._part.lies_alone)
        except StopAskedError:
            return Stopped()
        except LinkError as error:
            return LinkDead(status=error.status, reason=error.reason)
        except TransferError as error:
            return Broken(reason=error.reason, retry_after=error.retry_after)
        except _BadFileError as error:
            return BadFile(reason=str(error))

    def _attempt(self) -> FileInfo:
        if not self._part.is_complete:
            self._transfer.attempt(self._url, self._part)
        self._check_length()
        info = self._check_content()
        self._part.finish()
        return FileInfo(bytes=self._part.size, sha256=self._part.sha256, media=info)

    def _check_length(self) -> None:
        size, total = self._part.size, self._part.total
        if total is not None and size != total:
            raise TransferError(f"the transfer ended after {size:,} of {total:,} bytes")
        if self._expected.bytes not in {None, size}:
            raise self._bad(f"it has {size:,} bytes, where the provider says {self._expected.bytes:,}")

    def _check_content(self) -> MediaInfo | None:
        """Where no length is known, only the media itself can say whether it is whole."""
        length_is_known = self._part.total is not None or self._expected.bytes is not None
        try:
            refuse_page(self._part.head)
            if self._expected.check == "size" and length_is_known:
                return None
            return media.check(self._part.path)
        except LinkError:
            self._part.clear()
            raise
        except media.BadMediaError as error:
            raise self._bad(str(error)) from error

    def _bad(self, reason: str) -> _BadFileError | TransferError:
        """The file's fault when the same bytes were bad before; else it may be the transfer's, which is done over."""
        sha256 = self._part.sha256
        self._part.clear()
        if sha256 == self._bad_sha256:
            return _BadFileError(reason)
        self._bad_sha256 = sha256
        return TransferError(f"the file came damaged: {reason}")

    # What follows is asked by tenacity between attempts.

    def _patience_is_over(self, state: tenacity.RetryCallState) -> bool:
        """Attempts and seconds count from the last step of progress."""
        now = time.monotonic()
        if self._part.size >= self._reached + STEP:
            self._reached, self._reached_at, self._attempts = self._part.size, now, 0
        self._attempts += 1
        seconds = now - self._reached_at + state.upcoming_sleep
        return self._attempts >= self._patience.attempts or seconds > self._patience.seconds

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """What the server asks for, and a random share of a doubling pause on top, so that lanes do not go in step."""
        longest = min(self._patience.longest_pause, self._patience.first_pause * 2.0**self._attempts)
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, TransferError) else None
        return (asked or 0.0) + random.uniform(longest / 2, longest)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stop() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, TransferError) or (isinstance(error, LinkError) and error.passing)


def _source(url: httpx2.URL) -> str:
    """What a link points at, whatever its signature; hashed, since links are kept in jobs.db alone."""
    place = str(url).partition("#")[0].partition("?")[0]
    return hashlib.sha256(place.encode()).hexdigest()


def _disk_trouble(error: OSError) -> DiskFull | DiskBroken | Broken:
    reason = f"cannot write the file: {error.strerror or type(error).__name__}"
    if error.errno in files.FULL:
        return DiskFull(reason=reason)
    return DiskBroken(reason=reason) if error.errno in files.BROKEN else Broken(reason=reason)
