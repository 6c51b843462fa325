"""Which connection a request goes over: what is kept, what is used again, and what never is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpcore2
import httpx2
import pytest
from misbehaving import Connection, MisbehavingServer, Script

from lipsync_batch.providers.connections import Connections, put_under
from lipsync_batch.providers.network import AsyncioBackend, Stream

IDLE_SECONDS = 5.0


class InputGoneError(Exception):
    """A body that cannot be made."""


async def answers_all(connection: Connection) -> None:
    while True:
        await connection.whole_request()
        await connection.answer(200, {"ok": True})


@asynccontextmanager
async def client_of(
    script: Script, *, most: int = 8, kept: int = 8, idle_seconds: float = IDLE_SECONDS
) -> AsyncIterator[tuple[httpx2.AsyncClient, MisbehavingServer]]:
    """A client whose requests go over connections of ours, and the server that it asks."""
    async with MisbehavingServer(script) as server:
        tls = ssl.create_default_context()
        client = httpx2.AsyncClient(base_url=server.origin, timeout=5, trust_env=False, verify=tls)
        put_under(client, tls, most=most, kept=kept, idle_seconds=idle_seconds)
        try:
            yield client, server
        finally:
            await client.aclose()


async def test_client_has_its_connections_from_here() -> None:
    """httpx2 has no setting for it: a version that keeps its pools elsewhere shows here, not in a slower night."""
    tls = ssl.create_default_context()
    client = httpx2.AsyncClient(proxy="http://127.0.0.1:9", verify=tls)

    put_under(client, tls, most=1, kept=1, idle_seconds=1)

    assert isinstance(client._transport._pool, Connections)  # type: ignore[attr-defined]
    [proxied] = [transport for transport in client._mounts.values() if transport is not None]
    assert isinstance(proxied._pool._network_backend, AsyncioBackend)  # type: ignore[attr-defined]
    await client.aclose()


async def test_requests_one_after_another_share_a_connection() -> None:
    async with client_of(answers_all) as (client, server):
        for _ in range(3):
            assert (await client.get("/")).status_code == 200

        assert server.connections == 1


async def test_nothing_is_kept_where_nothing_is_to_be_kept() -> None:
    """A submit's connection is its own: what was left over on a used one may be read as its answer."""
    async with client_of(answers_all, kept=0) as (client, server):
        for _ in range(3):
            await client.get("/")

        assert server.connections == 3


async def test_closing_brace_of_a_body_is_a_write_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head may go with the first of the body, for nothing starts by that; what makes it whole goes alone."""
    written: list[bytes] = []
    write = Stream.write

    async def noted(stream: Stream, buffer: bytes, timeout: float | None = None) -> None:
        written.append(bytes(buffer))
        await write(stream, buffer, timeout)

    monkeypatch.setattr(Stream, "write", noted)

    async def body() -> AsyncIterator[bytes]:
        yield b'{"a": 1'
        yield b"}"

    async with client_of(answers_all, kept=0) as (client, _):
        answer = await client.post("/", content=body(), headers={"Content-Length": "8"})

    assert answer.status_code == 200
    first, *rest = filter(None, written)
    assert first.startswith(b"POST / HTTP/1.1\r\n")
    assert first.endswith(b'{"a": 1')
    assert rest == [b"}"]


async def test_body_that_fails_at_once_sends_not_even_a_head() -> None:
    received = b""

    async def listens(connection: Connection) -> None:
        nonlocal received
        received = await connection._reader.read(1000)

    async def body() -> AsyncIterator[bytes]:
        raise InputGoneError
        yield b""

    async with client_of(listens, kept=0) as (client, server):
        with pytest.raises(InputGoneError):
            await client.post("/", content=body(), headers={"Content-Length": "8"})
        await asyncio.sleep(0.05)

        assert server.connections == 1
    assert received == b""


async def test_no_more_connections_than_are_allowed() -> None:
    async with client_of(answers_all, most=4) as (client, server):
        await asyncio.gather(*(client.get("/") for _ in range(40)))

        assert server.connections <= 4


async def test_waiting_for_a_connection_ends_with_its_time_out_and_sends_nothing() -> None:
    async with client_of(Connection.hang, most=1) as (client, server):
        first = asyncio.create_task(client.get("/"))
        await asyncio.sleep(0.05)

        with pytest.raises(httpx2.PoolTimeout):
            await client.get("/", timeout=httpx2.Timeout(5, pool=0.05))

        assert server.connections == 1
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_one_that_fails_or_is_cancelled_makes_room_for_the_next() -> None:
    hung_up = 0

    async def hangs_up_twice(connection: Connection) -> None:
        nonlocal hung_up
        await connection.whole_request()
        hung_up += 1
        if hung_up == 1:
            return
        if hung_up == 2:
            await connection.hang()
        await connection.answer(200, {"ok": True})

    async with client_of(hangs_up_twice, most=1) as (client, server):
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/")
        cancelled = asyncio.create_task(client.get("/"))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)

        assert (await client.get("/")).status_code == 200
        assert server.connections == 3


@pytest.mark.parametrize("sends", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"], ids=["hung up", "said too much"])
async def test_idle_connection_that_is_spoilt_is_not_used(sends: bytes) -> None:
    """Else the next request's answer would be what was said to nobody."""

    async def spoilt(connection: Connection) -> None:
        await connection.whole_request()
        await connection.answer(200, {"ok": True})
        await connection.send(sends)

    async with client_of(spoilt) as (client, server):
        await client.get("/")
        await asyncio.sleep(0.05)

        assert (await client.get("/")).json() == {"ok": True}
        assert server.connections == 2


async def test_connection_that_was_idle_for_too_long_is_not_used() -> None:
    async with client_of(answers_all, idle_seconds=0.02) as (client, server):
        await client.get("/")
        await asyncio.sleep(0.05)
        await client.get("/")

        assert server.connections == 2


async def test_answer_that_is_not_read_to_its_end_closes_its_connection() -> None:
    async def talks(connection: Connection) -> None:
        await connection.whole_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000))
        await connection.hang()

    async with client_of(talks, most=1) as (client, server):
        for _ in range(2):
            async with client.stream("GET", "/") as answer:
                async for _chunk in answer.aiter_bytes():
                    break

        assert server.connections == 2


async def test_another_origin_is_not_asked_over_this_ones_connection() -> None:
    connections = Connections(ssl.create_default_context(), most=2, kept=2, idle_seconds=5)
    async with MisbehavingServer(answers_all) as one, MisbehavingServer(answers_all) as other:
        for server in (one, other):
            url = httpcore2.URL(server.origin + "/")
            headers = [(b"Host", b"127.0.0.1")]
            answer = await connections.handle_async_request(httpcore2.Request("GET", url, headers=headers))
            await answer.aread()
            await answer.aclose()

        assert (one.connections, other.connections) == (1, 1)
    await connections.aclose()
