"""Which connection a request goes over, under httpx2: one that is idle, else a new one, of so many in all.

httpcore2's pool goes through all its connections and requests when a request comes and when it ends, under anyio's
locks: it serves many origins and protocols. Here is one origin that speaks HTTP/1.1, and how much is asked of it at
once is decided elsewhere: hardly a request ever waits for a connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpcore2
import httpx2

from lipsync_batch.providers.network import AsyncioBackend


def put_under(client: httpx2.AsyncClient, tls: ssl.SSLContext, *, most: int, kept: int, idle_seconds: float) -> None:
    """Have a client's requests go over `Connections`; by way of a proxy, over connections that are made as those are.

    httpx2 has no setting for it. A version of it that keeps its pools elsewhere goes on with its own.
    """
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if type(pool) is httpcore2.AsyncConnectionPool:
            replaced: Any = transport
            replaced._pool = Connections(tls, most=most, kept=kept, idle_seconds=idle_seconds)
        elif isinstance(pool, httpcore2.AsyncConnectionPool):
            pool._network_backend = AsyncioBackend()


class Connections:
    """Connections to one origin, in the place of httpcore2's pool."""

    def __init__(self, tls: ssl.SSLContext, *, most: int, kept: int, idle_seconds: float) -> None:
        """At most so many at once, of which some are kept when they are idle, for so long."""
        self._tls = tls
        self._room = asyncio.Semaphore(most)
        self._kept = kept
        self._idle_seconds = idle_seconds
        self._backend = AsyncioBackend()
        self._idle: list[httpcore2.AsyncHTTP11Connection] = []
        """The one that was used last comes last, and is used next: those that are too many grow old."""

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        """Send a request, and read the head of its answer. Errors are httpcore2's, PoolTimeout among them."""
        await self._enter(request)
        try:
            connection = await self._free(request.url.origin) or await self._new(request)
            answer = await connection.handle_async_request(request)
        except BaseException:
            self._room.release()
            raise
        answer.stream = _Body(answer.stream, connection, self)
        return answer

    async def aclose(self) -> None:
        """Close those that are idle; the others close with their answers."""
        idle, self._idle, self._kept = self._idle, [], 0
        for connection in idle:
            await connection.aclose()

    async def take_back(self, connection: httpcore2.AsyncHTTP11Connection) -> None:
        """Its answer is over. It is closed by now where that broke off, or was to be the last."""
        self._room.release()
        if connection.is_idle():
            if len(self._idle) < self._kept:
                self._idle.append(connection)
            else:
                await connection.aclose()

    async def _enter(self, request: httpcore2.Request) -> None:
        if not self._room.locked():
            await self._room.acquire()  # at once
            return
        try:
            async with asyncio.timeout(_seconds(request, "pool")):
                await self._room.acquire()
        except TimeoutError as error:
            raise httpcore2.PoolTimeout("no connection became free") from error

    async def _free(self, origin: httpcore2.Origin) -> httpcore2.AsyncHTTP11Connection | None:
        """One that is idle and still good."""
        while self._idle:
            connection = self._idle.pop()
            if connection.can_handle_request(origin) and not connection.has_expired():
                return connection
            await connection.aclose()
        return None

    async def _new(self, request: httpcore2.Request) -> httpcore2.AsyncHTTP11Connection:
        origin, seconds = request.url.origin, _seconds(request, "connect")
        host = origin.host.decode("ascii")
        stream = await self._backend.connect_tcp(host, origin.port, timeout=seconds)
        if origin.scheme == b"https":
            self._tls.set_alpn_protocols(["http/1.1"])
            stream = await stream.start_tls(self._tls, server_hostname=host, timeout=seconds)
        if not self._kept:  # for one request, so that only its head is ever the first thing written
            stream = _HeadWithBody(stream)
        return httpcore2.AsyncHTTP11Connection(origin, stream, keepalive_expiry=self._idle_seconds)


class _HeadWithBody(httpcore2.AsyncNetworkStream):
    """Sends the head of the one request with the first of its body, or before the answer is read: one packet less.

    Until a write of the body has returned nothing is known to be handed over, as without this.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._head: bytes | None = None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._head is None:
            self._head = buffer
        elif buffer:
            head, self._head = self._head, b""
            await self._stream.write(head + buffer if head else buffer, timeout)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            await self._stream.write(head, timeout)
        return await self._stream.read(max_bytes, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Body:
    """The body of an answer, whose end gives the connection back."""

    def __init__(self, body: Any, connection: httpcore2.AsyncHTTP11Connection, home: Connections) -> None:
        """`body` is httpcore2's: iterated over once, then closed."""
        self._body = body
        self._connection = connection
        self._home = home
        self._over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        chunks: AsyncIterator[bytes] = self._body.__aiter__()
        return chunks

    async def aclose(self) -> None:
        if self._over:
            return
        self._over = True
        try:
            await self._body.aclose()
        finally:
            await self._home.take_back(self._connection)


def _seconds(request: httpcore2.Request, what: str) -> float | None:
    """A time-out of the request's."""
    seconds: float | None = request.extensions.get("timeout", {}).get(what)
    return seconds
