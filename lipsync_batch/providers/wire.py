"""HTTP to one origin: two pools of connections, time-outs, the key, and answers as far as they came.

What a failure means for a submit is not decided here: `NETWORK` is raised to those who know how far a body got.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from urllib.parse import quote, urlencode

import httpx2

from lipsync_batch.errors import UsageError
from lipsync_batch.masking import Secrets, mask
from lipsync_batch.providers.answers import LONGEST_MESSAGE, Answer
from lipsync_batch.providers.body import RequestBody
from lipsync_batch.providers.connections import put_under
from lipsync_batch.version import VERSION

CONNECTIONS = 64
GET_IDLE = 15.0
"""Seconds that a connection may be idle and still take another GET."""
MOST_BYTES = 1024 * 1024
"""What is read of an answer's body. The largest documented one, a page of the log, is a tenth of it."""

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"lipsync-batch/{VERSION}"}
_ASKED = httpx2.Headers(_HEADERS)
_KEY = re.compile(r"[!-~]+")

NETWORK = (httpx2.RequestError, OSError)
"""What the network does. ssl.SSLError comes through httpx2 as it is; TimeoutError is an OSError, too."""
BEFORE_SENDING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
"""These come before the first byte of a request is written (httpcore2, `_async/connection.py`, `http_proxy.py`)."""
TIMED_OUT = (httpx2.TimeoutException, TimeoutError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Seconds. `whole_post` and `whole_get` bound a call from end to end, however slowly the server drips."""

    connect: float = 10.0
    pool: float = 10.0
    write: float = 60.0
    """For each chunk of a body."""
    read_post: float = 60.0
    read_get: float = 30.0
    whole_post: float = 150.0
    """Without its body, which has what it takes at `slowest_upload`."""
    whole_get: float = 60.0
    slowest_upload: int = 64 * 1024
    """Bytes a second."""

    def post(self) -> httpx2.Timeout:
        return httpx2.Timeout(connect=self.connect, pool=self.pool, write=self.write, read=self.read_post)

    def get(self) -> httpx2.Timeout:
        return httpx2.Timeout(connect=self.connect, pool=self.pool, write=self.write, read=self.read_get)


class Bearer(httpx2.Auth):
    """Puts the key on requests to the API's origin, and on no other. The one place that holds the key to send it."""

    def __init__(self, key: str, origin: str) -> None:
        self._key = key
        self._origin = origin

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        if _origin_of(request.url) == self._origin:
            request.headers["Authorization"] = f"Bearer {self._key}"
        yield request


class Wire:
    """What goes to the API's origin, and to no other."""

    def __init__(
        self, base_url: str, key: str | None, timeouts: Timeouts, transport: httpx2.AsyncBaseTransport | None
    ) -> None:
        """UsageError if the URL, the key, or the proxy named in the environment cannot be used."""
        self.origin = _checked_origin(base_url)
        if key and not _KEY.fullmatch(key):
            raise UsageError("the API key holds a character that no header can carry")
        self._secrets = Secrets({key} if key else ())
        self._bearer = Bearer(key, self.origin) if key else None
        self._timeouts = timeouts
        # Each POST has a connection of its own. On a used one the server may hang up under it, or an answer that was
        # left over may be read as its own: a handshake costs nothing against a pair that is unclear, or mixed up.
        self._posts = self._client(timeouts.post(), kept=0, transport=transport)
        self._gets = self._client(timeouts.get(), kept=CONNECTIONS, transport=transport)
        self._post_timeout, self._get_timeout = timeouts.post().as_dict(), timeouts.get().as_dict()
        self._urls: dict[str, httpx2.URL] = {}

    async def aclose(self) -> None:
        await self._posts.aclose()
        await self._gets.aclose()

    async def post(self, path: str, body: RequestBody, headers: Mapping[str, str]) -> Answer:
        """Send a JSON body. NETWORK if no answer began, and whatever the body raises while it is made."""
        described = {"Content-Type": "application/json", "Content-Length": str(body.length)}
        extensions = {"timeout": self._post_timeout}
        request = httpx2.Request(
            "POST", self._url(path), headers={**_HEADERS, **described, **headers}, content=body, extensions=extensions
        )
        seconds = self._timeouts.whole_post + body.length / self._timeouts.slowest_upload
        return await self._exchange(self._posts, request, seconds=seconds, auth=self._bearer)

    async def get(self, path: str, query: Mapping[str, str], *, authorized: bool = True) -> Answer:
        """Ask for something. NETWORK if no answer began."""
        # By itself, not by the client: that merges addresses and headers anew each time, and takes as long as the rest.
        url = f"{self.origin}{path}?{urlencode(query, quote_via=quote)}" if query else f"{self.origin}{path}"
        request = httpx2.Request("GET", url, headers=_ASKED, extensions={"timeout": self._get_timeout})
        auth = self._bearer if authorized else None
        return await self._exchange(self._gets, request, seconds=self._timeouts.whole_get, auth=auth)

    def _url(self, path: str) -> httpx2.URL:
        if path not in self._urls:
            self._urls[path] = httpx2.URL(f"{self.origin}{path}")
        return self._urls[path]

    async def _exchange(
        self, client: httpx2.AsyncClient, request: httpx2.Request, *, seconds: float, auth: Bearer | None
    ) -> Answer:
        """Send a request and read the answer. Raises what the network did only where no answer began.

        The status and the headers decide much by themselves: they are kept, whatever becomes of the body.
        """
        answer: Answer | None = None
        body = bytearray()
        broken = ""
        try:
            async with asyncio.timeout(seconds):
                response = await client.send(request, stream=True, auth=auth)
                try:
                    answer = Answer(status=response.status_code, headers=response.headers, secrets=self._secrets)
                    chunks = response.aiter_bytes()
                    async for chunk in chunks:
                        body += chunk
                        if len(body) > MOST_BYTES:
                            broken = f"it is longer than {MOST_BYTES:,} bytes"
                            await chunks.aclose()
                            break
                finally:
                    await response.aclose()
        except NETWORK as error:
            if answer is None:
                raise
            broken = f"it broke off: {self.in_words(error)}"
        return replace(answer, body=bytes(body), broken=broken)

    def in_words(self, error: Exception) -> str:
        """What happened, for people."""
        name, text = type(error).__name__, mask(str(error), secrets=self._secrets, limit=LONGEST_MESSAGE)
        return f"{text} ({name})" if text else name

    def _client(
        self, timeout: httpx2.Timeout, *, kept: int, transport: httpx2.AsyncBaseTransport | None
    ) -> httpx2.AsyncClient:
        """A client with connections of its own, of which so many are kept when they are idle."""
        trust_env = not _is_loopback(self.origin)
        tls = _tls(trust_env=trust_env)
        try:
            client = httpx2.AsyncClient(
                verify=tls,
                base_url=self.origin,
                headers=_HEADERS,
                timeout=timeout,
                limits=httpx2.Limits(
                    max_connections=CONNECTIONS, max_keepalive_connections=kept, keepalive_expiry=GET_IDLE
                ),
                follow_redirects=False,
                trust_env=trust_env,
                transport=transport,
            )
        except (ValueError, ImportError, httpx2.InvalidURL) as error:
            raise UsageError(
                f"the proxy named in the environment cannot be used: {mask(str(error))}",
                hint="Look at HTTPS_PROXY, HTTP_PROXY and ALL_PROXY. For a SOCKS proxy: pip install socksio",
            ) from error
        put_under(client, tls, most=CONNECTIONS, kept=kept, idle_seconds=GET_IDLE)
        return client


@cache
def _tls(*, trust_env: bool) -> ssl.SSLContext:
    """What certificates are checked against. Reading them takes 50 ms, so it is done once."""
    return httpx2.create_ssl_context(trust_env=trust_env)


def _origin_of(url: httpx2.URL) -> str:
    """Scheme, host and port, in lower case and without the port that goes without saying."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _is_loopback(origin: str) -> bool:
    """Whether an origin is on this machine: no proxy of the environment is for that."""
    host = httpx2.URL(origin).host
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked_origin(base_url: str) -> str:
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL as error:
        raise UsageError("the API's base URL is not a URL") from error
    beyond = url.userinfo or url.query or url.fragment or url.path.strip("/")
    if url.scheme not in ("http", "https") or not url.host or beyond:
        raise UsageError("the API's base URL must be scheme, host and port alone, like https://api.aimlapi.com")
    return _origin_of(url)
