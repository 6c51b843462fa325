"""One attempt to move the bytes of a link into a part: redirects, Range, and what the server makes of them.

It goes on where the part stands if the server can prove, by a strong ETag, that it still has the same file.
No key, no cookie and no user info is ever sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2

from lipsync_batch import headers, media
from lipsync_batch.fetching import large_body
from lipsync_batch.fetching.part import Part
from lipsync_batch.version import VERSION

MAX_REDIRECTS = 5

DECODED = frozenset({"gzip", "deflate"})
"""Content encodings that are undone. None is asked for, but object stores send what was stored."""

_ASKED = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"lipsync-batch/{VERSION}"}


class TransferError(Exception):
    """The bytes did not come, or not all of them. Another attempt may bring them. `retry_after` in seconds."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class LinkError(Exception):
    """The server answers, but not with the file. `passing` where another attempt may find it."""

    def __init__(self, reason: str, *, status: int, passing: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.passing = passing


class StopAskedError(Exception):
    """The caller's `stop` said so."""


class Transfer:
    """What does not change between the attempts on one link. Time-outs in seconds."""

    def __init__(self, *, client: httpx2.Client, stop: Callable[[], bool], connect: float, stall: float) -> None:
        self._client = client
        self._stop = stop
        self._stall = stall
        self._timeout = httpx2.Timeout(stall, connect=connect)

    def attempt(self, url: httpx2.URL, part: Part) -> None:
        """Bring what `part` lacks. Raises the errors above, and OSError for the disk's."""
        try:
            with self._answer(url, part) as response:
                self._receive(response, part)
        except httpx2.RequestError as error:
            raise TransferError(self._what_failed(error, part)) from error

    @contextmanager
    def _answer(self, url: httpx2.URL, part: Part) -> Iterator[httpx2.Response]:
        """The answer at the end of all redirects, its body still to come."""
        asked = _ASKED
        if part.etag and part.size:
            asked = asked | {"Range": f"bytes={part.size}-", "If-Range": part.etag}
        for _ in range(MAX_REDIRECTS + 1):
            with self._get(url, asked) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                url = _next_hop(url, response)
        raise TransferError(f"the link was redirected more than {MAX_REDIRECTS} times")

    @contextmanager
    def _get(self, url: httpx2.URL, asked: dict[str, str]) -> Iterator[httpx2.Response]:
        self._raise_if_stopped()
        # Built without the client: what headers and cookies it has are for others.
        request = httpx2.Request("GET", url, headers=asked, extensions={"timeout": self._timeout.as_dict()})
        # An empty Auth: `None` would still turn user info in the link into a header.
        response = self._client.send(request, auth=httpx2.Auth(), follow_redirects=False, stream=True)
        try:
            yield response
        finally:
            response.close()

    def _receive(self, response: httpx2.Response, part: Part) -> None:
        went_on = "Range" in response.request.headers
        match response.status_code:
            case 200:
                self._receive_whole(response, part)
            case 206 if went_on:
                self._receive_rest(response, part)
            case 416 if went_on:
                part.clear()
                raise TransferError("the server would not go on where the download broke off")
            case _:
                raise _refusal(response)

    def _receive_whole(self, response: httpx2.Response, part: Part) -> None:
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"identity", "", *DECODED}:
            raise TransferError("the server sends the file in an encoding that was not asked for")
        encoded = encoding in DECODED
        chunks = response.iter_bytes() if encoded else response.iter_raw()
        # Looked at before the part is cleared: an error page must not cost what has come so far.
        first = next(chunks, b"")
        refuse_page(first)
        # Lengths and positions in the encoded body are not those of the file.
        part.begin(
            etag=None if encoded else headers.strong_etag(response.headers),
            total=None if encoded else headers.content_length(response.headers),
        )
        self._write(self._with_the_rest(first, chunks, response, part.total), part)

    def _receive_rest(self, response: httpx2.Response, part: Part) -> None:
        place = headers.content_range(response.headers)
        same_file = headers.strong_etag(response.headers) == part.etag and "Content-Encoding" not in response.headers
        if place is None or not same_file or place.first != part.size or not _agree(place.total, part.total):
            part.clear()
            raise TransferError("the server went on with another file, or at another place")
        part.total = part.total or place.total
        chunks, length = response.iter_raw(), headers.content_length(response.headers)
        self._write(self._with_the_rest(next(chunks, b""), chunks, response, length), part)
        if part.size > place.last + 1:
            part.clear()
            raise TransferError("the server sent more than it announced")

    def _with_the_rest(
        self, first: bytes, chunks: Iterator[bytes], response: httpx2.Response, length: int | None
    ) -> Iterator[bytes]:
        """A body of `length` bytes in chunks, of which the first was taken from `chunks` already."""
        left = 0 if length is None else length - len(first)
        rest = (
            large_body.read(response, left, timeout=self._stall) if large_body.can_be_read(response, left) else chunks
        )
        return itertools.chain([first], rest)

    def _write(self, chunks: Iterator[bytes], part: Part) -> None:
        for chunk in chunks:
            self._raise_if_stopped()
            part.write(chunk)

    def _raise_if_stopped(self) -> None:
        if self._stop():
            raise StopAskedError

    def _what_failed(self, error: httpx2.RequestError, part: Part) -> str:
        """An error without its own words: they may name the link."""
        match error:
            case httpx2.ConnectError() | httpx2.ConnectTimeout():
                return "no connection to the server of the link"
            case httpx2.ReadTimeout():
                what = f"nothing came for {self._stall:g} s"
            case _:
                what = f"the connection broke ({type(error).__name__})"
        whole = f" of {part.total:,}" if part.total else ""
        return f"{what}, after {part.size:,}{whole} bytes"


def http_url(link: str) -> httpx2.URL | None:
    """The link, character for character as far as HTTP allows (`%2F` stays); None for what is no web address."""
    try:
        url = httpx2.URL(link.strip())
    except (httpx2.InvalidURL, ValueError):
        return None
    return url if url.scheme in {"http", "https"} and url.host else None


def refuse_page(head: bytes) -> None:
    """Raise LinkError if a file begins like a page. Expired links, early links and outages give pages alike."""
    kind = media.disguise(head) if head else "an empty file"
    if kind:
        raise LinkError(f"the link gives {kind}, not a video", status=200, passing=True)


def _next_hop(url: httpx2.URL, response: httpx2.Response) -> httpx2.URL:
    try:
        target = url.join(response.headers["Location"])
    except httpx2.InvalidURL as error:
        raise TransferError("the link was redirected to something that is no web address") from error
    if target.scheme not in {"http", "https"} or not target.host:
        raise TransferError("the link was redirected to something that is no web address")
    if url.scheme == "https" and target.scheme == "http":
        raise TransferError("the link was redirected from https to http, which is not followed")
    return target


def _refusal(response: httpx2.Response) -> TransferError | LinkError:
    """What an answer without the file means. A refused link may be expired, early or wrong: a fresh one may do."""
    status = response.status_code
    if 400 <= status < 500 and status not in {408, 416, 421, 425, 429}:
        return LinkError(f"the link answers {status}", status=status, passing=False)
    return TransferError(f"the server answers {status}", retry_after=headers.retry_after(response.headers))


def _agree(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other
