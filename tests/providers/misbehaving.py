"""A server on loopback that follows a script for each connection, down to the socket: it resets, hangs, drips, lies.

A script is a coroutine function that gets the `Connection`. When it returns, the connection is closed in good order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Request:
    """A request as far as it came."""

    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytearray = field(default_factory=bytearray)
    """The first megabyte of it."""
    received: int = 0
    """Bytes of the body that came."""

    @property
    def announced(self) -> int:
        return int(self.headers.get("content-length", "0"))

    @property
    def whole(self) -> bool:
        return self.received == self.announced


class Connection:
    """One connection, as a script sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: list[Request]) -> None:
        self._reader = reader
        self._writer = writer
        self._requests = requests

    async def head(self) -> Request:
        """Read up to the empty line."""
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        request = Request(method, target, {name.lower(): value for name, value in headers.items()})
        self._requests.append(request)
        return request

    async def body(self, request: Request, most: int | None = None) -> None:
        """Read the body, or `most` bytes of it."""
        wanted = request.announced if most is None else most
        while request.received < wanted:
            data = await self._reader.read(min(256 * 1024, wanted - request.received))
            if not data:
                return
            request.received += len(data)
            request.body += data[: max(0, 2**20 - len(request.body))]

    async def whole_request(self) -> Request:
        request = await self.head()
        await self.body(request)
        return request

    async def send(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError("the client has gone")
        self._writer.write(data)
        await self._writer.drain()
        await asyncio.sleep(0)  # over TLS nothing above waits for anybody

    async def answer(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        """Send a well-formed answer. A body that is not bytes goes out as JSON."""
        await self.send(answer(status, body, headers))

    async def carry(self, host: str, port: int, carried: bytearray) -> None:
        """Pass on what comes from either side to the other; `carried` gets a copy of it."""
        reader, writer = await asyncio.open_connection(host, port)

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(64 * 1024):
                carried.extend(data)
                target.write(data)

        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(pass_on(self._reader, writer))
                both.create_task(pass_on(reader, self._writer))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def reset(self) -> None:
        """Answer with RST: what was not read yet is lost on both sides."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def hang(self) -> None:
        """Neither read nor write, until the server is closed."""
        await asyncio.Event().wait()

    async def drip(self, data: bytes, *, pause: float = 0.02) -> None:
        for byte in data:
            await self.send(bytes([byte]))
            await asyncio.sleep(pause)


async def talks_for_ever(connection: Connection) -> None:
    """A script: the body of the answer never ends."""
    await connection.whole_request()
    await connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await connection.send(b" " * 64 * 1024)


def answer(status: int, body: object = None, headers: dict[str, str] | None = None) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content))} | (headers or {})
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + content


Script = Callable[[Connection], Awaitable[None]]


class MisbehavingServer:
    """Runs the given scripts, one for each connection; the last of them for all further ones."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self._scripts = list(scripts)
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[Request] = []
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.origin = f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def read_what_came(self) -> None:
        """Wait until the scripts have read what the client left on its way: it counts as what the server had."""
        received = None
        while received != (received := sum(request.received for request in self.requests)):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # The client going away in the middle of a script is what most scripts provoke.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await script(Connection(reader, writer, self.requests))
        finally:
            writer.close()
            self._tasks.discard(task)


async def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose queue of connections is full: the next one is neither taken nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
