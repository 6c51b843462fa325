"""The network under the client: what it promises of a connection, whatever the other end does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpcore2
import pytest
from misbehaving import Connection, MisbehavingServer, Script, closed_port

from lipsync_batch.providers.network import MOST_AHEAD, AsyncioBackend

MIB = 2**20


@asynccontextmanager
async def connected(script: Script) -> AsyncIterator[httpcore2.AsyncNetworkStream]:
    """A stream to a server that follows the script."""
    async with MisbehavingServer(script) as server:
        stream = await AsyncioBackend().connect_tcp("127.0.0.1", server.port, timeout=5)
        try:
            yield stream
        finally:
            await stream.aclose()


async def test_refused_connection_says_that_nothing_was_sent() -> None:
    with pytest.raises(httpcore2.ConnectError):
        await AsyncioBackend().connect_tcp("127.0.0.1", await closed_port(), timeout=5)


async def test_name_that_does_not_exist_says_that_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    with pytest.raises(httpcore2.ConnectError, match="Name or service not known"):
        await AsyncioBackend().connect_tcp("api.example", 443, timeout=5)


async def test_second_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with an IPv6 address that leads nowhere is reached by its other one."""

    async def greets(connection: Connection) -> None:
        await connection.send(b"hello")

    async with MisbehavingServer(greets) as server:
        nowhere = ("::1", await closed_port(), 0, 0)
        addresses = [
            (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", nowhere),
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", server.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)

        stream = await AsyncioBackend().connect_tcp("api.example", server.port, timeout=5)

        assert await stream.read(100, timeout=5) == b"hello"
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", server.port)
        await stream.aclose()


async def test_what_came_is_read_before_the_end_is_told() -> None:
    async def answers_and_closes(connection: Connection) -> None:
        await connection.send(b"the answer")

    async with connected(answers_and_closes) as stream:
        await asyncio.sleep(0.02)

        assert await stream.read(3, timeout=5) == b"the"
        assert await stream.read(100, timeout=5) == b" answer"
        assert await stream.read(100, timeout=5) == b""


async def test_what_came_is_read_before_a_reset_is_told() -> None:
    """An answer that names an id is worth more than how the connection ended."""

    async def answers_and_resets(connection: Connection) -> None:
        await connection.send(b"the answer")
        await asyncio.sleep(0.02)
        connection.reset()

    async with connected(answers_and_resets) as stream:
        await asyncio.sleep(0.05)

        assert await stream.read(100, timeout=5) == b"the answer"
        with pytest.raises(httpcore2.ReadError):
            await stream.read(100, timeout=5)


@pytest.mark.parametrize("sends", [b"", b"HTTP/1.1 408 Request Timeout"], ids=["hung up", "said too much"])
async def test_idle_connection_that_is_spoilt_shows(sends: bytes) -> None:
    """The pool asks this before it sends another request there."""

    async def script(connection: Connection) -> None:
        await connection.send(sends)

    async with connected(script) as stream:
        assert not stream.get_extra_info("is_readable")

        await asyncio.sleep(0.05)

        assert stream.get_extra_info("is_readable")


async def test_write_waits_for_a_server_that_does_not_read() -> None:
    """What a write has returned from is the system's: only then a body counts as handed over."""

    async def deaf(connection: Connection) -> None:
        connection._writer.transport.pause_reading()
        await connection.hang()

    async with connected(deaf) as stream:
        with pytest.raises(httpcore2.WriteTimeout):
            await stream.write(bytes(64 * MIB), timeout=0.1)


async def test_closed_connection_sends_nothing_more() -> None:
    """A body whose last write ran out of time counts as cut: the rest of it must never get there afterwards."""
    received = 0
    go_on = asyncio.Event()
    ended = asyncio.Event()

    async def reads_late(connection: Connection) -> None:
        nonlocal received
        connection._writer.transport.pause_reading()
        await go_on.wait()
        connection._writer.transport.resume_reading()
        while data := await connection._reader.read(MIB):
            received += len(data)
        ended.set()

    async with MisbehavingServer(reads_late) as server:
        stream = await AsyncioBackend().connect_tcp("127.0.0.1", server.port, timeout=5)
        with pytest.raises(httpcore2.WriteTimeout):
            await stream.write(bytes(64 * MIB), timeout=0.1)
        await stream.aclose()
        go_on.set()
        await asyncio.wait_for(ended.wait(), 10)

    assert 0 < received < 64 * MIB


async def test_write_to_a_connection_that_was_lost_fails() -> None:
    async def resets(connection: Connection) -> None:
        connection.reset()

    async with connected(resets) as stream:
        await asyncio.sleep(0.05)

        with pytest.raises(httpcore2.WriteError):
            await stream.write(b"GET / HTTP/1.1", timeout=5)


async def test_flood_waits_at_the_server() -> None:
    """A server that talks without end does not fill our memory while nobody reads."""

    async def floods(connection: Connection) -> None:
        await connection.send(bytes(64 * MIB))

    async with connected(floods) as stream:
        await asyncio.sleep(0.1)

        assert len(stream._connection.received) < MOST_AHEAD + MIB  # type: ignore[attr-defined]  # ours
        total = 0
        while total < 64 * MIB:
            total += len(await stream.read(MIB, timeout=5))


async def test_silence_is_told_after_the_time_out() -> None:
    async with connected(Connection.hang) as stream:
        with pytest.raises(httpcore2.ReadTimeout):
            await stream.read(100, timeout=0.05)


async def test_cancelled_read_loses_nothing() -> None:
    go_on = asyncio.Event()

    async def answers_late(connection: Connection) -> None:
        await go_on.wait()
        await connection.send(b"late")

    async with connected(answers_late) as stream:
        reading = asyncio.create_task(stream.read(100, timeout=5))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        go_on.set()

        assert await stream.read(100, timeout=5) == b"late"
