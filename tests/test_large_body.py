"""Large files, most of which is read straight from the connection; the server is real, on loopback."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from cdn import Cdn, Request, Wire, chunked, file, head, raw

from lipsync_batch.fetching.fetch import Broken, Expected, Fetched, Outcome, Patience, download_client, fetch
from lipsync_batch.fetching.large_body import LARGE
from lipsync_batch.fetching.part import discard

pytestmark = pytest.mark.slow

IMPATIENT = Patience(connect=5, stall=0.3, attempts=3, seconds=5, first_pause=0.001, longest_pause=0.002)
CONTENT = b"".join(number.to_bytes(8, "big") for number in range((LARGE + LARGE // 4) // 8))
"""Differs everywhere, so that a piece at the wrong place is noticed."""


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with download_client() as shared:
        yield shared


@pytest.fixture
def get(client: httpx2.Client, tmp_path: Path) -> Callable[[Cdn], Outcome]:
    def get_from(cdn: Cdn) -> Outcome:
        part = tmp_path / "clip.mp4.part"
        expected = Expected(bytes=len(CONTENT), check="size")
        outcome = fetch(cdn.url(), part, expected=expected, client=client, patience=IMPATIENT)
        if isinstance(outcome, Fetched):
            assert part.read_bytes() == CONTENT
            assert outcome.info.sha256 == hashlib.sha256(CONTENT).hexdigest()
        discard(part)
        return outcome

    return get_from


def test_a_large_file_comes_whole(get: Callable[[Cdn], Outcome]) -> None:
    with Cdn(file(CONTENT)) as cdn:
        assert isinstance(get(cdn), Fetched)

    assert len(cdn.requests) == 1


@pytest.mark.parametrize("ending", ["reset", "close", "stall"])
def test_what_a_broken_connection_brought_is_kept(get: Callable[[Cdn], Outcome], ending: str) -> None:
    """However it ends, and whichever way the rest is read."""
    cut = 100_001
    with Cdn(file(CONTENT, cut=cut, ending=ending), file(CONTENT)) as cdn:
        assert isinstance(get(cdn), Fetched)

    assert cdn.requests[1].header("Range") == f"bytes={cut}-"


def test_a_server_that_says_too_much_is_not_believed(get: Callable[[Cdn], Outcome]) -> None:
    """Bytes after the announced end belong to nothing, and the connection that has them is not used again."""
    with Cdn(raw(head("200 OK", {"Content-Length": len(CONTENT)}) + CONTENT + b"garbage"), file(CONTENT)) as cdn:
        assert isinstance(get(cdn), Fetched)
        assert isinstance(get(cdn), Fetched)

    assert len(cdn.requests) == 2


def test_a_server_that_says_too_little_is_broken(get: Callable[[Cdn], Outcome]) -> None:
    """A file that is short of its announced length is never taken for whole."""
    with Cdn(raw(head("200 OK", {"Content-Length": len(CONTENT) + 1}) + CONTENT)) as cdn:
        outcome = get(cdn)

    assert isinstance(outcome, Broken)
    assert f"after {len(CONTENT):,} of {len(CONTENT) + 1:,} bytes" in outcome.reason


def test_a_large_body_in_chunks_is_read_with_its_marks(get: Callable[[Cdn], Outcome]) -> None:
    """What stands on the connection is not the file alone."""
    with Cdn(chunked(CONTENT, size=300_000)) as cdn:
        assert isinstance(get(cdn), Fetched)


def test_a_part_of_another_length_than_was_announced_starts_over(get: Callable[[Cdn], Outcome]) -> None:
    """Content-Range and Content-Length that do not agree: the bytes have no sure place."""
    cut = 5_000

    def overlong(_: Request, wire: Wire) -> None:
        rest = len(CONTENT) - cut
        fields = {"Content-Length": rest, "Content-Range": f"bytes {cut}-{cut + 9}/{len(CONTENT)}", "ETag": '"v1"'}
        wire.send(head("206 Partial Content", fields) + CONTENT[cut:])

    with Cdn(file(CONTENT, cut=cut), overlong, file(CONTENT)) as cdn:
        assert isinstance(get(cdn), Fetched)

    assert cdn.requests[2].header("Range") is None
