"""AI/ML API: one method per HTTP call, no retries, no sleeping.

Here is what goes over the wire; what comes back is read in `answers` and `account`. Whether a submit may have started
something is decided by how far its body got (`RequestBody`), not by the name of an exception alone: httpcore2, for
one, goes on to read an answer after a failed write.

Source: AI/ML API reference, `POST` and `GET /v2/video/generations`, and its service endpoints.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx2

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.clock import iso
from lipsync_batch.errors import UsageError
from lipsync_batch.jobs import Pair
from lipsync_batch.masking import Secrets, mask
from lipsync_batch.providers.account import PAGE, read_balance, read_charge_page, read_log_page, read_price
from lipsync_batch.providers.answers import LONGEST_MESSAGE, Answer, read_check, read_submission
from lipsync_batch.providers.base import (
    ChargePage,
    Check,
    Denied,
    LogPage,
    NotSent,
    Price,
    Submission,
    Throttled,
    Unavailable,
    Unclear,
    Unsent,
)
from lipsync_batch.providers.body import InputChangedError, RequestBody
from lipsync_batch.providers.media_links import MediaLinks
from lipsync_batch.version import VERSION

GENERATIONS = "/v2/video/generations"

CONNECTIONS = 64
POST_IDLE = 1.0
"""Seconds that a connection may have been idle and still take a POST: servers close older ones under it."""
GET_IDLE = 15.0
MOST_BYTES = 1024 * 1024
"""What is read of an answer's body. The largest documented one, a page of the log, is a tenth of it."""
LOG_WINDOW = timedelta(days=92)
"""`/v2/logs` answers 400 to more."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_KEY = re.compile(r"[!-~]+")

# What the network does. Inside, ssl.SSLError comes through as it is; TimeoutError is an OSError, too.
_NETWORK = (httpx2.RequestError, OSError)
# These come before the first byte of a request is written (httpcore2, `_async/connection.py` and `http_proxy.py`).
_BEFORE_SENDING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
_TIMED_OUT = (httpx2.TimeoutException, TimeoutError)


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
        if origin_of(request.url) == self._origin:
            request.headers["Authorization"] = f"Bearer {self._key}"
        yield request


class AimlApi:
    """The provider `pixverse/lip-sync` at AI/ML API, or at a server that speaks like it."""

    name = "aimlapi"
    capabilities = LIP_SYNC

    def __init__(
        self,
        *,
        base_url: str,
        key: str | None,
        media_base_url: str | None = None,
        media_root: Path | None = None,
        timeouts: Timeouts | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Bind to the API at `base_url` (scheme, host, port). UsageError if it or the key cannot be used.

        Without a key only what is public can be asked for: the price. Local files under `media_root` go out as links
        under `media_base_url`, if one is given, all others inline. `transport` takes the network's place in tests.
        """
        self.origin = _checked_origin(base_url)
        if key and not _KEY.fullmatch(key):
            raise UsageError("the API key holds a character that no header can carry")
        self._secrets = Secrets({key} if key else ())
        self._bearer = Bearer(key, self.origin) if key else None
        self._links = MediaLinks(media_base_url, media_root)
        self._timeouts = timeouts or Timeouts()
        self._posts = self._client(self._timeouts.post(), idle=POST_IDLE, transport=transport)
        self._gets = self._client(self._timeouts.get(), idle=GET_IDLE, transport=transport)

    def __repr__(self) -> str:
        return f"AimlApi({self.origin!r})"

    async def aclose(self) -> None:
        await self._posts.aclose()
        await self._gets.aclose()

    async def submit(self, pair: Pair, client_request_id: str) -> Submission:
        """Start one generation; what each answer means is the table in `Submission`. See `Provider.submit`."""
        assert _REQUEST_ID.fullmatch(client_request_id), "the API would silently drop this id, and bill all the same"
        try:
            body = await RequestBody.of(pair, self._links.of)
        except InputChangedError as error:
            return NotSent(reason=Unsent.INPUT_CHANGED, message=str(error))
        request = self._posts.build_request(
            "POST",
            GENERATIONS,
            content=body,
            headers={
                "Content-Type": "application/json",
                "Content-Length": str(body.length),
                "X-Client-Request-Id": client_request_id,
            },
        )
        seconds = self._timeouts.whole_post + body.length / self._timeouts.slowest_upload
        try:
            answer = await self._exchange(self._posts, request, seconds=seconds, auth=self._bearer)
        except InputChangedError as error:
            return NotSent(reason=Unsent.INPUT_CHANGED, message=str(error))
        except _NETWORK as error:
            return self._unanswered(error, body)
        return read_submission(answer, body_whole=body.whole)

    async def check(self, generation_id: str) -> Check:
        """Ask once how a generation stands. See `Provider.check`."""
        answer = await self._get(GENERATIONS, {"generation_id": generation_id})
        return answer if isinstance(answer, Unavailable) else read_check(answer, generation_id)

    async def find(
        self, *, since: datetime, until: datetime, offset: int = 0
    ) -> LogPage | Throttled | Denied | Unavailable:
        """One page of the log; `since` is moved up to the 92 days that it goes back. See `Provider.find`."""
        start = max(since, until - LOG_WINDOW)
        answer = await self._get(
            "/v2/logs",
            {
                "start": iso(start),
                "end": iso(until),
                "model": self.capabilities.model,
                "limit": str(PAGE),
                "offset": str(offset),
            },
        )
        return answer if isinstance(answer, Unavailable) else read_log_page(answer, offset=offset)

    async def charges(
        self, *, since: datetime, cursor: str | None = None
    ) -> ChargePage | Throttled | Denied | Unavailable:
        """One page of what was taken for generations. See `Provider.charges`."""
        asked = {"from": iso(since), "direction": "CHARGE", "type": "MODEL_USAGE", "limit": str(PAGE)}
        answer = await self._get("/v2/billing/transactions", asked | ({"cursor": cursor} if cursor else {}))
        return answer if isinstance(answer, Unavailable) else read_charge_page(answer)

    async def balance(self) -> int | None:
        """Micro-USD left on the account, where it can be known. See `Provider.balance`."""
        answer = await self._get("/v2/billing", {})
        return None if isinstance(answer, Unavailable) else read_balance(answer)

    async def price(self) -> Price | None:
        """The published price. Needs no key, so none is sent. See `Provider.price`."""
        model = self.capabilities.model
        answer = await self._get("/v1/models", {"id": model, "include": "pricing"}, authorized=False)
        if isinstance(answer, Unavailable):
            return None
        return read_price(answer, model=model, source=f"{self.origin}/v1/models")

    async def _get(self, path: str, query: Mapping[str, str], *, authorized: bool = True) -> Answer | Unavailable:
        request = self._gets.build_request("GET", path, params=query)
        try:
            return await self._exchange(
                self._gets, request, seconds=self._timeouts.whole_get, auth=self._bearer if authorized else None
            )
        except _NETWORK as error:
            return Unavailable(message=f"{self.origin} did not answer: {self._in_words(error)}")

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
            async with asyncio.timeout(seconds), _sent(client, request, auth) as response:
                answer = Answer(status=response.status_code, headers=response.headers, secrets=self._secrets)
                async with aclosing(response.aiter_bytes()) as chunks:
                    async for chunk in chunks:
                        body += chunk
                        if len(body) > MOST_BYTES:
                            broken = f"it is longer than {MOST_BYTES:,} bytes"
                            break
        except _NETWORK as error:
            if answer is None:
                raise
            broken = f"it broke off: {self._in_words(error)}"
        return replace(answer, body=bytes(body), broken=broken)

    def _unanswered(self, error: Exception, body: RequestBody) -> NotSent | Unclear:
        """What a submit is worth to which no answer came: a matter of how far its body got."""
        words = self._in_words(error)
        if isinstance(error, _BEFORE_SENDING) or not body.started:
            return NotSent(reason=Unsent.UNREACHABLE, message=f"{self.origin} cannot be reached: {words}")
        if not body.whole:
            return NotSent(reason=Unsent.BODY_CUT, message=f"the connection broke while the request was sent: {words}")
        code = "no_answer" if isinstance(error, _TIMED_OUT) else "connection_lost"
        return Unclear(code=code, message=f"the request was sent, and no answer came: {words}")

    def _in_words(self, error: Exception) -> str:
        name, text = type(error).__name__, mask(str(error), secrets=self._secrets, limit=LONGEST_MESSAGE)
        return f"{text} ({name})" if text else name

    def _client(
        self, timeout: httpx2.Timeout, *, idle: float, transport: httpx2.AsyncBaseTransport | None
    ) -> httpx2.AsyncClient:
        """A client of its own for each idle time: that of a pool is set once."""
        try:
            return httpx2.AsyncClient(
                base_url=self.origin,
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "User-Agent": f"lipsync-batch/{VERSION}",
                },
                timeout=timeout,
                limits=httpx2.Limits(
                    max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=idle
                ),
                follow_redirects=False,
                trust_env=not is_loopback(self.origin),
                transport=transport,
            )
        except (ValueError, ImportError, httpx2.InvalidURL) as error:
            raise UsageError(
                f"the proxy named in the environment cannot be used: {mask(str(error))}",
                hint="Look at HTTPS_PROXY, HTTP_PROXY and ALL_PROXY.",
            ) from error


@asynccontextmanager
async def _sent(
    client: httpx2.AsyncClient, request: httpx2.Request, auth: Bearer | None
) -> AsyncIterator[httpx2.Response]:
    """The answer to a request, its body still to come."""
    response = await client.send(request, stream=True, auth=auth)
    try:
        yield response
    finally:
        await response.aclose()


def origin_of(url: httpx2.URL) -> str:
    """Scheme, host and port, in lower case and without the port that goes without saying."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def is_loopback(origin: str) -> bool:
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
    return origin_of(url)
