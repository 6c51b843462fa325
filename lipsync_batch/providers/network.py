"""The network under httpx2, on asyncio alone: it carries the many small requests of a run.

httpcore2's own goes through anyio, which takes about as long for a request as the rest of httpcore2 does: a scope of
cancelling, an event and a turn of the loop for each read and each write. What a failed submit rests on is the same
here: ConnectError and ConnectTimeout mean that nothing was sent, a write returns when the system has taken all of it,
and a connection that is closed sends nothing more.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import httpcore2

T = TypeVar("T")

HAPPY_EYEBALLS = 0.25
"""Seconds until the next address of a name is tried beside one that does not answer (RFC 8305)."""
MOST_AHEAD = 256 * 1024
"""Bytes that may wait to be read; a server that sends more has to wait itself."""

PIECE = 64 * 1024
"""Bytes that are read at a time of what is encrypted."""


class AsyncioBackend(httpcore2.AsyncNetworkBackend):
    """Makes connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Errors are ConnectError and ConnectTimeout."""
        loop = asyncio.get_running_loop()
        with _named(httpcore2.ConnectError, httpcore2.ConnectTimeout):
            async with asyncio.timeout(timeout):
                _, connection = await loop.create_connection(
                    Connection,
                    host,
                    port,
                    local_addr=(local_address, 0) if local_address else None,
                    happy_eyeballs_delay=None if _is_address(host) else HAPPY_EYEBALLS,
                )
        for option in socket_options or ():
            connection.transport.get_extra_info("socket").setsockopt(*option)
        return Stream(connection)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Encryptable(httpcore2.AsyncNetworkStream):
    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """The same connection, encrypted from here on. ConnectError, ConnectTimeout."""
        encrypted = EncryptedStream(self, ssl_context, server_hostname)
        try:
            with _named(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                async with asyncio.timeout(timeout):
                    await encrypted.shake_hands()
        except httpcore2.NetworkError as error:  # while hands were shaken: nothing of a request was sent
            raise httpcore2.ConnectError(str(error)) from error
        finally:
            if not encrypted.trusted:
                await self.aclose()
        return encrypted


class Stream(_Encryptable):
    """One connection, as httpcore2 reads and writes it: never two reads or writes at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, at least a byte; nothing once the server has hung up. ReadError, ReadTimeout."""
        with _named(httpcore2.ReadError, httpcore2.ReadTimeout):
            return await self._connection.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Hand all of it to the system. WriteError, WriteTimeout: some of it may be on its way."""
        if buffer:
            with _named(httpcore2.WriteError, httpcore2.WriteTimeout):
                await self._connection.write(buffer, timeout)

    async def aclose(self) -> None:
        # Not `close`: that goes on sending what a write had to leave, and a submit that counts as cut would get there.
        self._connection.transport.abort()

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "is_readable":  # asked of an idle connection: whether the server has hung up, or said too much
                return self._connection.ended or bool(self._connection.received)
            case "client_addr":
                return self._connection.transport.get_extra_info("sockname")
            case "server_addr":
                return self._connection.transport.get_extra_info("peername")
            case _:
                return self._connection.transport.get_extra_info(info)


class EncryptedStream(_Encryptable):
    """TLS over another stream.

    Not asyncio's own: its writes return before the system has taken what they were given.
    """

    def __init__(
        self, stream: httpcore2.AsyncNetworkStream, context: ssl.SSLContext, server_hostname: str | None
    ) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self.trusted = False
        """The handshake is over, and the server is who it should be."""

    async def shake_hands(self) -> None:
        """Begin. ssl.SSLError where the server is not trusted, or speaks no TLS."""
        await self._carry(self._tls.do_handshake, None)
        self.trusted = True

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As of a stream. A server that hangs up without a farewell has hung up: HTTP knows whether it had said all."""
        with _named(httpcore2.ReadError, httpcore2.ReadTimeout):
            try:
                return await self._carry(lambda: self._tls.read(max_bytes), timeout)
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As of a stream."""
        with _named(httpcore2.WriteError, httpcore2.WriteTimeout):
            while buffer:
                sent = await self._carry(partial(self._tls.write, buffer), timeout)
                buffer = buffer[sent:]

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object":
                return self._tls
            case "is_readable":
                return bool(self._incoming.pending) or self._stream.get_extra_info(info)
            case _:
                return self._stream.get_extra_info(info)

    async def _carry(self, step: Callable[[], T], timeout: float | None) -> T:
        """Do a step of the protocol, with what it has to send and to hear for that."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await self._send(timeout)
                await self._hear(timeout)
            else:
                await self._send(timeout)
                return done

    async def _send(self, timeout: float | None) -> None:
        if self._outgoing.pending:
            await self._stream.write(self._outgoing.read(), timeout)

    async def _hear(self, timeout: float | None) -> None:
        if heard := await self._stream.read(PIECE, timeout):
            self._incoming.write(heard)
        else:
            self._incoming.write_eof()


class Connection(asyncio.Protocol):
    """What the loop tells of one connection, and the one who waits for it."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.received = bytearray()
        self.ended = False
        """Nothing more will come."""
        self._lost: Exception | None = None
        self._full = False
        """The system has not taken all of the last write yet."""
        self._waiting: asyncio.Future[None] | None = None

    async def read(self, max_bytes: int, timeout: float | None) -> bytes:
        """What has come. OSError, or TimeoutError after so many seconds."""
        while not self.received and not self.ended:
            await self._something(timeout)
        if not self.received and self._lost is not None:
            raise self._lost
        piece = bytes(self.received[:max_bytes])
        del self.received[:max_bytes]
        if len(self.received) < MOST_AHEAD and not self.transport.is_closing():
            self.transport.resume_reading()
        return piece

    async def write(self, data: bytes, timeout: float | None) -> None:
        """Return when the system has taken all. OSError, or TimeoutError after so many seconds."""
        self._must_be_open()
        self.transport.write(data)
        while self._full and not self.transport.is_closing():
            await self._something(timeout)
        self._must_be_open()

    # Told by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(0)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if len(self.received) >= MOST_AHEAD:
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self.ended = True
        self._wake()
        return True  # a server that has said all may still listen

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._lost = exc
        self._wake()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def _must_be_open(self) -> None:
        if self.transport.is_closing():
            raise self._lost or ConnectionResetError("the connection was lost")

    async def _something(self, seconds: float | None) -> None:
        """Wait until the loop has something to tell; TimeoutError after so many seconds."""
        self._waiting = self._loop.create_future()
        # Not `asyncio.timeout`, which costs as much as the wait: nobody but this one ends it.
        alarm = None if seconds is None else self._loop.call_later(seconds, self._give_up, self._waiting)
        try:
            await self._waiting
        finally:
            self._waiting = None
            if alarm is not None:
                alarm.cancel()

    def _give_up(self, waiting: asyncio.Future[None]) -> None:
        if not waiting.done():
            waiting.set_exception(TimeoutError())

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def _is_address(host: str) -> bool:
    """Whether there is but one place to try: asyncio's race leaves its winner unclosed when it is cancelled."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@contextmanager
def _named(failed: type[Exception], timed_out: type[Exception]) -> Iterator[None]:
    """httpcore2's names for what goes wrong."""
    try:
        yield
    except TimeoutError as error:
        raise timed_out(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error
