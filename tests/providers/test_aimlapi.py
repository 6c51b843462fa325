"""What the provider asks for, whom it shows the key to, and how long it waits."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from aimlapi_client import ACCEPTED, KEY, PATIENT, REQUEST_ID, SMALL, api_at, api_error
from misbehaving import Connection, MisbehavingServer, Script, closed_port, talks_for_ever

from lipsync_batch.errors import UsageError
from lipsync_batch.providers.aimlapi import AimlApi
from lipsync_batch.providers.base import (
    Accepted,
    ChargePage,
    Finished,
    LogPage,
    NotFound,
    Price,
    Provider,
    Running,
    Throttled,
    Unavailable,
    Unclear,
)
from lipsync_batch.providers.wire import Timeouts
from lipsync_batch.version import VERSION

ORIGIN = "https://api.example"
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
QUICK = Timeouts(connect=0.1, read_get=0.1, whole_get=0.2)

Ask = Callable[[Provider], Awaitable[object]]

EVERY_CALL: dict[str, Ask] = {
    "submit": lambda api: api.submit(SMALL, REQUEST_ID),
    "check": lambda api: api.check("inf-1"),
    "find": lambda api: api.find(since=SINCE, until=SINCE + timedelta(days=1)),
    "charges": lambda api: api.charges(since=SINCE),
    "balance": lambda api: api.balance(),
    "price": lambda api: api.price(),
}


class Recorder:
    """Answers every request alike, and keeps what was asked."""

    def __init__(self, body: object = None, status: int = 200) -> None:
        self.asked: list[httpx2.Request] = []
        self._body, self._status = body, status
        self.transport = httpx2.MockTransport(self._answer)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        return httpx2.Response(self._status, json=self._body)

    @property
    def only(self) -> httpx2.Request:
        (request,) = self.asked
        return request

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(str(self.only.url)).query, strict_parsing=True)


class TestRequests:
    """One HTTP call a method, worded as documented."""

    async def test_submit(self) -> None:
        recorder = Recorder(ACCEPTED)
        async with api_at(ORIGIN, transport=recorder.transport) as api:
            assert await api.submit(SMALL, REQUEST_ID) == Accepted(
                generation_id="z-IMFJo2ORUJBR7OWIqDM", quote=1_000_000
            )

        request = recorder.only
        assert (request.method, str(request.url)) == ("POST", f"{ORIGIN}/v2/video/generations")
        assert request.headers["X-Client-Request-Id"] == REQUEST_ID
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["Content-Length"] == str(len(request.content))
        assert "Transfer-Encoding" not in request.headers
        assert request.headers["User-Agent"] == f"lipsync-batch/{VERSION}"
        assert json.loads(request.content)["lip_sync_tts_speaker"] == "Oliver"

    @pytest.mark.parametrize("generation_id", ["-G3b3vVKdoC42fMNeK1T5", "50f3:kling-video/v1.6", "a+b c&d=e#f%2F?é"])
    async def test_check_asks_for_any_form_of_id(self, generation_id: str) -> None:
        recorder = Recorder({"id": generation_id, "status": "queued"})
        async with api_at(ORIGIN, transport=recorder.transport) as api:
            assert await api.check(generation_id) == Running(status="queued")

        assert (recorder.only.method, recorder.only.url.path) == ("GET", "/v2/video/generations")
        assert recorder.query == {"generation_id": [generation_id]}
        assert recorder.only.headers["Authorization"] == f"Bearer {KEY}"

    async def test_find_asks_for_one_page_of_our_model(self) -> None:
        recorder = Recorder({"data": [], "pagination": {"has_more": False}})
        async with api_at(ORIGIN, transport=recorder.transport) as api:
            page = await api.find(since=SINCE, until=SINCE + timedelta(days=1), offset=200)

        assert page == LogPage(rows=(), next_offset=None)
        assert recorder.only.url.path == "/v2/logs"
        assert recorder.query == {
            "start": ["2026-01-01T00:00:00.000Z"],
            "end": ["2026-01-02T00:00:00.000Z"],
            "model": ["pixverse/lip-sync"],
            "limit": ["100"],
            "offset": ["200"],
        }

    async def test_find_never_asks_for_more_than_the_log_gives(self) -> None:
        """A batch that is resumed after half a year must not get 400 for its question."""
        recorder = Recorder({"data": []})
        async with api_at(ORIGIN, transport=recorder.transport) as api:
            await api.find(since=SINCE, until=SINCE + timedelta(days=200))

        assert recorder.query["start"] == ["2026-04-19T00:00:00.000Z"]

    @pytest.mark.parametrize(("cursor", "sent"), [(None, None), ("eyJ2IjoxfQ+/==", ["eyJ2IjoxfQ+/=="])])
    async def test_charges_asks_for_one_page(self, cursor: str | None, sent: list[str] | None) -> None:
        recorder = Recorder({"data": [], "pagination": {}})
        async with api_at(ORIGIN, transport=recorder.transport) as api:
            assert await api.charges(since=SINCE, cursor=cursor) == ChargePage(charges=(), next_cursor=None)

        assert recorder.only.url.path == "/v2/billing/transactions"
        assert recorder.query.pop("from") == ["2026-01-01T00:00:00.000Z"]
        assert (recorder.query["direction"], recorder.query["type"]) == (["CHARGE"], ["MODEL_USAGE"])
        assert recorder.query.get("cursor") == sent

    async def test_balance(self) -> None:
        recorder = Recorder({"current_balance": 12.5, "currency": "USD"})
        async with api_at(ORIGIN, transport=recorder.transport) as api:
            assert await api.balance() == 12_500_000

        assert str(recorder.only.url) == f"{ORIGIN}/v2/billing"

    async def test_price_is_public_so_no_key_is_shown(self) -> None:
        unit = {"name": "second", "price": 0.04, "per": 1}
        pricing = {"kind": "fixed", "currency": "USD", "units": [unit]}
        recorder = Recorder({"data": [{"id": "pixverse/lip-sync", "pricing": pricing}]})
        async with api_at(ORIGIN, transport=recorder.transport) as api:
            assert await api.price() == Price(per_second=40_000, source=f"{ORIGIN}/v1/models")

        assert recorder.query == {"id": ["pixverse/lip-sync"], "include": ["pricing"]}
        assert "Authorization" not in recorder.only.headers

    async def test_price_needs_no_key(self) -> None:
        recorder = Recorder({})
        async with api_at(ORIGIN, key=None, transport=recorder.transport) as api:
            assert await api.price() is None
            await api.check("inf-1")

        assert all("Authorization" not in request.headers for request in recorder.asked)

    async def test_submit_under_an_id_that_the_api_would_drop_is_a_bug(self) -> None:
        recorder = Recorder(ACCEPTED)
        async with api_at(ORIGIN, transport=recorder.transport) as api:
            with pytest.raises(AssertionError):
                await api.submit(SMALL, "lb1.naïve.1")

        assert recorder.asked == []

    @pytest.mark.parametrize("call", EVERY_CALL.values(), ids=EVERY_CALL)
    @pytest.mark.parametrize("status", [200, 302, 401, 404, 429, 500])
    async def test_nothing_is_asked_twice(self, call: Ask, status: int) -> None:
        """Retries belong to those who know what a call costs."""
        recorder = Recorder(api_error(status), status)
        async with api_at(ORIGIN, transport=recorder.transport) as api:
            await call(api)

        assert len(recorder.asked) == 1


def answers(status: int, body: object = None, headers: dict[str, str] | None = None) -> Script:
    async def script(connection: Connection) -> None:
        await connection.whole_request()
        await connection.answer(status, body, headers)

    return script


class TestKey:
    """A key in the wrong place is a bill from a stranger."""

    @pytest.mark.parametrize("call", EVERY_CALL.values(), ids=EVERY_CALL)
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_no_redirect_is_followed(self, call: Ask, status: int) -> None:
        async with MisbehavingServer(answers(200, ACCEPTED)) as elsewhere:
            there = {"Location": f"{elsewhere.origin}/v2/video/generations"}
            async with MisbehavingServer(answers(status, b"", there)) as server, api_at(server.origin) as api:
                value = await call(api)

        assert value is None or isinstance(value, Unclear | Unavailable)
        assert elsewhere.requests == []

    @pytest.mark.parametrize("location", ["http://[", "mailto:x", "//", "\\\\x", "http://a b/", "/elsewhere", "?"])
    async def test_strange_redirects_are_answers_like_any_other(self, location: str) -> None:
        async with (
            MisbehavingServer(answers(307, b"", {"Location": location})) as server,
            api_at(server.origin) as api,
        ):
            assert isinstance(await api.submit(SMALL, REQUEST_ID), Unclear)

    async def test_no_other_origin_is_shown_the_key(self) -> None:
        """The header is put on by origin, not by client: an absolute URL that slips in goes without."""
        recorder = Recorder()
        async with api_at(ORIGIN, transport=recorder.transport) as api:
            for url in ("https://cdn.example/x", "http://api.example/x", "https://api.example:8443/x"):
                await api._wire.get(url, {})

        assert len(recorder.asked) == 3
        assert all("Authorization" not in request.headers for request in recorder.asked)

    @pytest.mark.parametrize("call", EVERY_CALL.values(), ids=EVERY_CALL)
    async def test_key_that_the_server_repeats_is_in_no_value_and_no_log(
        self, call: Ask, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        told = {"message": f"Invalid key {KEY} in Authorization: Bearer {KEY}"}
        for status in (200, 400, 401, 403, 500):
            async with MisbehavingServer(answers(status, told)) as server, api_at(server.origin) as api:
                assert KEY not in repr(await call(api))
                assert KEY not in repr(api) + str(vars(api)) + str(vars(api._wire))

        assert KEY not in caplog.text

    async def test_key_is_in_no_traceback(self) -> None:
        def breaks(request: httpx2.Request) -> httpx2.Response:
            raise RuntimeError("a bug")

        async with api_at(ORIGIN, transport=httpx2.MockTransport(breaks)) as api:
            with pytest.raises(RuntimeError) as caught:
                await api.check("inf-1")

        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert KEY not in "".join(shown.format())

    @pytest.mark.parametrize("key", ["two\nlines", "spa ce", "schlüssel"])
    def test_key_that_no_header_can_carry_is_said_so_without_it(self, key: str) -> None:
        with pytest.raises(UsageError) as caught:
            AimlApi(base_url=ORIGIN, key=key)

        assert key not in str(caught.value)


class TestOrigin:
    @pytest.mark.parametrize(
        ("base_url", "origin"),
        [
            ("https://api.aimlapi.com", "https://api.aimlapi.com"),
            ("https://API.aimlapi.com:443/", "https://api.aimlapi.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ],
    )
    async def test_is_named_in_one_way(self, base_url: str, origin: str) -> None:
        """A batch is bound to it: another spelling must not look like another account."""
        async with api_at(base_url) as api:
            assert api.origin == origin

    @pytest.mark.parametrize(
        "base_url",
        [
            "",
            "api.aimlapi.com",
            "ftp://x",
            "https://",
            "https://u:s3cr3t@x",
            "https://x/v2",
            "https://x?k=1",
        ],
    )
    def test_anything_more_than_an_origin_is_refused(self, base_url: str) -> None:
        with pytest.raises(UsageError) as caught:
            AimlApi(base_url=base_url, key=KEY)

        assert "s3cr3t" not in str(caught.value)

    async def test_proxy_of_the_environment_is_not_for_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The sandbox and the tests work behind a company's proxy, too."""
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{await closed_port()}")
        async with MisbehavingServer(answers(200, ACCEPTED)) as server, api_at(server.origin) as api:
            assert isinstance(await api.submit(SMALL, REQUEST_ID), Accepted)

    def test_proxy_that_cannot_be_used_is_the_users_to_mend(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "gopher://user:s3cr3t@proxy.example")

        with pytest.raises(UsageError, match="proxy") as caught:
            AimlApi(base_url=ORIGIN, key=KEY)
        assert "s3cr3t" not in str(caught.value)


async def resets(connection: Connection) -> None:
    await connection.whole_request()
    connection.reset()


async def hangs(connection: Connection) -> None:
    await connection.whole_request()
    await connection.hang()


async def drips(connection: Connection) -> None:
    await connection.whole_request()
    await connection.drip(b'HTTP/1.1 200 OK\r\n\r\n{"id": "inf-1", "status": "completed"' + b" " * 1000)


async def cuts_the_body(connection: Connection) -> None:
    await connection.whole_request()
    await connection.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id": "inf-1", "status": "comp')


async def speaks_no_http(connection: Connection) -> None:
    await connection.whole_request()
    await connection.send(b"SSH-2.0-OpenSSH\r\n")


READS = {name: call for name, call in EVERY_CALL.items() if name != "submit"}


class TestReadsThatFail:
    """One blip on a poll says nothing of the generation, and restarts nothing."""

    @pytest.mark.parametrize("call", READS.values(), ids=READS)
    @pytest.mark.parametrize(
        ("script", "timeouts"),
        [
            *((script, PATIENT) for script in (resets, cuts_the_body, speaks_no_http, talks_for_ever)),
            *((script, QUICK) for script in (hangs, drips)),
        ],
    )
    async def test_is_unavailable(self, call: Ask, script: Script, timeouts: Timeouts) -> None:
        async with MisbehavingServer(script) as server, api_at(server.origin, timeouts) as api:
            value = await call(api)

        assert value is None or isinstance(value, Unavailable)

    @pytest.mark.parametrize("call", READS.values(), ids=READS)
    async def test_nobody_there_is_unavailable(self, call: Ask) -> None:
        async with api_at(f"http://127.0.0.1:{await closed_port()}") as api:
            value = await call(api)

        assert value is None or isinstance(value, Unavailable)

    async def test_message_names_the_server_and_the_cause(self) -> None:
        origin = f"http://127.0.0.1:{await closed_port()}"
        async with api_at(origin) as api:
            value = await api.check("inf-1")

        assert isinstance(value, Unavailable)
        assert origin in value.message
        assert "ConnectError" in value.message

    async def test_status_is_enough_where_the_body_breaks_off(self) -> None:
        async def script(connection: Connection) -> None:
            await connection.whole_request()
            await connection.send(b"HTTP/1.1 429 Too Many\r\nRetry-After: 9\r\nContent-Length: 100\r\n\r\n{")

        async with MisbehavingServer(script) as server, api_at(server.origin) as api:
            assert await api.check("inf-1") == Throttled(retry_after=9.0)

    async def test_next_question_is_answered_after_any_of_these(self) -> None:
        """A broken connection must not stay in the pool."""
        done = answers(200, {"id": "inf-1", "status": "succeeded", "video": {"url": "https://cdn.example/a%2Fb.mp4"}})
        async with (
            MisbehavingServer(resets, cuts_the_body, talks_for_ever, done) as server,
            api_at(server.origin) as api,
        ):
            for _ in range(3):
                assert isinstance(await api.check("inf-1"), Unavailable)

            assert await api.check("inf-1") == Finished(link="https://cdn.example/a%2Fb.mp4")

    async def test_packed_answer_is_unpacked_though_none_is_asked_for(self) -> None:
        packed = gzip.compress(json.dumps(api_error(404)).encode())
        async with (
            MisbehavingServer(answers(404, packed, {"Content-Encoding": "gzip"})) as server,
            api_at(server.origin) as api,
        ):
            assert await api.check("inf-1") == NotFound()
        assert server.requests[0].headers["accept-encoding"] == "identity"

    async def test_stop_is_not_taken_for_an_answer(self) -> None:
        reached = asyncio.Event()

        async def script(connection: Connection) -> None:
            await connection.whole_request()
            reached.set()
            await connection.hang()

        async with MisbehavingServer(script) as server, api_at(server.origin) as api:
            task = asyncio.create_task(api.check("inf-1"))
            await reached.wait()
            task.cancel()

            with pytest.raises(asyncio.CancelledError):
                await task


@pytest.mark.slow
async def test_many_polls_share_few_connections() -> None:
    """So that nothing queues inside the pool, and no server is met with thousands."""

    async def script(connection: Connection) -> None:
        while True:
            await connection.whole_request()
            await connection.answer(200, {"id": "inf-1", "status": "queued"})

    async with MisbehavingServer(script) as server, api_at(server.origin) as api:
        values = await asyncio.gather(*(api.check("inf-1") for _ in range(200)))

    assert values == [Running(status="queued")] * 200
    assert server.connections <= 64


def test_provider_keeps_to_the_seam() -> None:
    def takes(provider: Provider) -> str:
        return provider.name

    assert takes(AimlApi(base_url=ORIGIN, key=KEY)) == "aimlapi"
