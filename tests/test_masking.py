"""Errors quote requests: what is written down of them must hold no secret."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from html import escape
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import Mark

from lipsync_batch.masking import HIDDEN, LIMIT, MOST, holds, mask, mask_link, pieces

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "text",
    [
        f"https://media.example/a.mp4?X-Amz-Signature={SECRET}",
        f"https://media.example/a.mp4#token={SECRET}",
        f"https://user:{SECRET}@media.example/a.mp4",
        f"https://{SECRET}@media.example",
        f"https://user:p@{SECRET}@media.example/",
        f"s3://key:{SECRET}@bucket/a.mp4?versionId=1",
        f'{{"url":"https:\\/\\/u:{SECRET}@media.example\\/a.mp4?sig={SECRET}"}}',
        f"data:video/mp4;base64,AAAA{SECRET}",
        f"data:video\\/mp4;base64,AAAA\\/{SECRET}",
        f"data:,{SECRET}",
        f"data:audio/mpeg;codecs=x;base64,{SECRET}==",
        f"Authorization: Bearer {SECRET}",
        f'{{"authorization": "Basic {SECRET}"}}',
        f"authorization={SECRET}",
        f"bearer {SECRET}-and-longer",
        f'{{"api_key": "{SECRET}"}}',
        f"x-api-key: {SECRET}",
        f"Invalid API key: {SECRET}",
        f"access_token={SECRET}&x=1",
        f"X-Amz-Credential={SECRET}",
        f"password = {SECRET}",
        f"...{'A' * 100}{SECRET}{'B' * 100}",
    ],
)
def test_secret_is_hidden(text: str) -> None:
    masked = mask(text)

    assert SECRET not in masked
    assert HIDDEN in masked


@pytest.mark.parametrize(
    "text",
    [
        "No face found in the video",
        "GET https://cdn.aimlapi.com/panda/pixverse%2Fmp4%2Fori%2FPUQnIoDi_seed0.mp4 gave 404",
        "job key: intro-de, output de/intro.mp4",
        '{"status":"error","error":{"name":"GenerationError","message":"too long"}}',
        "generation 50f3e8ae-1:kling-video/v1.6/pro/effects",
        "Bearer token is required",
        '{"meta":{"usage":{"tokens_used":120000}},"data":["a"]}',
        "日本語 ✓",
    ],
)
def test_what_helps_is_left(text: str) -> None:
    assert mask(text) == text


def test_place_of_a_link_is_left() -> None:
    """Which file failed must still be told."""
    assert mask("cannot fetch https://u:p@media.example/de/a%20b.mp4?sig=1, is it there?") == (
        "cannot fetch https://***@media.example/de/a%20b.mp4?*** is it there?"
    )


@pytest.mark.parametrize("form", ["sk/live+1", "sk%2Flive%2B1"])
def test_known_secret_is_hidden_wherever_it_stands(form: str) -> None:
    assert mask(f"see{form}here", secrets={"sk/live+1"}) == "see***here"


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=64))
def test_known_secret_is_hidden_in_every_form(secret: str) -> None:
    """Servers quote requests escaped, encoded, and quoted once more by the next one on the way."""
    mark, in_json, in_url = Mark(secret), json.dumps(secret), quote(secret, safe="")
    forms = [in_json, in_json.replace("/", "\\/"), json.dumps(in_json), repr(in_json.encode()), in_url, quote(in_url)]
    forms += [escape(secret), escape(escape(secret)), secret.encode().hex().upper()]
    forms += [re.sub("[<>&'/]", lambda c: f"\\u{ord(c[0]):04x}", in_json)]  # as Go and PHP write JSON
    for user in (b"", b"u", b"me"):
        forms += [encode(user + secret.encode() + b"!").decode() for encode in (b64encode, urlsafe_b64encode)]

    for form in forms:
        masked = mask(f"see {form} here", secrets={secret})
        assert HIDDEN in masked
        assert not mark.found_in(masked)


def test_form_that_is_too_short_to_tell_hides_nothing() -> None:
    """The Base64 of a short secret stands in innocent words."""
    assert mask("YWJj 616263", secrets={"abc"}) == "YWJj 616263"


@pytest.mark.parametrize("text", ["no key", "sk/live+1", '{"k": "sk\\/live+1"}'])
def test_text_that_holds_a_secret_is_known(text: str) -> None:
    assert holds(text, {"sk/live+1"}) == ("live" in text)


def test_secret_that_holds_another_is_hidden_whole() -> None:
    assert mask("abcdef", secrets=["abc", "abcdef"]) == HIDDEN


def test_empty_secret_hides_nothing() -> None:
    assert mask("plain", secrets={""}) == "plain"


def test_text_that_could_take_over_a_terminal_is_defused() -> None:
    assert mask("a\x1b[2Jb\x00c\u202ed\r\ne") == "a [2Jb c d \ne"


def test_result_is_cut_at_4_kib_and_never_inside_a_character() -> None:
    masked = mask("日本語。" * 2000)

    assert LIMIT - 4 <= len(masked.encode()) <= LIMIT
    assert masked.endswith("…")


def test_masking_comes_before_cutting() -> None:
    """A megabyte of inline video must not push the reason out of sight."""
    assert mask(f"data:video/mp4;base64,{'QUJD' * 10_000} has no face") == "data:video/mp4;base64,*** has no face"


def test_secret_at_the_edge_of_what_is_looked_at_does_not_show_in_part() -> None:
    key = "key-that-must-not-leak"
    text = "data:video/mp4;base64," + "A" * (MOST - 36) + " " + key

    assert "key-" not in mask(text, secrets={key})


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("https://media.example/a%2Fb.mp4", "https://media.example/a%2Fb.mp4"),
        ("https://u:p@media.example/a.mp4?x=1#y", "https://***@media.example/a.mp4?***"),
        ("https://media.example/a.mp4#t=1?x", "https://media.example/a.mp4#***"),
        (f"https://media.example/a b.mp4?c d={SECRET}", "https://media.example/a b.mp4?***"),
        ("", ""),
    ],
)
def test_link_is_shown_without_its_secrets(link: str, shown: str) -> None:
    assert mask_link(link) == shown


PIECES = st.sampled_from(
    ["https://", "data:", ";base64,", "@", "?", "#", "Bearer ", "key=", "\\/", '"', " ", "A" * 199, ":", "//", "\ud800"]
)


@settings(deadline=None)
@given(st.lists(PIECES | st.text(max_size=10), max_size=30).map("".join))
def test_any_text_can_be_masked_and_written(text: str) -> None:
    masked = mask(text)

    assert len(masked.encode()) <= LIMIT
    assert mask(masked) == masked


@pytest.mark.parametrize(
    ("address", "quoted"),
    [
        pytest.param(f"slack://{SECRET}/A1B2C3D4/#ops", f"https://hooks.slack.com/services/{SECRET}", id="as the host"),
        pytest.param(f"json://host/a/{SECRET}", f"POST /a/{SECRET} gave 500", id="in the path"),
        pytest.param(f"mailto://me:{SECRET}@host", f"login of me with {SECRET} failed", id="as the password"),
        pytest.param("mailto://me:s3%2Fcr3t@host", "login of me with s3/cr3t failed", id="written for a URL"),
        pytest.param(f"tgram://1234567:{SECRET}/12", f"/bot1234567:{SECRET}/sendMessage", id="between colons"),
        pytest.param(f"json://host?+X-Token={SECRET}", f"X-Token: {SECRET}", id="in a header"),
        pytest.param(SECRET, f"Unparseable URL {SECRET}", id="all that there is"),
    ],
)
def test_part_of_an_address_is_hidden(address: str, quoted: str) -> None:
    """Services put together addresses of their own from what they are given, and name those in their errors."""
    masked = mask(quoted, secrets=pieces(address))

    assert SECRET not in masked
    assert "s3/cr3t" not in masked
