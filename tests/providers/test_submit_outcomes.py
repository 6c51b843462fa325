"""The table of what a POST may mean, a test for each row, against a server that misbehaves at the socket.

A pair that is wrongly `NotSent` is paid for twice; one that is wrongly `Unclear` waits for a person.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx2
import pytest
import trustme
from aimlapi_client import ACCEPTED, KEY, PATIENT, REQUEST_ID, SMALL, api_at, api_error
from misbehaving import Connection, MisbehavingServer, Request, Script, answer, closed_port, deaf_port, talks_for_ever

from lipsync_batch.jobs import Audio, DataUri, Link, LocalFile, Pair
from lipsync_batch.providers import wire
from lipsync_batch.providers.base import Accepted, NotSent, Refusal, Refused, Submission, Unclear, Unsent
from lipsync_batch.providers.wire import Timeouts

QUICK = Timeouts(connect=0.1, pool=0.1, write=0.2, read_post=0.1, read_get=0.1, whole_post=0.2, whole_get=0.2)
ENCRYPTED_QUICK = replace(QUICK, connect=2.0, whole_post=1.0, write=0.5, read_post=0.5)
"""A handshake takes some milliseconds, and a busy machine some more."""
MIB = 2**20


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the certificates of test servers."""
    return trustme.CA()


@pytest.fixture
def certified(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """For a server on loopback whom the provider trusts."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    monkeypatch.setattr(wire, "_tls", lambda *, trust_env: client)
    return server


@pytest.fixture
def large(tmp_path: Path) -> Pair:
    """A video of 50 MB, sparse on disk."""
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(50 * MIB)
    digest = hashlib.sha256()
    for _ in range(50):
        digest.update(bytes(MIB))
    return Pair(
        fingerprint="1:bb",
        video=LocalFile(path=path),
        video_sha256=digest.hexdigest(),
        speech=Audio(source=Link(url="https://media.example/a.mp3")),
    )


class Outcome:
    """What became of a submit, with what the server saw of it: one request at most, whatever came of it."""

    def __init__(self, value: Submission, requests: list[Request]) -> None:
        assert len(requests) <= 1, "the POST was sent again"
        self.value = value
        self.requests = requests

    @property
    def server_had_it_whole(self) -> bool:
        return any(request.whole for request in self.requests)


async def submit(
    script: Script, pair: Pair = SMALL, *, timeouts: Timeouts = PATIENT, tls: ssl.SSLContext | None = None
) -> Outcome:
    async with MisbehavingServer(script, tls=tls) as server, api_at(server.origin, timeouts) as api:
        value = await api.submit(pair, REQUEST_ID)
        assert server.connections <= 1
        await server.read_what_came()
        return Outcome(value, server.requests)


def answers(status: int, body: object = None, headers: dict[str, str] | None = None) -> Script:
    async def script(connection: Connection) -> None:
        await connection.whole_request()
        await connection.answer(status, body, headers)

    return script


class TestNothingWasSent:
    """`pending` again, at no risk: the provider never had the request."""

    async def test_refused_connection(self) -> None:
        async with api_at(f"http://127.0.0.1:{await closed_port()}") as api:
            assert_not_sent(await api.submit(SMALL, REQUEST_ID), Unsent.UNREACHABLE)

    async def test_unknown_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_such_name(*_: object, **__: object) -> list[object]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
        async with api_at("http://api.example") as api:
            assert_not_sent(await api.submit(SMALL, REQUEST_ID), Unsent.UNREACHABLE)

    @pytest.mark.slow
    async def test_connection_that_is_not_taken(self) -> None:
        with deaf_port() as port:
            async with api_at(f"http://127.0.0.1:{port}", QUICK) as api:
                assert_not_sent(await api.submit(SMALL, REQUEST_ID), Unsent.UNREACHABLE)

    @pytest.mark.slow
    async def test_no_connection_free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wire, "CONNECTIONS", 1)
        held = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.whole_request()
            held.set()
            await connection.hang()

        timeouts = Timeouts(pool=0.1, read_post=30)
        async with MisbehavingServer(script) as server, api_at(server.origin, timeouts) as api:
            holder = asyncio.create_task(api.submit(SMALL, REQUEST_ID))
            await held.wait()

            second = await api.submit(SMALL, REQUEST_ID)

            holder.cancel()
            await asyncio.gather(holder, return_exceptions=True)
        assert_not_sent(second, Unsent.UNREACHABLE)

    async def test_tls_is_spoken_to_a_server_without_it(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with MisbehavingServer(script) as server, api_at(f"https://127.0.0.1:{server.port}") as api:
            assert_not_sent(await api.submit(SMALL, REQUEST_ID), Unsent.UNREACHABLE)

    async def test_proxy_that_does_not_let_through(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A refused CONNECT is the proxy's word: the API never heard of the request, nor did the proxy see the key."""

        async def proxy(connection: Connection) -> None:
            await connection.head()
            await connection.answer(502, b"")

        async with MisbehavingServer(proxy) as server:
            monkeypatch.setenv("HTTPS_PROXY", server.origin)
            async with api_at("https://api.example") as api:
                value = await api.submit(SMALL, REQUEST_ID)

        assert_not_sent(value, Unsent.UNREACHABLE)
        assert [request.method for request in server.requests] == ["CONNECT"]
        assert KEY not in str(server.requests)


def assert_not_sent(value: Submission, reason: Unsent) -> None:
    assert isinstance(value, NotSent), value
    assert value.reason is reason
    assert value.message


async def resets_at_once(connection: Connection) -> None:
    connection.reset()


def after_bytes_of_the_body(count: int, then: Callable[[Connection], object]) -> Script:
    """Read the head and so many bytes of the body, and do `then`."""

    async def script(connection: Connection) -> None:
        await connection.body(await connection.head(), most=count)
        done = then(connection)
        if asyncio.iscoroutine(done):
            await done

    return script


def closes(connection: Connection) -> None:
    """What happens when a script ends."""


THEN = {"resets": Connection.reset, "closes": closes, "stalls": Connection.hang}


EARLY: dict[str, tuple[int, object, dict[str, str], type[Submission]]] = {
    "413": (413, b"<html>413 Request Entity Too Large</html>", {}, Refused),
    "401": (401, api_error(401), {}, Refused),
    "403": (403, api_error(403), {}, Refused),
    "429": (429, api_error(429), {"Retry-After": "7"}, Refused),
    "503 of the API": (503, api_error(503), {}, Refused),
    "200 with an id": (200, ACCEPTED, {}, Accepted),
    "500 with an id": (500, api_error(500), {"x-inference-id": "inf-1"}, Accepted),
    "500": (500, api_error(500), {}, Unclear),
    "502": (502, b"<html>", {}, Unclear),
    "redirect": (307, b"", {"Location": "/elsewhere"}, Unclear),
}
"""Answers that come before the body was read, and what they mean once the body is read to its end all the same."""


def answers_early(status: int, body: object, headers: dict[str, str], *, reads_on: bool) -> Script:
    async def script(connection: Connection) -> None:
        request = await connection.head()
        await connection.answer(status, body, {"Connection": "close"} | headers)
        if reads_on:
            await connection.body(request)

    return script


@pytest.mark.slow
class TestLargeBodyThatIsCut:
    """50 MB take minutes on a thin line, which breaks: such a pair may be sent again."""

    @pytest.mark.parametrize("then", THEN.values(), ids=THEN)
    @pytest.mark.parametrize("count", [0, 1, 64 * 1024, 40 * MIB])
    async def test_is_not_sent(self, count: int, then: Callable[[Connection], object], large: Pair) -> None:
        outcome = await submit(after_bytes_of_the_body(count, then), large, timeouts=QUICK)

        assert_not_sent(outcome.value, Unsent.BODY_CUT)
        assert not outcome.server_had_it_whole

    async def test_reset_before_the_head_is_not_sent(self, large: Pair) -> None:
        """Whether the reset is seen before the head leaves or after it is the network's affair."""
        value = (await submit(resets_at_once, large)).value

        assert isinstance(value, NotSent)
        assert value.reason in {Unsent.BODY_CUT, Unsent.UNREACHABLE}

    @pytest.mark.parametrize(("status", "body", "headers", "expected"), EARLY.values(), ids=EARLY)
    async def test_early_answer_and_close_is_never_unclear(
        self, status: int, body: object, headers: dict[str, str], expected: type[Submission], large: Pair
    ) -> None:
        """A gateway that says 413 and hangs up: its words may be lost with the connection, but not the verdict."""
        outcome = await submit(answers_early(status, body, headers, reads_on=False), large)

        match outcome.value:
            case NotSent():
                assert_not_sent(outcome.value, Unsent.BODY_CUT)
            case value:
                assert isinstance(value, expected)

    @pytest.mark.parametrize(("status", "body", "headers", "expected"), EARLY.values(), ids=EARLY)
    async def test_early_answer_that_goes_on_reading_is_heard(
        self, status: int, body: object, headers: dict[str, str], expected: type[Submission], large: Pair
    ) -> None:
        """nginx says 413 at once and lets the body run out. By then it has it whole, so a 500 tells nothing."""
        outcome = await submit(answers_early(status, body, headers, reads_on=True), large)

        assert isinstance(outcome.value, expected), outcome.value
        assert outcome.server_had_it_whole

    async def test_slow_reader_is_bounded(self, large: Pair) -> None:
        """A server that reads a little, just before each time-out, must not hold a lane for ever."""

        async def script(connection: Connection) -> None:
            request = await connection.head()
            while True:
                await connection.body(request, most=request.received + 64 * 1024)
                await asyncio.sleep(0.05)

        timeouts = Timeouts(write=0.5, whole_post=0.5, slowest_upload=2**40)

        assert_not_sent((await submit(script, large, timeouts=timeouts)).value, Unsent.BODY_CUT)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(resets_at_once, id="at once"),
        *(
            pytest.param(after_bytes_of_the_body(count, then), id=f"{name} after {count}")
            for count in (0, 1, 100)
            for name, then in THEN.items()
        ),
    ],
)
async def test_small_body_that_is_cut_is_never_refused_or_accepted(script: Script) -> None:
    """A small body leaves in one breath, so it may be gone before the reset is seen: then the pair is unclear."""
    outcome = await submit(script, timeouts=QUICK)

    match outcome.value:
        case NotSent(reason=reason):
            assert reason is Unsent.UNREACHABLE
            assert not outcome.server_had_it_whole
        case value:
            assert isinstance(value, Unclear), value


def after_the_request(data: bytes = b"", *, then: Callable[[Connection], object] | None = None) -> Script:
    """Read the request, send `data`, and do `then`; else close."""

    async def script(connection: Connection) -> None:
        await connection.whole_request()
        await connection.send(data)
        if then is not None:
            done = then(connection)
            if asyncio.iscoroutine(done):
                await done

    return script


def after_a_breath(connection: Connection) -> object:
    """Reset, but only once the client has had the time to read what came."""

    async def reset() -> None:
        await asyncio.sleep(0.05)
        connection.reset()

    return reset()


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n"
WITH_ID = HEADERS + b"x-inference-id: inf-1\r\n\r\n"

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

BREAKS = {
    "closes": (after_the_request(), "connection_lost"),
    "resets": (after_the_request(then=Connection.reset), "connection_lost"),
    "cuts the status line": (after_the_request(b"HTTP/1.1 20"), "connection_lost"),
    "cuts the headers": (after_the_request(b"HTTP/1.1 200 OK\r\nx-inference-id: inf"), "connection_lost"),
    "speaks no HTTP": (after_the_request(b"220 mail.example ESMTP\r\n"), "connection_lost"),
    "sends a banner without end": (after_the_request(b"x" * 200_000), "connection_lost"),
    "resets after the headers": (after_the_request(HEADERS + b"\r\n", then=after_a_breath), "unreadable"),
    "cuts the body": (after_the_request(HEADERS + b'\r\n{"id": "z-IMFJo2'), "unreadable"),
    "says it is packed, and lies": (
        after_the_request(answer(200, b"not gzip", {"Content-Encoding": "gzip"})),
        "unreadable",
    ),
    "talks for ever": (talks_for_ever, "unreadable"),
    "sends less than it says": (after_the_request(HEADERS + b'\r\n{"id": "z-IMFJo2"'), "unreadable"),
    "sends more than it says": (
        after_the_request(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"id": "z-IMFJo2", "status": "queued"}'),
        "unreadable",
    ),
    "says two lengths": (
        after_the_request(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 12\r\n\r\n{"id": "z"}'),
        "connection_lost",
    ),
    "cuts a chunk": (after_the_request(CHUNKED + b'20\r\n{"id": "z-IMFJo2"'), "unreadable"),
    "cuts between chunks": (after_the_request(CHUNKED + b'7\r\n{"id":"\r\n'), "unreadable"),
    "sends a chunk without a size": (after_the_request(CHUNKED + b'{"id": "z-IMFJo2"}\r\n'), "unreadable"),
    "resets in a chunk": (after_the_request(CHUNKED + b'20\r\n{"id": "z-I', then=after_a_breath), "unreadable"),
    "cuts a body without a length": (after_the_request(b'HTTP/1.0 200 OK\r\n\r\n{"id": "z-IMFJo2'), "unreadable"),
    "sends no JSON": (answers(200, b"<html>OK</html>"), "unreadable"),
    "sends bytes": (answers(200, bytes(range(256))), "unreadable"),
    "sends two documents": (answers(200, b'{"id": "z-1"}{"id": "z-2"}'), "unreadable"),
    "switches protocols": (
        after_the_request(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        "connection_lost",
    ),
}


STALLS = {
    "hangs": (after_the_request(then=Connection.hang), "no_answer"),
    "hangs in the body": (after_the_request(HEADERS + b"\r\n{", then=Connection.hang), "unreadable"),
    "drips its headers": (
        after_the_request(then=lambda connection: connection.drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000)),
        "no_answer",
    ),
    "continues for ever": (
        after_the_request(b"HTTP/1.1 100 Continue\r\n\r\n" * 500, then=Connection.hang),
        "no_answer",
    ),
}


@pytest.mark.parametrize(
    ("script", "code", "timeouts"),
    [(*case, PATIENT) for case in BREAKS.values()] + [(*case, QUICK) for case in STALLS.values()],
    ids=[*BREAKS, *STALLS],
)
async def test_silence_after_the_last_byte_is_unclear(script: Script, code: str, timeouts: Timeouts) -> None:
    """The generation may be running and billed: nobody may send it again on a guess."""
    outcome = await submit(script, timeouts=timeouts)

    assert isinstance(outcome.value, Unclear), outcome.value
    assert outcome.value.code == code
    assert outcome.value.message
    assert outcome.server_had_it_whole


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("closes", "resets", "cuts the status line", "cuts the headers", "resets after the headers", "cuts the body"),
        *("cuts a chunk", "sends no JSON", "hangs", "hangs in the body"),
    ],
)
async def test_silence_after_the_last_byte_of_a_large_body_is_unclear(name: str, large: Pair) -> None:
    script, code = (BREAKS | STALLS)[name]

    outcome = await submit(script, large, timeouts=Timeouts(read_post=0.5))

    assert isinstance(outcome.value, Unclear), outcome.value
    assert outcome.value.code == code
    assert outcome.server_had_it_whole


@pytest.mark.slow
class TestEncrypted:
    """The hosted API is asked over TLS: what a break means is the same there."""

    @pytest.mark.parametrize("name", [*BREAKS, *STALLS])
    async def test_silence_after_the_last_byte_is_unclear(self, name: str, certified: ssl.SSLContext) -> None:
        script, code = (BREAKS | STALLS)[name]
        timeouts = ENCRYPTED_QUICK if name in STALLS else PATIENT

        outcome = await submit(script, timeouts=timeouts, tls=certified)

        assert isinstance(outcome.value, Unclear), outcome.value
        assert outcome.value.code == code
        assert outcome.server_had_it_whole

    @pytest.mark.parametrize("then", THEN.values(), ids=THEN)
    @pytest.mark.parametrize("count", [0, 64 * 1024, 40 * MIB])
    async def test_large_body_that_is_cut_is_not_sent(
        self, count: int, then: Callable[[Connection], object], large: Pair, certified: ssl.SSLContext
    ) -> None:
        script = after_bytes_of_the_body(count, then)

        outcome = await submit(script, large, timeouts=ENCRYPTED_QUICK, tls=certified)

        assert_not_sent(outcome.value, Unsent.BODY_CUT)
        assert not outcome.server_had_it_whole

    @pytest.mark.parametrize("name", ["413", "200 with an id", "500 with an id", "500"])
    async def test_early_answer_that_goes_on_reading_is_heard(
        self, name: str, large: Pair, certified: ssl.SSLContext
    ) -> None:
        status, body, headers, expected = EARLY[name]

        outcome = await submit(answers_early(status, body, headers, reads_on=True), large, tls=certified)

        assert isinstance(outcome.value, expected), outcome.value
        assert outcome.server_had_it_whole

    async def test_small_body_is_accepted(self, certified: ssl.SSLContext) -> None:
        outcome = await submit(answers(200, ACCEPTED), tls=certified)

        assert isinstance(outcome.value, Accepted)

    async def test_proxy_carries_what_it_cannot_read(
        self, authority: trustme.CA, certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Many companies let nothing out but by CONNECT; the certificate is the API's, not the proxy's."""
        named = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("api.example").configure_cert(named)
        carried = bytearray()

        async with MisbehavingServer(answers(200, ACCEPTED), tls=named) as server:

            async def proxy(connection: Connection) -> None:
                await connection.head()
                await connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await connection.carry("127.0.0.1", server.port, carried)

            async with MisbehavingServer(proxy) as between:
                monkeypatch.setenv("HTTPS_PROXY", between.origin)
                async with api_at("https://api.example") as api:
                    value = await api.submit(SMALL, REQUEST_ID)

        assert isinstance(value, Accepted)
        assert [request.target for request in between.requests] == ["api.example:443"]
        assert len(carried) > 500
        assert KEY.encode() not in carried

    async def test_certificate_of_nobody_known_is_shown_no_request(self, authority: trustme.CA) -> None:
        """Nothing of a request, and no key, goes to a server that cannot say who it is."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)

        outcome = await submit(answers(200, ACCEPTED), tls=context)

        assert_not_sent(outcome.value, Unsent.UNREACHABLE)
        assert "certificate" in str(outcome.value)
        assert outcome.requests == []


WITH_INFERENCE_ID = {
    "resets after the headers": after_the_request(WITH_ID, then=after_a_breath),
    "cuts the body": after_the_request(WITH_ID + b'{"id"'),
    "says 504 in HTML": answers(504, b"<html>", {"X-Inference-Id": "inf-1"}),
    "redirects": answers(307, b"", {"x-inference-id": "inf-1", "Location": "/elsewhere"}),
    "names no id in its body": answers(200, {"status": "queued"}, {"x-inference-id": "inf-1"}),
    **{
        f"says {status}": answers(status, api_error(status), {"x-inference-id": "inf-1"})
        for status in (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503)
    },
}


WITH_INFERENCE_ID_THEN = {
    "hangs": after_the_request(WITH_ID, then=Connection.hang),
    "drips": after_the_request(WITH_ID, then=lambda connection: connection.drip(b" " * 100)),
}


@pytest.mark.parametrize(
    ("script", "timeouts"),
    [(script, PATIENT) for script in WITH_INFERENCE_ID.values()]
    + [(script, QUICK) for script in WITH_INFERENCE_ID_THEN.values()],
    ids=[*WITH_INFERENCE_ID, *WITH_INFERENCE_ID_THEN],
)
async def test_inference_id_is_an_acceptance_whatever_comes_with_it(script: Script, timeouts: Timeouts) -> None:
    """The header is the id that is billed and polled: with it, a broken answer is no loss."""
    outcome = await submit(script, timeouts=timeouts)

    assert outcome.value == Accepted(generation_id="inf-1")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, ACCEPTED, Accepted(generation_id="z-IMFJo2ORUJBR7OWIqDM", quote=1_000_000)),
        (201, {"id": "-G3b3vVKdoC42fMNeK1T5", "status": "queued"}, Accepted(generation_id="-G3b3vVKdoC42fMNeK1T5")),
        (202, {"generation_id": "50f3e8ae:kling/v1"}, Accepted(generation_id="50f3e8ae:kling/v1")),
        (200, {"id": 9007199254740991, "status": "queued"}, Accepted(generation_id="9007199254740991")),
        (200, {"id": None, "generation_id": 17}, Accepted(generation_id="17")),
        (200, {"id": "z-1", "status": "error", "error": "busy"}, Accepted(generation_id="z-1")),
        (299, {"id": "z-1", "more": [1, {"deep": None}]}, Accepted(generation_id="z-1")),
    ],
)
async def test_2xx_with_an_id_is_accepted(status: int, body: object, expected: Accepted) -> None:
    outcome = await submit(answers(status, body))

    assert outcome.value == expected


ODD_BUT_WHOLE = {
    "HTTP/1.0, to the end": b'HTTP/1.0 200 OK\r\n\r\n{"id": "z-1"}',
    "lower-case names, no reason": b'HTTP/1.1 201 \r\ncontent-length: 13\r\n\r\n{"id": "z-1"}',
    "in chunks": CHUNKED + b'5;x=y\r\n{"id"\r\n8\r\n: "z-1"}\r\n0\r\nTrailer: 1\r\n\r\n',
    "whole, but shorter than it says": HEADERS + b'\r\n{"id": "z-1"}',
    "with a mark before it": answer(200, b'\xef\xbb\xbf{"id": "z-1"}'),
    "as a text": answer(200, b' {"id": "z-1"}\n', {"Content-Type": "text/html"}),
    "with a clock of its own": answer(200, {"id": "z-1"}, {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}),
}


@pytest.mark.parametrize("data", ODD_BUT_WHOLE.values(), ids=ODD_BUT_WHOLE)
async def test_id_that_came_whole_is_accepted_in_whatever_wrapping(data: bytes) -> None:
    """What names an id runs and is billed; taken for unclear, it would wait for a person."""
    outcome = await submit(after_the_request(data))

    assert outcome.value == Accepted(generation_id="z-1")


@pytest.mark.slow
async def test_answer_that_drips_is_waited_for() -> None:
    """A gateway may hold an answer back for long; it is the only word of what was paid for."""
    drips = after_the_request(then=lambda connection: connection.drip(answer(200, {"id": "z-1"}), pause=0.002))

    assert (await submit(drips)).value == Accepted(generation_id="z-1")


async def test_noise_before_the_answer_is_passed_over() -> None:
    noise = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

    outcome = await submit(after_the_request(noise + answer(200, ACCEPTED)))

    assert isinstance(outcome.value, Accepted)


@pytest.mark.slow
async def test_large_body_is_accepted(large: Pair) -> None:
    outcome = await submit(answers(200, ACCEPTED), large)

    assert isinstance(outcome.value, Accepted)
    assert outcome.server_had_it_whole
    assert outcome.requests[0].announced > 66 * MIB


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, b"", Refusal.THROTTLED),
        (429, api_error("429", "Too Many Requests"), Refusal.THROTTLED),
        (503, api_error(503), Refusal.THROTTLED),
        (503, api_error("503"), Refusal.THROTTLED),
        (401, api_error(401), Refusal.CREDENTIALS),
        (403, api_error(403, "run out of credits"), Refusal.FORBIDDEN),
        (403, b"<html>", Refusal.FORBIDDEN),
        (400, api_error(400, "Body validation error"), Refusal.INVALID),
        (404, b"", Refusal.INVALID),
        (409, {}, Refusal.INVALID),
        (413, b"<html>", Refusal.INVALID),
        (422, {"detail": [{"msg": "bad", "type": "value_error"}]}, Refusal.INVALID),
        (402, {}, Refusal.INVALID),
        (418, {}, Refusal.INVALID),
    ],
)
async def test_no_is_refused(status: int, body: object, kind: Refusal) -> None:
    outcome = await submit(answers(status, body))

    assert isinstance(outcome.value, Refused), outcome.value
    assert (outcome.value.kind, outcome.value.status) == (kind, status)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Body validation error", "Body validation error (HTTP 400)"),
        (["video_url must be a URL", "model is unknown"], "video_url must be a URL; model is unknown (HTTP 400)"),
        (
            {"formErrors": [], "fieldErrors": {"video_url": ["Invalid url"], "model": ["Unknown"]}},
            "fieldErrors: video_url: Invalid url; model: Unknown (HTTP 400)",
        ),
        ({"_errors": [], "video_url": {"_errors": ["Invalid url"]}}, "video_url: _errors: Invalid url (HTTP 400)"),
        ({"see": "https://me:pw@x.example/z?sig=1"}, "see: https://***@x.example/z?*** (HTTP 400)"),
        ({"a": 1}, "HTTP 400"),
        (None, "HTTP 400"),
    ],
)
async def test_refusal_says_why_in_whatever_shape(message: object, shown: str) -> None:
    """ "HTTP 400" sends a person to a support desk; the field that is wrong sends them to their manifest."""
    outcome = await submit(answers(400, api_error(400, message)))

    assert isinstance(outcome.value, Refused)
    assert outcome.value.message == shown


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, {"status": "queued"}),
        (200, {"id": ""}),
        (200, [ACCEPTED]),
        (204, b""),
        (301, b""),
        (303, ACCEPTED),
        (408, api_error(408)),
        (500, api_error(500)),
        (500, {"id": "not-an-acceptance"}),
        (502, b"<html>"),
        (503, b"<html>upstream connect error"),
        (503, {"message": "Service Unavailable"}),
        (503, {"statusCode": 503, "message": "Service Unavailable"}),
        (503, api_error(500)),
        (504, api_error(504, "Generation timeout, try again")),
        (520, b""),
        (599, b""),
    ],
)
async def test_any_other_answer_is_unclear(status: int, body: object) -> None:
    """Whatever its text invites to: what is not a clear no may have started a generation."""
    outcome = await submit(answers(status, body))

    assert isinstance(outcome.value, Unclear), outcome.value


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(status: int) -> None:
    """Neither a second POST nor the key may go where an answer points."""
    async with MisbehavingServer(answers(200, ACCEPTED)) as elsewhere:
        outcome = await submit(answers(status, b"", {"Location": f"{elsewhere.origin}/v2/video/generations"}))

    assert isinstance(outcome.value, Unclear)
    assert elsewhere.connections == 0


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("-3", None), ("86400", 3600.0), ("soon", None)])
async def test_pause_that_is_asked_for_is_handed_on_within_reason(header: str, seconds: float | None) -> None:
    outcome = await submit(answers(429, b"", {"Retry-After": header}))

    assert isinstance(outcome.value, Refused)
    assert outcome.value.retry_after == seconds


@pytest.mark.parametrize("skew", [timedelta(0), timedelta(hours=-5), timedelta(days=400)], ids=str)
async def test_pause_until_a_date_is_reckoned_by_the_clock_of_the_server(skew: timedelta) -> None:
    """A server whose clock is an hour ahead asks for seven seconds, and not for an hour."""
    now = datetime.now(UTC) + skew
    headers = {"Date": format_datetime(now), "Retry-After": format_datetime(now + timedelta(seconds=7))}

    outcome = await submit(answers(503, api_error(503), headers))

    assert isinstance(outcome.value, Refused)
    assert outcome.value.retry_after == 7.0


async def test_pause_until_a_date_of_a_server_without_a_clock_is_reckoned_by_ours() -> None:
    outcome = await submit(
        answers(429, b"", {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=600))})
    )

    assert isinstance(outcome.value, Refused)
    assert outcome.value.retry_after == pytest.approx(600, abs=30)


class AnswersEarly(httpx2.AsyncBaseTransport):
    """Takes some chunks of the body and answers: what a server does over TLS, when its words outrun the reset."""

    def __init__(self, chunks: int, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        self._chunks = chunks
        self._response = httpx2.Response(status, json=body, headers=headers)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        taken = aiter(request.stream)
        for _ in range(self._chunks):
            await anext(taken)
        await taken.aclose()  # type: ignore[attr-defined]
        return self._response


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (413, {}, {}, Refused),
        (401, {}, {}, Refused),
        (429, {}, {}, Refused),
        (503, api_error(503), {}, Refused),
        (200, ACCEPTED, {}, Accepted),
        (500, {}, {"x-inference-id": "inf-1"}, Accepted),
        (500, {}, {}, NotSent),
        (503, {}, {}, NotSent),
        (408, {}, {}, NotSent),
        (302, {}, {}, NotSent),
        (200, {}, {}, NotSent),
    ],
)
async def test_answer_to_a_body_that_was_never_whole(
    status: int, body: object, headers: dict[str, str], expected: type[Submission]
) -> None:
    """Without the last chunk nothing can have been started, unless the API says so with an id."""
    async with api_at("http://127.0.0.1:9", transport=AnswersEarly(1, status, body, headers)) as api:
        value = await api.submit(SMALL, REQUEST_ID)

    assert isinstance(value, expected), value


class BreaksOff(httpx2.AsyncBaseTransport):
    """Takes some chunks of the body, and fails while it sends the last of these."""

    def __init__(self, chunks: int, error: type[httpx2.TransportError]) -> None:
        self._chunks = chunks
        self._error = error

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        taken = aiter(request.stream)
        for _ in range(self._chunks):
            await anext(taken)
        raise self._error("")


@pytest.mark.parametrize(
    "error",
    [
        *(httpx2.WriteError, httpx2.WriteTimeout, httpx2.ReadError, httpx2.ReadTimeout),
        *(httpx2.CloseError, httpx2.RemoteProtocolError),
    ],
)
async def test_how_far_the_body_got_decides_and_not_the_name_of_the_error(error: type[httpx2.TransportError]) -> None:
    """A write that fails on the last chunk may have sent it all the same."""
    values = []
    for chunks in range(3):
        async with api_at("http://127.0.0.1:9", transport=BreaksOff(chunks, error)) as api:
            values.append(await api.submit(SMALL, REQUEST_ID))

    assert_not_sent(values[0], Unsent.UNREACHABLE)
    assert_not_sent(values[1], Unsent.UNREACHABLE)
    assert isinstance(values[2], Unclear)


@pytest.mark.parametrize(("pieces", "reason"), [(1, Unsent.UNREACHABLE), (1000, Unsent.BODY_CUT)])
async def test_only_a_large_body_is_cut_for_its_size(pieces: int, reason: Unsent) -> None:
    """A gateway that resets whatever comes must not end with every pair failed as too large."""
    video = DataUri(text="data:video/mp4;base64," + "AAAA" * 100 * pieces)
    pair = Pair(fingerprint="1:dd", video=video, speech=SMALL.speech)

    async with api_at("http://127.0.0.1:9", transport=BreaksOff(1, httpx2.WriteError)) as api:
        assert_not_sent(await api.submit(pair, REQUEST_ID), reason)


class TestInputThatChanged:
    """What was hashed, shown in the plan and paid for is what is sent, or nothing is."""

    @pytest.fixture
    async def server(self) -> AsyncIterator[MisbehavingServer]:
        async with MisbehavingServer(answers(200, ACCEPTED)) as server:
            yield server

    async def test_other_content_withholds_the_last_chunk(self, server: MisbehavingServer, tmp_path: Path) -> None:
        path = tmp_path / "clip.mp4"
        path.write_bytes(b"edited")
        planned = hashlib.sha256(b"hashed").hexdigest()

        value = await self._submit(server, path, planned)

        assert_not_sent(value, Unsent.INPUT_CHANGED)
        assert "clip.mp4" in value.message  # type: ignore[union-attr]
        await asyncio.sleep(0.05)
        assert not any(request.whole for request in server.requests)

    async def test_missing_file(self, server: MisbehavingServer, tmp_path: Path) -> None:
        value = await self._submit(server, tmp_path / "gone.mp4", "00")

        assert_not_sent(value, Unsent.INPUT_CHANGED)
        assert server.requests == []

    async def test_folder(self, server: MisbehavingServer, tmp_path: Path) -> None:
        assert_not_sent(await self._submit(server, tmp_path, "00"), Unsent.INPUT_CHANGED)

    async def test_same_content_is_sent(self, server: MisbehavingServer, tmp_path: Path) -> None:
        path = tmp_path / "clip.mp4"
        path.write_bytes(b"hashed")

        assert isinstance(await self._submit(server, path, hashlib.sha256(b"hashed").hexdigest()), Accepted)

    async def _submit(self, server: MisbehavingServer, path: Path, sha256: str) -> Submission:
        speech = Audio(source=Link(url="https://media.example/a.mp3"))
        pair = Pair(fingerprint="1:cc", video=LocalFile(path=path), video_sha256=sha256, speech=speech)
        async with api_at(server.origin) as api:
            return await api.submit(pair, REQUEST_ID)


async def test_stop_is_not_taken_for_an_outcome() -> None:
    """A cancelled submit has no value: the ledger's row stays `submitting`, which is unclear at the next start."""
    reached = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.whole_request()
        reached.set()
        await connection.hang()

    async with MisbehavingServer(script) as server, api_at(server.origin, Timeouts()) as api:
        task = asyncio.create_task(api.submit(SMALL, REQUEST_ID))
        await reached.wait()
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task


async def keeps_alive(connection: Connection) -> None:
    while True:
        await connection.whole_request()
        await connection.answer(200, ACCEPTED)


class TestConnections:
    """A POST that meets the moment in which a server closes an idle connection is an unclear pair."""

    async def test_post_never_rides_on_a_used_one(self) -> None:
        async with MisbehavingServer(keeps_alive) as server, api_at(server.origin) as api:
            for _ in range(3):
                assert isinstance(await api.submit(SMALL, REQUEST_ID), Accepted)

        assert server.connections == 3
        assert len(server.requests) == 3

    async def test_answer_that_was_left_over_is_not_read_as_that_of_the_next_submit(self) -> None:
        """A gateway that answers twice: the pair would wait for, and get, the video of another one."""

        async def twice(connection: Connection) -> None:
            await connection.whole_request()
            await connection.send(answer(502, b"<html>") + answer(200, {"id": "stale"}))
            await connection.hang()

        async with MisbehavingServer(twice, answers(200, {"id": "own"})) as server, api_at(server.origin) as api:
            first = await api.submit(SMALL, REQUEST_ID)
            second = await api.submit(SMALL, REQUEST_ID)

        assert isinstance(first, Unclear)
        assert second == Accepted(generation_id="own")


class TestEcho:
    """The API repeats our request id in its answer."""

    async def test_answer_to_another_submit_is_unclear(self) -> None:
        """A gateway that mixes two answers up: each pair would wait for, and get, the video of the other."""
        others = REQUEST_ID.replace("lb1.batch", "lb1.other")

        outcome = await submit(answers(200, ACCEPTED, {"x-client-request-id": others}))

        assert isinstance(outcome.value, Unclear)
        assert outcome.value.code == "mixed_up"

    @pytest.mark.parametrize("echo", [REQUEST_ID, "", "5f0c-of-a-gateway", f" {REQUEST_ID} "])
    async def test_echo_may_be_missing_or_a_gateways_own(self, echo: str) -> None:
        outcome = await submit(answers(200, ACCEPTED, {"x-client-request-id": echo}))

        assert isinstance(outcome.value, Accepted)
