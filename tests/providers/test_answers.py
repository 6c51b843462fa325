"""Every way the API has been seen, or must be feared, to word its answers."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest
from aimlapi_client import ACCEPTED, KEY, api_error
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lipsync_batch.masking import Secrets
from lipsync_batch.providers import base
from lipsync_batch.providers.account import read_balance, read_charge_page, read_log_page, read_price
from lipsync_batch.providers.answers import Answer, read_check, read_failure, read_submission
from lipsync_batch.providers.base import (
    Accepted,
    Check,
    Denied,
    Errored,
    Finished,
    NotFound,
    Refusal,
    Refused,
    Running,
    Throttled,
    Unavailable,
    Unclear,
)

ID = "z-IMFJo2ORUJBR7OWIqDM"
LINK = "https://cdn.aimlapi.com/panda/pixverse%2Fmp4%2Fmedia%2Fweb%2Fori%2FPUQnIoDi49sKyQ48-vAtQ_seed0.mp4"


def make_answer(status: int = 200, body: object = None, headers: dict[str, str] | None = None) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status=status, headers=httpx2.Headers(headers), body=content, secrets=Secrets({KEY}))


def check(body: object = None, *, status: int = 200, asked: str = ID) -> Check:
    return read_check(make_answer(status, body), asked)


def generation(status: object, **fields: object) -> dict[str, object]:
    return {"id": ID, "status": status, **fields}


class TestStatuses:
    """A client that waits for the documented word alone polls a paid, finished video to its time-out."""

    @pytest.mark.parametrize(
        "status", ["completed", "succeeded", "Succeeded", " COMPLETED ", "success", "done", "finished", "ready"]
    )
    def test_done(self, status: str) -> None:
        assert check(generation(status, video={"url": LINK})) == Finished(link=LINK)

    @pytest.mark.parametrize(
        "status", ["error", "ERROR", "failed", "cancelled", "canceled", "expired", "timed out", "timed-out", "rejected"]
    )
    def test_failed(self, status: str) -> None:
        assert isinstance(check(generation(status)), Errored)

    @pytest.mark.parametrize("status", ["queued", "generating", "waiting", "active", "NOT_START", "error soon"])
    def test_any_other_word_is_running_and_is_kept(self, status: str) -> None:
        assert check(generation(status)) == Running(status=status)

    @pytest.mark.parametrize(("status", "shown"), [(None, ""), (1, "1"), ({"a": 1}, "{'a': Decimal('1')}"), ("", "")])
    def test_missing_or_strange_status_is_running(self, status: object, shown: str) -> None:
        assert check(generation(status)) == Running(status=shown)


class TestVideo:
    @pytest.mark.parametrize(
        "video",
        [{"url": LINK}, LINK, [LINK], [{"url": LINK}], [{"url": None}, {"url": LINK}], {"url": f" {LINK}\n"}],
    )
    def test_link_is_found_and_left_as_it_is(self, video: object) -> None:
        """`%2F` is part of the name at the CDN: decoded, the link is dead."""
        assert check(generation("succeeded", video=video)) == Finished(link=LINK)

    @pytest.mark.parametrize(
        "video",
        [
            *(None, {}, [], "", {"url": ""}, {"url": None}, {"url": 5}, {"href": LINK}),
            *("ftp://x/y", "file:///etc/passwd", "javascript:alert(1)", "https://", "http://[", "/relative.mp4"),
            "https://a b/c",
        ],
    )
    def test_done_without_a_link_is_finished_all_the_same(self, video: object) -> None:
        """It is polled again, bounded: it is neither running for ever nor to be made anew."""
        assert check(generation("completed", video=video)) == Finished(link=None)

    def test_file_size_is_used_where_it_is_named(self) -> None:
        video = {"url": LINK, "content_type": "video/mp4", "file_name": "x.mp4", "file_size": 1234567}

        assert check(generation("completed", video=video)) == Finished(link=LINK, file_size=1234567)

    @pytest.mark.parametrize("size", [None, 0, -1, 1.5, "big", 10**400, [], True])
    def test_file_size_that_makes_no_sense_is_not(self, size: object) -> None:
        assert check(generation("completed", video={"url": LINK, "file_size": size})) == Finished(link=LINK)


class TestErrors:
    """What went wrong must reach the person who can mend it, whatever shape it comes in."""

    @pytest.mark.parametrize(
        ("error", "code", "message"),
        [
            (
                {"name": "GenerationError", "message": "No face found in the video"},
                *("GenerationError", "No face found in the video"),
            ),
            (
                {"detail": [{"loc": ["body"], "msg": "Could not detect face", "type": "face_detection_error"}]},
                *("face_detection_error", "Could not detect face"),
            ),
            ({"detail": "bad input"}, "provider_error", "bad input"),
            ({"error": {"code": "E1", "message": "inner"}}, "E1", "inner"),
            ({"detail": [{"msg": "a"}, {"msg": "b"}]}, "provider_error", "a; b"),
            ("out of memory", "provider_error", "out of memory"),
            (["one", "two"], "provider_error", "one; two"),
            ({"name": "X"}, "X", "the provider gives no reason"),
            ({"name": "not a name", "message": "m"}, "provider_error", "m"),
            (None, "provider_error", "the provider gives no reason"),
            ({}, "provider_error", "the provider gives no reason"),
            (5, "provider_error", "the provider gives no reason"),
        ],
    )
    def test_words_are_found_in_every_shape(self, error: object, code: str, message: str) -> None:
        errored = check(generation("error", error=error))

        assert isinstance(errored, Errored)
        assert (errored.code, errored.message) == (code, message)

    def test_absent_error_may_be_told_beside_it(self) -> None:
        errored = check(generation("error", message="queue is full"))

        assert isinstance(errored, Errored)
        assert errored.message == "queue is full"

    @pytest.mark.parametrize(
        ("error", "retryable"),
        [
            ("Service overloaded", True),
            ("Please try again later", True),
            ("temporarily unavailable", True),
            ("Internal server error", True),
            ("Reached the limit for concurrent generations", True),
            ("request timed out", True),
            ({"name": "GatewayTimeout", "message": "x"}, True),
            ({"name": "internal_error", "message": ""}, True),
            ({"name": "GenerationError", "message": "No face found in the video"}, False),
            ("No face found. Try again with another video", False),
            ("Moderation failure", False),
            ("timeline is not valid", False),
            ("", False),
            (None, False),
        ],
    )
    def test_only_what_says_so_itself_is_made_again(self, error: object, retryable: bool) -> None:
        errored = check(generation("error", error=error))

        assert isinstance(errored, Errored)
        assert errored.retryable is retryable

    @pytest.mark.parametrize("status", ["timeout", "expired", "cancelled", "rejected"])
    def test_ends_that_may_have_been_charged_are_not_made_again(self, status: str) -> None:
        errored = check(generation(status, error="try again"))

        assert isinstance(errored, Errored)
        assert not errored.retryable

    def test_what_is_kept_of_it_is_masked_and_cut(self) -> None:
        noise = {
            "input": f"https://s3.example/a.mp4?X-Amz-Signature=s3cr3t {KEY} data:video/mp4;base64,{'QUJD' * 10**5}"
        }
        errored = check(generation("error", error={"message": f"cannot read {noise['input']}", "detail": [noise]}))

        assert isinstance(errored, Errored)
        assert "https://s3.example/a.mp4?" in errored.message
        assert len(errored.raw.encode()) <= 4096
        for text in (errored.raw, errored.message):
            assert "s3cr3t" not in text
            assert KEY not in text
            assert "QUJDQUJD" not in text


class TestWhichGeneration:
    @pytest.mark.parametrize("asked", ["-G3b3vVKdoC42fMNeK1T5", "50f3e8ae-1:kling-video/v1.6/pro/effects"])
    def test_any_form_of_id(self, asked: str) -> None:
        assert check({"id": asked, "status": "queued"}, asked=asked) == Running(status="queued")

    def test_generation_id_is_read_too(self) -> None:
        assert check({"generation_id": ID, "status": "queued"}) == Running(status="queued")

    def test_id_that_is_not_repeated_is_no_harm(self) -> None:
        assert check({"status": "completed", "video": LINK}) == Finished(link=LINK)

    @pytest.mark.parametrize("other", [ID.lower(), "another", 5, {"id": ID}, ""])
    def test_mixed_up_answer_never_finishes_the_wrong_pair(self, other: object) -> None:
        assert isinstance(check({"id": other, "status": "completed", "video": LINK}), Unavailable)


class TestPollsThatFail:
    @pytest.mark.parametrize("status", [404, 400, 410, 422])
    def test_api_that_will_not_have_the_id_does_not_know_it(self, status: int) -> None:
        assert check(api_error(status), status=status) == NotFound()

    @pytest.mark.parametrize("body", [b"<html>nginx</html>", b"", b"null", b"[]"])
    def test_404_of_a_gateway_says_nothing_about_the_id(self, body: bytes) -> None:
        """A proxy that lost its way for a minute must not turn paid generations into lost ones."""
        assert isinstance(check(body, status=404), Unavailable)

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 301, 304, 402, 405, 408, 409])
    def test_anything_else_is_asked_again_later(self, status: int) -> None:
        assert isinstance(check(api_error(status), status=status), Unavailable)

    @pytest.mark.parametrize("status", [401, 403])
    def test_denied_says_why(self, status: int) -> None:
        assert check(api_error(status, "no valid key"), status=status) == Denied(
            status=status, message=f"no valid key (HTTP {status})"
        )

    def test_throttled_hands_on_the_pause(self) -> None:
        answer = make_answer(429, api_error("429"), {"retry-after": "12"})

        assert read_check(answer, ID) == Throttled(retry_after=12.0)

    @pytest.mark.parametrize(
        "body", [b"", b"<html>", b"null", b"[]", b'"queued"', b"{}", b'{"id": "z', b"\xff\xfe\x00"]
    )
    def test_200_that_is_no_generation_is_asked_again_later(self, body: bytes) -> None:
        assert isinstance(check(body), Unavailable)


@pytest.mark.parametrize(
    ("usage", "micro_usd"),
    [
        ({"credits_used": 2_000_000}, 1_000_000),
        ({"credits_used": 120_000}, 60_000),
        ({"credits_used": 1}, 1),
        ({"credits_used": 3}, 2),
        ({"tokens_used": 480_000}, 240_000),
        ({"credits_used": 2480, "usd_spent": 0.00124}, 1240),
        ({"usd_spent": 0.1}, 100_000),
        ({"usd_spent": "0.001240000"}, 1240),
        ({"credits_used": 0}, 0),
        *(({"credits_used": odd}, None) for odd in (None, -1, "x", [], True, 10**300)),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage_is_money_rounded_up(usage: object, micro_usd: int | None) -> None:
    """A quote may be too high, never too low: a budget hangs on it."""
    finished = check(generation("completed", meta={"usage": usage}))

    assert isinstance(finished, Finished)
    assert finished.usage == micro_usd


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999999999999", b"1e-999999999", b"9" * 5000])
def test_monstrous_number_spoils_nothing_but_itself(number: bytes) -> None:
    body = b'{"id": "%s", "status": "queued", "x": %s, "meta": {"usage": {"credits_used": %s}}}'

    value = read_submission(make_answer(200, body % (ID.encode(), number, number)), body_whole=True)

    assert isinstance(value, Accepted)
    assert value.generation_id == ID


def test_quote_is_found_in_the_headers_too() -> None:
    headers = {"x-inference-id": "inf-1", "x-aimlapi-usd-spent": "0.240000000", "x-aimlapi-credits-used": "480000"}

    assert read_submission(make_answer(500, b"", headers), body_whole=True) == Accepted(
        generation_id="inf-1", quote=240_000
    )


def test_id_in_the_body_comes_before_the_header() -> None:
    value = read_submission(make_answer(200, ACCEPTED, {"x-inference-id": "inf-1"}), body_whole=True)

    assert isinstance(value, Accepted)
    assert value.generation_id == ACCEPTED["id"]


@pytest.mark.parametrize("header", ["", " ", "x" * 2000])
def test_header_that_is_no_id_accepts_nothing(header: str) -> None:
    assert isinstance(read_submission(make_answer(500, b"", {"x-inference-id": header}), body_whole=True), Unclear)


def test_deeply_nested_answer_is_unreadable_and_no_more() -> None:
    for body in (b"[" * 10**5, b'{"id":' * 10**5, b'{"error":' * 900 + b"1" + b"}" * 900):
        assert isinstance(check(body), Unavailable)
        assert isinstance(read_submission(make_answer(200, body), body_whole=True), Unclear)


# Values as JSON could hold them, with the names and words that mean something more often than chance would.
NAMES = st.sampled_from(
    [
        *("id", "generation_id", "status", "video", "url", "file_size", "error", "name", "message", "detail", "msg"),
        *("type", "meta", "usage", "credits_used", "usd_spent", "statusCode", "requestId", "data", "pagination"),
        *("has_more", "next_cursor", "inference_id", "client_request_id", "reference_id", "amount", "usd", "credits"),
        *("direction", "created", "pricing", "kind", "units", "variants", "price", "per", "unit", "currency"),
        *("aliases", "current_balance"),
    ]
)
WORDS = st.sampled_from(
    [
        *(ID, "completed", "error", "queued", LINK, "503", "CHARGE", "MODEL_USAGE", "fixed", "variants", "second"),
        *("USD", "pixverse/lip-sync", "2026-07-02T03:04:05.000Z", "0001-01-01T00:00:00+14:00", "9" * 70, "1e400"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=8),
    max_leaves=25,
)
HEADERS = st.dictionaries(
    st.sampled_from(["x-inference-id", "retry-after", "x-aimlapi-usd-spent", "x-aimlapi-credits-used"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
    | st.sampled_from(["9" * 30, "Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 -2359"]),
)


@pytest.mark.slow
@settings(deadline=None)
@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()),
    headers=HEADERS,
    body_whole=st.booleans(),
)
@example(status=200, body=b'{"data": {"pricing": 1}}', headers={}, body_whole=True)
def test_no_answer_raises(status: int, body: bytes, headers: dict[str, str], body_whole: bool) -> None:
    """An exception in a lane cancels all lanes: one strange answer must not end a night's run."""
    answer = make_answer(status, body, headers)

    values = [
        read_submission(answer, body_whole=body_whole),
        read_check(answer, ID),
        read_failure(answer),
        read_log_page(answer, offset=0),
        read_charge_page(answer),
    ]
    read_balance(answer)
    read_price(answer, model="pixverse/lip-sync", source="test")

    for value in values:
        assert type(value).__name__ in vars(base)
        str(value).encode()


def test_nothing_read_here_depends_on_the_network() -> None:
    """Reading is pure, so that it can be tested as it is here."""
    source = Path(read_check.__code__.co_filename).read_text()

    assert "httpx" not in source
    assert "await" not in source


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Reached the limit for concurrent generations", Refusal.NO_SLOT),
        ("You have too many videos in flight; concurrency limit reached", Refusal.NO_SLOT),
        ("Only 5 jobs can run at the same time", Refusal.NO_SLOT),
        ("Max simultaneous tasks exceeded", Refusal.NO_SLOT),
        ("Too Many Requests", Refusal.THROTTLED),
        ("Too many concurrent requests", Refusal.THROTTLED),
        ("Rate limit exceeded: 60 requests at a time", Refusal.THROTTLED),
        ("", Refusal.THROTTLED),
    ],
)
def test_shortage_of_slots_is_told_from_one_of_requests_where_the_answer_says_so(message: str, kind: Refusal) -> None:
    """The one waits for an end, the other for a moment; polls go on with the one, and not with the other."""
    refused = read_submission(make_answer(429, {"message": message, "statusCode": "429"}), body_whole=True)

    assert isinstance(refused, Refused)
    assert refused.kind is kind
