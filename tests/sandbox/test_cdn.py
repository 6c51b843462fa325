"""Result files are served as a CDN does it: what downloads, and continuing them, stands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from sandbox_client import KEY, made, stats


@dataclass
class Result:
    """A link, and what it leads to."""

    client: httpx2.Client
    link: str
    content: bytes
    etag: str

    def get(self, link: str = "", **headers: str) -> httpx2.Response:
        return self.client.get(link or self.link, headers=headers)


@pytest.fixture
def result(inside: Any) -> Result:
    """A finished generation's file, and a client without a key."""
    client = inside(instant_media=True)
    link = made(client)["video"]["url"]
    del client.headers["Authorization"]
    answer = client.get(link)
    return Result(client, link, answer.content, answer.headers["etag"])


def test_the_whole_file_has_a_length_and_a_strong_tag(result: Result) -> None:
    """A continued download is the same file only if the tag says so."""
    answer = result.get()

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"].startswith('"')


def test_links_look_like_the_ones_that_were_seen(result: Result) -> None:
    """`%2F` is part of the path; there is no query."""
    assert "/panda/pixverse%2Fmp4%2F" in result.link
    assert result.link.endswith(".mp4")


def test_a_decoded_link_leads_nowhere(result: Result) -> None:
    """Whoever decodes `%2F`, or encodes it twice, asks for another file."""
    assert result.get(result.link.replace("%2F", "/")).status_code == 404
    assert result.get(result.link.replace("%2F", "%252F")).status_code == 404
    assert result.get(result.link.replace("_seed0", "x_seed0")).status_code == 404


def test_the_rest_is_sent_from_where_it_broke_off(result: Result) -> None:
    """Range, with the tag that makes it safe."""
    answer = result.get(Range="bytes=1000-", **{"If-Range": result.etag})

    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes 1000-{len(result.content) - 1}/{len(result.content)}"
    assert answer.content == result.content[1000:]


def test_the_rest_of_another_file_is_never_sent(result: Result) -> None:
    """If-Range with a tag that is not this file's: all of it, from the start."""
    answer = result.get(Range="bytes=1000-", **{"If-Range": '"another"'})

    assert answer.status_code == 200
    assert answer.content == result.content


def test_a_range_behind_the_end_is_416(result: Result) -> None:
    """A .part that is already whole, or too long."""
    answer = result.get(Range=f"bytes={len(result.content)}-")

    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(result.content)}"


def test_head_tells_the_same_without_the_file(result: Result) -> None:
    """Length and tag for nothing."""
    answer = result.client.head(result.link)

    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["content-length"]) == len(result.content)
    assert answer.headers["etag"] == result.etag


def test_a_key_is_refused_and_told_on(result: Result) -> None:
    """The key goes to the API alone: a test asks for the number of violations."""
    assert result.get(**KEY).status_code == 400

    result.client.headers.update(KEY)
    assert stats(result.client)["auth_violations"] == 1
