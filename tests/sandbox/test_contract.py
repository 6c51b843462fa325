"""The sandbox refuses what the API refuses, in its words: a rehearsal that is kinder than the API teaches nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sandbox_client import GENERATIONS, KEY, ended, made, poll, submit

from lipsync_batch.capabilities import LIP_SYNC

NANOID = re.compile(r"[A-Za-z0-9_-]{21}")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"model": None}, "model", id="no model"),
        pytest.param({"model": "pixverse/v5"}, "model", id="another model"),
        pytest.param({"video_url": None}, "video_url: Required", id="no video"),
        pytest.param({"video_url": "/home/me/clip.mp4"}, "video_url", id="a path"),
        pytest.param({"video_url": "ftp://example.com/clip.mp4"}, "video_url", id="ftp"),
        pytest.param({"video_url": 7}, "video_url: Expected string", id="not a string"),
        pytest.param({"video_url": "data:video/mp4;base64,@@@"}, "video_url: Invalid data URI", id="not base64"),
        pytest.param({"audio_url": "https://example.com/a.mp3"}, "received both", id="audio and text"),
        pytest.param(
            {"lip_sync_tts_content": None, "lip_sync_tts_speaker": None}, "received neither", id="no speech at all"
        ),
        pytest.param({"lip_sync_tts_speaker": None}, "lip_sync_tts_speaker", id="text without speaker"),
        pytest.param({"lip_sync_tts_content": None}, "lip_sync_tts_content", id="speaker without text"),
        pytest.param({"lip_sync_tts_content": " \n"}, "received blank", id="blank text"),
        pytest.param({"lip_sync_tts_speaker": "emily"}, "'Harper' | 'Ava'", id="speaker in lower case"),
    ],
)
def test_what_the_api_does_not_take_is_400(inside: Any, changes: dict[str, Any], named: str) -> None:
    """The words are shown to users, and must name the field."""
    answer = submit(inside(), **changes)

    assert answer.status_code == 400
    body = answer.json()
    assert body["message"].startswith("Body validation error")
    assert named in body["message"]
    assert body.keys() == {"message", "path", "requestId", "statusCode", "timestamp"}
    assert body["path"] == GENERATIONS


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_object_is_400(inside: Any, body: bytes) -> None:
    """A client that sends rubbish is told so; the server goes on."""
    client = inside()

    answer = client.post(GENERATIONS, content=body)

    assert answer.status_code == 400
    assert submit(client).status_code == 200


@pytest.mark.parametrize("speaker", LIP_SYNC.speakers)
def test_every_speaker_of_the_model_is_taken(inside: Any, speaker: str) -> None:
    """The fifteen names are the contract."""
    assert submit(inside(), lip_sync_tts_speaker=speaker).status_code == 200


def test_a_submit_is_answered_with_an_id_a_status_and_a_quote(inside: Any) -> None:
    """The cost is named at the submit: the last poll may not repeat it."""
    answer = submit(inside(price=240_000), "lb1.batch.0123.1")

    assert answer.status_code == 200
    assert NANOID.fullmatch(answer.json()["id"])
    assert answer.json()["status"] == "queued"
    assert answer.headers["x-inference-id"] == answer.json()["id"]
    assert answer.headers["x-client-request-id"] == "lb1.batch.0123.1"
    assert answer.headers["x-aimlapi-credits-used"] == "480000"
    assert float(answer.headers["x-aimlapi-usd-spent"]) == 0.24


@pytest.mark.parametrize("theirs", ["with space", "slash/", "x" * 129, ""])
def test_a_malformed_client_request_id_is_silently_dropped(inside: Any, theirs: str) -> None:
    """The API runs and bills the request all the same, and its log has no id."""
    client = inside(instant_media=True)

    answer = submit(client, theirs)

    assert answer.status_code == 200
    assert "x-client-request-id" not in answer.headers
    ended(client, answer.json()["id"])
    assert client.get("/v2/logs?period=1h").json()["data"][0]["client_request_id"] is None


def test_some_ids_begin_with_a_dash(inside: Any) -> None:
    """`-G3b3vVKdoC42fMNeK1T5` was seen: no tool may take it for an option."""
    client = inside()

    ids = [submit(client, lip_sync_tts_content=f"Number {n}").json()["id"] for n in range(60)]

    dashed = [found for found in ids if found.startswith("-")]
    assert dashed
    assert poll(client, dashed[0])["id"] == dashed[0]


@pytest.mark.parametrize(
    ("query", "inference_id"),
    [
        pytest.param("", None, id="none"),
        pytest.param("?generation_id=V1StGXR8Z5jdHi6BmyT8k", "V1StGXR8Z5jdHi6BmyT8k", id="unknown"),
        pytest.param("?generation_id=not%20an%20id", None, id="malformed"),
    ],
)
def test_an_unknown_id_is_404(inside: Any, query: str, inference_id: str | None) -> None:
    """A malformed id is told from an unknown one by the missing x-inference-id."""
    answer = inside().get(f"{GENERATIONS}{query}")

    assert answer.status_code == 404
    assert answer.json()["statusCode"] == 404
    assert answer.headers.get("x-inference-id") == inference_id


@pytest.mark.parametrize("path", ["/v2/logs?period=1h", "/v2/billing", f"{GENERATIONS}?generation_id=x"])
@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer  ", "Basic some-key"])
def test_without_a_key_nothing_is_answered(inside: Any, path: str, authorization: str) -> None:
    """401 must be told from 404 and 403: a wrong key stops a run, an unknown id does not."""
    answer = inside().get(path, headers={"Authorization": authorization})

    assert answer.status_code == 401
    assert answer.json()["statusCode"] == 401


def test_with_a_key_of_its_own_the_sandbox_takes_no_other(inside: Any) -> None:
    """`--key` makes wrong keys testable."""
    client = inside(key="the-right-one")

    assert submit(client).status_code == 401
    client.headers["Authorization"] = "Bearer the-right-one"
    assert submit(client).status_code == 200


def test_keys_are_neither_kept_nor_shown(inside: Any, tmp_path: Any) -> None:
    """Whoever rehearses with a real key by mistake must not find it on disk."""
    client = inside()

    submit(client)

    shown = client.get("/_sandbox/stats").text
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    secret = KEY["Authorization"].removeprefix("Bearer ")
    assert secret not in shown
    assert secret.encode() not in kept


def test_a_body_over_the_limit_is_413(inside: Any) -> None:
    """The hosted limit is unknown: `--body-limit` rehearses one."""
    client = inside(body_limit=2_000)

    assert submit(client, video_url=f"data:video/mp4;base64,{'A' * 4_000}").status_code == 413
    assert submit(client).status_code == 200


def test_the_model_has_a_price_that_needs_no_key(inside: Any) -> None:
    """Plans name the cost before anything is submitted."""
    client = inside(price=350_000)
    del client.headers["Authorization"]

    answer = client.get("/v1/models?id=pixverse/lip-sync&include=pricing")

    (model,) = answer.json()["data"]
    assert model["id"] == "pixverse/lip-sync"
    assert model["pricing"]["kind"] == "fixed"
    assert model["pricing"]["units"][0]["price"] / model["pricing"]["units"][0]["per"] == 0.35
    etag = answer.headers["etag"]
    again = client.get("/v1/models?id=pixverse/lip-sync&include=pricing", headers={"If-None-Match": etag})
    assert again.status_code == 304
    assert client.get("/v1/models?id=another/model").json()["data"] == []
    assert "pricing" not in client.get("/v1/models").json()["data"][0]


def test_metrics_tell_how_long_generations_took(inside: Any) -> None:
    """Absent until something succeeded, as documented."""
    client = inside(instant_media=True)
    assert client.get("/models/metrics?aliases=pixverse/lip-sync").json()["models"] == []

    made(client)

    (model,) = client.get("/models/metrics?aliases=pixverse/lip-sync").json()["models"]
    assert model["metrics"]["duration_ms"].keys() == {"p50", "p75", "p90", "p99"}


@pytest.mark.slow
def test_both_words_for_done_occur_and_one_of_them_names_no_cost(inside: Any) -> None:
    """`succeeded` without meta is what the documentation's own run printed: waiting for `completed` waits for ever."""
    client = inside(instant_media=True)

    answers = [made(client, lip_sync_tts_content=f"Number {n}") for n in range(20)]

    seen = {answer["status"]: answer for answer in answers}

    assert seen.keys() == {"completed", "succeeded"}
    assert "meta" not in seen["succeeded"]
    assert seen["completed"]["meta"]["usage"]["credits_used"] == 480_000


def test_wishes_are_told_apart_by_what_they_ask(inside: Any) -> None:
    """The same media in another request is the same pair: that is what charged-twice is counted by."""
    client = inside()
    submit(client, video_url="data:video/mp4;base64,AAAA")
    submit(client, video_url="data:video/quicktime;base64,AAAA")
    submit(client, video_url="data:video/mp4;base64,AAAB")

    counted = client.get("/_sandbox/stats").json()

    assert counted["accepted"] == 3
    assert counted["pairs_accepted"] == 2
