"""Downloads against a real, misbehaving server on loopback; the truth is the SHA-256 of what the server has."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cdn import Answer, Cdn, Request, Wire, chunked, file, head, raw, say
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media_factory import make_video

from lipsync_batch.fetching import fetch as fetch_module
from lipsync_batch.fetching import part as part_module
from lipsync_batch.fetching.fetch import (
    STEP,
    BadFile,
    Broken,
    DiskFull,
    Expected,
    Fetched,
    LinkDead,
    Outcome,
    Patience,
    Stopped,
    download_client,
    fetch,
)
from lipsync_batch.fetching.part import Part, discard

QUICK = Patience(connect=5, stall=5, attempts=5, seconds=5, first_pause=0.001, longest_pause=0.002)
IMPATIENT = Patience(connect=1, stall=0.1, attempts=2, seconds=1, first_pause=0.001, longest_pause=0.002)
SIZE_ONLY = Expected(check="size")
HTML = b"<!DOCTYPE html><html><body>We'll be right back</body></html>"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    """Shared, as the download lane shares it: making one loads certificates."""
    with download_client() as shared:
        yield shared


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_video(tmp_path_factory.mktemp("cdn") / "clip.mp4").read_bytes()


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "clip.mp4.gen-1.part"


@pytest.fixture
def get(client: httpx2.Client, part: Path) -> Callable[..., Outcome]:
    def get_from(cdn: Cdn, path: str = "/clip.mp4", *, patience: Patience = QUICK, **options: object) -> Outcome:
        return fetch(cdn.url(path), part, client=client, patience=patience, **options)  # type: ignore[arg-type]

    return get_from


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def assert_whole(outcome: Outcome, part: Path, content: bytes) -> None:
    assert isinstance(outcome, Fetched), outcome
    assert (outcome.info.bytes, outcome.info.sha256) == (len(content), sha256(content))
    assert part.read_bytes() == content


def big(size: int) -> bytes:
    """Bytes that differ everywhere, so that a piece at the wrong place is noticed."""
    return b"".join(i.to_bytes(8, "big") for i in range(size // 8))


# Whole files


def test_a_whole_video_is_fetched_and_described(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    with Cdn(file(video)) as cdn:
        outcome = get(cdn)

    assert_whole(outcome, part, video)
    assert isinstance(outcome, Fetched)
    assert outcome.info.media is not None
    assert (outcome.info.media.width, outcome.info.media.has_audio) == (64, True)
    assert len(cdn.requests) == 1


@pytest.mark.slow
def test_fetching_a_large_file_again_asks_the_server_nothing(get: Callable[..., Outcome], part: Path) -> None:
    """A crash between the download and the commit of its checksum costs no second download."""
    content = big(part_module.CHECKPOINT + 1_000)
    with Cdn(file(content)) as cdn:
        first = get(cdn, expected=SIZE_ONLY)
        second = get(cdn, expected=SIZE_ONLY)

    assert first == second
    assert_whole(second, part, content)
    assert len(cdn.requests) == 1


def test_a_small_file_that_comes_whole_lies_alone(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    """Nothing but the part was ever made, so nothing needs to be cleared away: of ten thousand files it counts."""
    with Cdn(file(video)) as cdn:
        outcome = get(cdn)

    assert isinstance(outcome, Fetched)
    assert outcome.lies_alone
    assert list(part.parent.iterdir()) == [part]


def test_a_small_file_is_on_disk_when_fetch_returns(
    get: Callable[..., Outcome], part: Path, video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checksum is committed next: after a power loss, the bytes that it vouches for must be there."""
    synced: list[tuple[str, int]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), os.fstat(descriptor).st_size))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with Cdn(file(video)) as cdn:
        get(cdn)

    assert synced == [(str(part), len(video))]


def test_a_part_without_a_sidecar_vouches_for_nothing(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    """A small file of a process that died before its checksum was committed is fetched again."""
    part.write_bytes(video[:-1] + b"?")
    with Cdn(file(video)) as cdn:
        outcome = get(cdn)

    assert_whole(outcome, part, video)
    assert len(cdn.requests) == 1
    assert cdn.requests[0].header("Range") is None


@pytest.mark.parametrize("leftover", [".meta", ".meta.new"])
def test_what_lies_beside_a_part_is_told_of(
    get: Callable[..., Outcome], part: Path, video: bytes, leftover: str
) -> None:
    """A sidecar that an earlier process left is cleared away after the rename."""
    part.write_bytes(video[:100])
    part.with_name(f"{part.name}{leftover}").write_bytes(b"torn")
    with Cdn(file(video)) as cdn:
        outcome = get(cdn)
    final = part.rename(part.with_name("clip.mp4"))
    assert isinstance(outcome, Fetched)
    if not outcome.lies_alone:
        discard(part)

    assert list(part.parent.iterdir()) == [final]


def test_discard_leaves_nothing_beside_the_final_file(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    with Cdn(file(video)) as cdn:
        get(cdn)
    final = part.rename(part.with_name("clip.mp4"))
    discard(part)

    assert list(part.parent.iterdir()) == [final]


def test_a_body_in_chunks_without_a_length_is_fetched(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    with Cdn(chunked(video)) as cdn:
        assert_whole(get(cdn), part, video)


def test_a_body_that_ends_with_the_connection_is_believed_only_if_it_plays(
    get: Callable[..., Outcome], part: Path, video: bytes
) -> None:
    """Without any length, a cut and an end look the same: even a check of sizes must look into the file."""
    no_length = head("200 OK", {"Connection": "close"})
    with Cdn(raw(no_length + video[:6_000]), raw(no_length + video)) as cdn:
        assert_whole(get(cdn, expected=SIZE_ONLY), part, video)

    assert len(cdn.requests) == 2


@pytest.mark.parametrize(
    ("path", "on_the_wire"),
    [
        pytest.param("/panda/pixverse%2Fmp4%2Fori%2Fx_seed0.mp4", None, id="encoded-slash"),
        pytest.param("/a%2fb%20c.mp4?sig=a%2Fb%3D&x=1+2", None, id="signature"),
        pytest.param("/my clip.mp4", "/my%20clip.mp4", id="space"),
        pytest.param("/größe.mp4", "/gr%C3%B6%C3%9Fe.mp4", id="unicode"),
        pytest.param("/100%.mp4", None, id="stray-percent"),
        pytest.param("/a;b=c,d@e:f!$&'()*.mp4", None, id="reserved"),
    ],
)
def test_links_reach_the_wire_as_they_are(
    get: Callable[..., Outcome], part: Path, video: bytes, path: str, on_the_wire: str | None
) -> None:
    """`%2F` is part of the name on the provider's CDN, and signatures are made over the exact characters."""
    with Cdn(file(video)) as cdn:
        assert_whole(get(cdn, path), part, video)

    assert cdn.requests[0].target == (on_the_wire or path)


@pytest.mark.parametrize("link", ["", "clip.mp4", "ftp://h/x", "file:///etc/passwd", "http://", "http://h:x/"])
def test_what_is_no_web_address_is_a_dead_link(part: Path, client: httpx2.Client, link: str) -> None:
    """Only the provider can give a better one, so a poll is the way on."""
    outcome = fetch(link, part, client=client, patience=QUICK)

    assert isinstance(outcome, LinkDead)
    assert outcome.status is None
    assert not part.exists()


# Nothing secret goes out


def test_no_credential_of_any_kind_reaches_the_file_server(
    part: Path, video: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Law 6: a key, cookie or password must not reach a CDN, not even from a careless client, link or .netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    careless = httpx2.Client(
        headers={"Authorization": "Bearer SECRET", "Cookie": "a=SECRET"}, cookies={"session": "SECRET"}, trust_env=False
    )
    redirect = say("302 Found", Location="/real.mp4", Set_Cookie="tracker=1")
    with careless, Cdn(redirect, file(video, cut=500), file(video)) as cdn:
        link = cdn.url().replace("http://", "http://user:SECRET@")
        assert_whole(fetch(link, part, client=careless, patience=QUICK), part, video)

    for request in cdn.requests:
        assert request.header("Authorization") is None
        assert request.header("Cookie") is None
        assert "SECRET" not in str(request)


def test_our_own_client_keeps_no_cookies(client: httpx2.Client, part: Path, video: bytes) -> None:
    with Cdn(file(video, headers={"Set-Cookie": "tracker=1; Path=/"})) as cdn:
        fetch(cdn.url(), part, client=client, patience=QUICK)

    assert len(client.cookies) == 0


def test_a_proxy_from_the_environment_is_not_used_on_loopback(
    part: Path, video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Corporate machines set proxies; the sandbox and its files are on this machine."""
    with Cdn(file(video)) as cdn, Cdn(say("502 Bad Gateway")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        monkeypatch.setenv("all_proxy", proxy.url(""))
        monkeypatch.delenv("no_proxy", raising=False)
        assert_whole(fetch(cdn.url(), part, patience=QUICK), part, video)

    assert proxy.requests == []


def test_the_link_is_written_nowhere(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    """Result links live in jobs.db alone: who has one can take the video."""
    with Cdn(file(video)) as cdn:
        get(cdn, "/TOPSECRETPATH/clip.mp4?sig=TOPSECRETQUERY")

    for path in part.parent.iterdir():
        assert b"TOPSECRET" not in path.read_bytes()


# Broken connections


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_reset_at_any_byte_is_survived_by_range(
    client: httpx2.Client, part: Path, video: bytes, data: st.DataObject
) -> None:
    """Resets come anywhere: in the headers, after the first byte, before the last."""
    discard(part)
    cuts = data.draw(st.lists(st.integers(0, len(video) - 1), min_size=1, max_size=3, unique=True))
    sent_before = 0
    script: list[Answer] = []
    for position in sorted(cuts):
        script.append(file(video, cut=position - sent_before))
        sent_before = position
    with Cdn(*script, file(video)) as cdn:
        assert_whole(fetch(cdn.url(), part, client=client, patience=QUICK), part, video)

    for request, position in zip(cdn.requests[1:], sorted(cuts), strict=False):
        assert request.header("Range") == (f"bytes={position}-" if position else None)
        assert request.header("If-Range") == ('"v1"' if position else None)


@pytest.mark.parametrize("ending", ["reset", "close", "stall"])
@pytest.mark.parametrize("cut", [0, 1, 5_000])
def test_every_way_of_ending_early_is_survived(
    get: Callable[..., Outcome], part: Path, video: bytes, ending: str, cut: int
) -> None:
    with Cdn(file(video, cut=cut, ending=ending), file(video)) as cdn:
        assert_whole(get(cdn, patience=IMPATIENT), part, video)

    assert len(cdn.requests) == 2


@pytest.mark.parametrize("count", [0, 1, 9, 40])
def test_a_reset_within_the_headers_is_survived(
    get: Callable[..., Outcome], part: Path, video: bytes, count: int
) -> None:
    start = head("200 OK", {"Content-Length": len(video), "ETag": '"v1"'})[:count]
    with Cdn(raw(start, ending="reset"), file(video)) as cdn:
        assert_whole(get(cdn), part, video)


@pytest.mark.slow
def test_a_server_that_breaks_each_time_is_outlasted_while_bytes_come(get: Callable[..., Outcome], part: Path) -> None:
    """Attempts count from the last step of progress, so a bad line still delivers a large file."""
    content = big(20 * STEP)
    with Cdn(file(content, cut=STEP + 1)) as cdn:
        assert_whole(get(cdn, expected=SIZE_ONLY), part, content)

    assert len(cdn.requests) > 3 * QUICK.attempts


def test_without_a_validator_a_broken_download_starts_over(
    get: Callable[..., Outcome], part: Path, video: bytes
) -> None:
    """Half of one version and half of another is a video that no check would find."""
    for etag in (None, 'W/"v1"', "unquoted", '"a b"'):
        discard(part)
        with Cdn(file(video, etag=etag, cut=5_000), file(video, etag=etag)) as cdn:
            assert_whole(get(cdn), part, video)
        assert [request.header("Range") for request in cdn.requests] == [None, None]


@pytest.mark.parametrize("etag", [None, '"v1"'])
def test_reconnects_are_bounded(get: Callable[..., Outcome], part: Path, video: bytes, etag: str | None) -> None:
    """A server that breaks after a trickle must not hold a lane all night; the bytes are kept where they are of use."""
    with Cdn(file(video, etag=etag, cut=100)) as cdn:
        outcome = get(cdn)

    kept = 100 * QUICK.attempts if etag else 100
    assert isinstance(outcome, Broken)
    assert f"after {kept} of {len(video):,} bytes" in outcome.reason
    assert len(cdn.requests) == QUICK.attempts
    assert part.exists() is (etag is not None)


def test_nobody_listening_is_broken(part: Path, client: httpx2.Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    outcome = fetch(f"http://127.0.0.1:{port}/x.mp4", part, client=client, patience=QUICK)

    assert outcome == Broken(reason="no connection to the server of the link")


def test_a_stall_is_named_and_ends(get: Callable[..., Outcome], video: bytes) -> None:
    with Cdn(file(video, etag=None, cut=10, ending="stall")) as cdn:
        outcome = get(cdn, patience=IMPATIENT)

    assert isinstance(outcome, Broken)
    assert "nothing came for 0.1 s" in outcome.reason


def test_a_slow_server_that_moves_is_not_a_stall(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    """The time-out is for silence, not for the whole: 50 MB over a thin line take long."""

    def slowly(_: Request, wire: Wire) -> None:
        wire.send(head("200 OK", {"Content-Length": len(video)}))
        pause = threading.Event()
        for start in range(0, len(video), 2_000):
            wire.send(video[start : start + 2_000])
            pause.wait(0.03)

    with Cdn(slowly) as cdn:
        assert_whole(get(cdn, patience=IMPATIENT), part, video)

    assert len(cdn.requests) == 1


def test_an_error_never_names_the_link(get: Callable[..., Outcome]) -> None:
    """Reasons end up in reports and logs."""
    with Cdn(raw(b"not http at all\r\n\r\n")) as cdn:
        outcome = get(cdn, "/clip.mp4?sig=TOPSECRET")

    assert isinstance(outcome, Broken)
    assert "TOPSECRET" not in outcome.reason
    assert "127.0.0.1" not in outcome.reason


# Going on in another process


def leave_part(get: Callable[..., Outcome], content: bytes, count: int, *, etag: str = '"v1"') -> None:
    """A part of `count` bytes, as a run leaves it that was told to stop."""
    stopping = threading.Event()

    def until_cut(_: Request, wire: Wire) -> None:
        wire.send(head("200 OK", {"Content-Length": len(content), "ETag": etag}) + content[:count])
        stopping.set()
        wire.reset()

    with Cdn(until_cut) as cdn:
        outcome = get(cdn, stop=stopping.is_set)
    assert outcome == Stopped()


def test_a_part_of_an_earlier_run_goes_on_with_a_fresh_signature(
    client: httpx2.Client, part: Path, video: bytes
) -> None:
    """A link that expired half-way is replaced by one to the same file: only the rest is fetched."""
    forbidden = say("403 Forbidden")
    with Cdn(file(video, cut=4_000), forbidden, file(video)) as cdn:
        first = fetch(cdn.url("/clip.mp4?sig=old"), part, client=client, patience=QUICK)
        second = fetch(cdn.url("/clip.mp4?sig=new"), part, client=client, patience=QUICK)

    assert first == LinkDead(status=403, reason="the link answers 403")
    assert_whole(second, part, video)
    assert cdn.requests[2].header("Range") == "bytes=4000-"


def test_a_part_of_another_path_is_not_continued(client: httpx2.Client, part: Path, video: bytes) -> None:
    with Cdn(file(video, cut=4_000), say("403 Forbidden"), file(video)) as cdn:
        fetch(cdn.url("/one.mp4"), part, client=client, patience=QUICK)
        outcome = fetch(cdn.url("/two.mp4"), part, client=client, patience=QUICK)

    assert_whole(outcome, part, video)
    assert cdn.requests[2].header("Range") is None


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda meta, part: meta.unlink(), id="no-sidecar"),
        pytest.param(lambda meta, part: meta.write_bytes(b""), id="torn-sidecar"),
        pytest.param(lambda meta, part: meta.write_bytes(b"\x00" * 90), id="zeroed-sidecar"),
        pytest.param(lambda meta, part: meta.write_text("[]"), id="not-a-mapping"),
        pytest.param(lambda meta, part: meta.write_text('{"etag": 1}'), id="other-fields"),
        pytest.param(
            lambda meta, part: meta.write_text(json.dumps({**json.loads(meta.read_text()), "synced": -1})),
            id="negative",
        ),
        pytest.param(lambda meta, part: part.write_bytes(b"x"), id="shorter-than-synced"),
    ],
)
def test_a_part_that_cannot_be_vouched_for_starts_over(
    client: httpx2.Client, part: Path, video: bytes, damage: Callable[[Path, Path], object]
) -> None:
    """After a power loss anything may stand there."""
    with Cdn(file(video, cut=4_000), say("403 Forbidden"), file(video)) as cdn:
        fetch(cdn.url(), part, client=client, patience=QUICK)
        damage(part.with_name(f"{part.name}.meta"), part)
        outcome = fetch(cdn.url(), part, client=client, patience=QUICK)

    assert_whole(outcome, part, video)
    assert cdn.requests[2].header("Range") is None


def test_bytes_that_were_never_synced_are_fetched_again(client: httpx2.Client, part: Path, video: bytes) -> None:
    """A file may have its length after a power loss and still hold zeros."""
    with Cdn(file(video, cut=4_000), say("403 Forbidden"), file(video)) as cdn:
        fetch(cdn.url(), part, client=client, patience=QUICK)
        with part.open("ab") as unsynced:
            unsynced.write(bytes(3_000))
        outcome = fetch(cdn.url(), part, client=client, patience=QUICK)

    assert_whole(outcome, part, video)
    assert cdn.requests[2].header("Range") == "bytes=4000-"


def test_an_old_sidecar_never_vouches_for_new_bytes(client: httpx2.Client, part: Path, video: bytes) -> None:
    """Killed after starting over, before the first sync: what lies there now is of another version, and not durable."""
    with Cdn(file(video, cut=4_000), say("403 Forbidden")) as cdn:
        fetch(cdn.url(), part, client=client, patience=QUICK)
    source = json.loads(part.with_name(f"{part.name}.meta").read_text())["source"]

    with Part(part, source) as started_over:
        started_over.begin(etag='"v2"', total=len(video))
        started_over.write(b"x" * 5_000)
        with Part(part, source) as after_the_kill:
            assert after_the_kill.size == 0


@pytest.mark.slow
def test_a_killed_process_leaves_a_part_that_goes_on(client: httpx2.Client, part: Path) -> None:
    """kill -9 in the middle of a large file: the next run fetches the rest, and the hash is right."""
    content = big(6 * part_module.CHECKPOINT)
    with Cdn(file(content, cut=4 * part_module.CHECKPOINT + 12_345, ending="stall"), file(content)) as cdn:
        script = f"from lipsync_batch.fetching.fetch import *; fetch({cdn.url()!r}, Path({str(part)!r}))"
        with subprocess.Popen([sys.executable, "-c", script], cwd=Path(part_module.__file__).parents[1]) as child:
            while not part.exists() or part.stat().st_size < 4 * part_module.CHECKPOINT:
                assert child.poll() is None
                threading.Event().wait(0.01)
            child.kill()
        outcome = fetch(cdn.url(), part, expected=SIZE_ONLY, client=client, patience=QUICK)

    assert_whole(outcome, part, content)
    kept = int((cdn.requests[1].header("Range") or "bytes=0-")[6:-1])
    assert kept >= 3 * part_module.CHECKPOINT


# Odd answers to a Range


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"status": "206 Partial Content", "Content-Range": "bytes 0-{last}/{size}"}, id="wrong-start"),
        pytest.param({"status": "206 Partial Content", "Content-Range": "bytes 4000-{last}/99999"}, id="wrong-total"),
        pytest.param(
            {"status": "206 Partial Content", "Content-Range": "bytes 4000-{last}/{size}", "ETag": '"v2"'},
            id="wrong-etag",
        ),
        pytest.param(
            {"status": "206 Partial Content", "Content-Range": "bytes 4000-{last}/{size}", "ETag": 'W/"v1"'},
            id="weak-etag",
        ),
        pytest.param(
            {"status": "206 Partial Content", "Content-Range": "bytes 4000-{last}/{size}", "ETag": None}, id="no-etag"
        ),
        pytest.param({"status": "206 Partial Content"}, id="no-content-range"),
        pytest.param({"status": "206 Partial Content", "Content-Range": "bytes 4000-4009/{size}"}, id="overlong"),
        pytest.param({"status": "206 Partial Content", "Content-Range": "lines 1-2/3"}, id="other-unit"),
        pytest.param(
            {
                "status": "206 Partial Content",
                "Content-Range": "bytes 4000-{last}/{size}",
                "Content-Encoding": "gzip",
            },
            id="encoded",
        ),
        pytest.param({"status": "416 Range Not Satisfiable", "Content-Range": "bytes */{size}"}, id="416"),
    ],
)
def test_an_odd_answer_to_a_range_starts_over(
    get: Callable[..., Outcome], part: Path, video: bytes, odd: dict[str, str | None]
) -> None:
    """Bytes of another version, or of another place, must never be appended."""
    fields: dict[str, object] = {"Content-Length": len(video) - 4_000, "ETag": '"v1"'}
    for name, value in odd.items():
        if value is None:
            del fields[name]
        elif name != "status":
            fields[name] = value.format(last=len(video) - 1, size=len(video))
    wrong = raw(head(str(odd["status"]), fields) + b"\xff" * (len(video) - 4_000))

    with Cdn(file(video, cut=4_000), wrong, file(video)) as cdn:
        assert_whole(get(cdn), part, video)

    assert cdn.requests[1].header("Range") == "bytes=4000-"
    assert cdn.requests[2].header("Range") is None


def test_a_new_version_answered_with_200_replaces_the_old_bytes(
    get: Callable[..., Outcome], part: Path, video: bytes, tmp_path: Path
) -> None:
    """If-Range at work: the file changed on the server between two halves."""
    newer = make_video(tmp_path / "newer.mp4", seconds=1.5).read_bytes()
    with Cdn(file(video, cut=4_000), file(newer, etag='"v2"')) as cdn:
        assert_whole(get(cdn), part, newer)

    assert len(cdn.requests) == 2


def test_a_server_without_ranges_sends_all_again(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    with Cdn(file(video, ranges=False, cut=4_000), file(video, ranges=False)) as cdn:
        assert_whole(get(cdn), part, video)


def test_a_range_served_in_pieces_is_put_together(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    """A server may send less than was asked for (RFC 9110, section 14.2)."""

    def piece(request: Request, wire: Wire) -> None:
        start = int((request.header("Range") or "bytes=0-")[6:-1])
        end = min(start + 3_000, len(video)) - 1
        fields = {"Content-Length": end - start + 1, "Content-Range": f"bytes {start}-{end}/{len(video)}"}
        wire.send(head("206 Partial Content", {**fields, "ETag": '"v1"'}) + video[start : end + 1])

    with Cdn(file(video, cut=1_000), piece) as cdn:
        assert_whole(get(cdn), part, video)


# Wrong content


@pytest.mark.parametrize("body", [HTML, b'<?xml version="1.0"?><Error/>', b'{"message": "gone"}', b""])
@pytest.mark.parametrize("check", ["media", "size"])
def test_a_page_in_place_of_the_video_is_a_dead_link(
    get: Callable[..., Outcome], part: Path, body: bytes, check: str
) -> None:
    """200 with a page, whatever its Content-Type: an expired or early link, so a poll is the way on."""
    with Cdn(say("200 OK", body, Content_Type="video/mp4", ETag='"x"')) as cdn:
        outcome = get(cdn, expected=Expected(check=check))  # type: ignore[arg-type]

    assert isinstance(outcome, LinkDead)
    assert outcome.status == 200
    assert list(part.parent.iterdir()) == []


def test_a_page_that_comes_byte_by_byte_is_still_a_page(get: Callable[..., Outcome], part: Path) -> None:
    with Cdn(chunked(HTML, size=1)) as cdn:
        outcome = get(cdn, expected=SIZE_ONLY)

    assert isinstance(outcome, LinkDead)
    assert "HTML page" in outcome.reason
    assert not part.exists()


def test_a_passing_error_page_costs_nothing_of_what_has_come(
    get: Callable[..., Outcome], part: Path, video: bytes
) -> None:
    """A maintenance page in the middle of a large download."""
    with Cdn(file(video, cut=4_000), say("200 OK", HTML), file(video)) as cdn:
        assert_whole(get(cdn), part, video)

    assert cdn.requests[2].header("Range") == "bytes=4000-"


def test_a_video_called_html_is_a_video(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    with Cdn(file(video, headers={"Content-Type": "text/html"})) as cdn:
        assert_whole(get(cdn), part, video)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP"])
def test_an_encoded_body_is_decoded_and_never_continued(
    get: Callable[..., Outcome], part: Path, video: bytes, encoding: str
) -> None:
    """Object stores send what was stored, asked or not; positions in it are not positions in the file."""
    packed = gzip.compress(video)
    fields = {"Content-Encoding": encoding}
    with Cdn(file(packed, headers=fields, cut=len(packed) // 2), file(packed, headers=fields)) as cdn:
        assert_whole(get(cdn), part, video)

    assert cdn.requests[0].header("Accept-Encoding") == "identity"
    assert cdn.requests[1].header("Range") is None


def test_an_encoding_that_nobody_asked_for_is_refused(get: Callable[..., Outcome], video: bytes) -> None:
    with Cdn(file(video, headers={"Content-Encoding": "br"})) as cdn:
        outcome = get(cdn)

    assert isinstance(outcome, Broken)
    assert "encoding" in outcome.reason


def test_a_file_that_is_bad_at_the_provider_is_said_to_be(
    get: Callable[..., Outcome], part: Path, video: bytes
) -> None:
    """Whole by length, and twice the same: no third download will change it."""
    with Cdn(file(video[:6_000])) as cdn:
        outcome = get(cdn)

    assert isinstance(outcome, BadFile)
    assert "cut short" in outcome.reason
    assert len(cdn.requests) == 2
    assert list(part.parent.iterdir()) == []


def test_a_file_damaged_on_its_way_is_fetched_again(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    """One bad cache on the way must not fail a video that was paid for."""
    with Cdn(file(video[:6_000]), file(video)) as cdn:
        assert_whole(get(cdn), part, video)


def test_bytes_beyond_the_announced_length_are_not_taken(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    with Cdn(raw(head("200 OK", {"Content-Length": len(video)}) + video + b"garbage")) as cdn:
        assert_whole(get(cdn), part, video)


def test_the_providers_file_size_must_be_met(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    with Cdn(file(video)) as cdn:
        outcome = get(cdn, expected=Expected(bytes=len(video) + 1))

        assert isinstance(outcome, BadFile)
        assert f"{len(video) + 1:,}" in outcome.reason
        assert_whole(get(cdn, expected=Expected(bytes=len(video))), part, video)


def test_size_only_takes_what_is_not_a_video(get: Callable[..., Outcome], part: Path) -> None:
    content = big(4_096)
    with Cdn(file(content)) as cdn:
        outcome = get(cdn, expected=SIZE_ONLY)

    assert_whole(outcome, part, content)
    assert isinstance(outcome, Fetched)
    assert outcome.info.media is None


# Statuses and redirects


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_refused_link_is_dead_at_once(get: Callable[..., Outcome], part: Path, status: int) -> None:
    with Cdn(say(f"{status} No")) as cdn:
        outcome = get(cdn)

    assert outcome == LinkDead(status=status, reason=f"the link answers {status}")
    assert len(cdn.requests) == 1
    assert not part.exists()


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 204, 206, 304, 416])
def test_a_passing_trouble_is_waited_out(get: Callable[..., Outcome], part: Path, video: bytes, status: int) -> None:
    with Cdn(say(f"{status} Later"), file(video)) as cdn:
        assert_whole(get(cdn), part, video)


def test_an_outage_ends_as_broken_and_keeps_the_bytes(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    with Cdn(file(video, cut=4_000), say("503 Unavailable")) as cdn:
        outcome = get(cdn)

    assert outcome == Broken(reason="the server answers 503")
    assert part.read_bytes() == video[:4_000]


@pytest.mark.slow
def test_retry_after_is_honoured(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    with Cdn(say("503 Busy", Retry_After=1), file(video)) as cdn:
        waited: list[float] = []
        stop = _recording_stop(waited)
        assert_whole(get(cdn, stop=stop), part, video)

    assert len(waited) > 5  # asked about ten times a second while it waits


def _recording_stop(asked: list[float]) -> Callable[[], bool]:
    def stop() -> bool:
        asked.append(0.0)
        return False

    return stop


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_long_retry_after_is_left_to_the_caller(get: Callable[..., Outcome], form: str) -> None:
    """A thread must not sleep for an hour; the lane has other work."""
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with Cdn(say("429 Slow Down", Retry_After=3600 if form == "seconds" else date)) as cdn:
        outcome = get(cdn)

    assert isinstance(outcome, Broken)
    assert outcome.retry_after == pytest.approx(3600, abs=30)
    assert len(cdn.requests) == 1


def test_redirects_are_followed(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    hops = [say(f"{status} Moved", Location=f"/hop{status}.mp4") for status in (301, 302, 303, 307, 308)]
    with Cdn(*hops, file(video)) as cdn:
        assert_whole(get(cdn), part, video)

    assert cdn.requests[-1].target == "/hop308.mp4"


def test_a_redirected_download_goes_on_by_range(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    moved = say("302 Found", Location="/real.mp4")
    with Cdn(moved, file(video, cut=4_000), moved, file(video)) as cdn:
        assert_whole(get(cdn), part, video)

    assert cdn.requests[3].header("Range") == "bytes=4000-"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        pytest.param("/clip.mp4", "more than 5 times", id="endless"),
        pytest.param("ftp://127.0.0.1/x", "no web address", id="ftp"),
        pytest.param("file:///etc/passwd", "no web address", id="file"),
        pytest.param("http://h:port/", "no web address", id="invalid"),
    ],
)
def test_redirects_that_lead_nowhere_are_broken(get: Callable[..., Outcome], location: str, reason: str) -> None:
    with Cdn(say("302 Found", Location=location)) as cdn:
        outcome = get(cdn)

    assert isinstance(outcome, Broken)
    assert reason in outcome.reason


def test_a_redirect_from_https_to_http_is_refused(part: Path) -> None:
    """It would show a private video to the network."""

    def downgrade(request: httpx2.Request) -> httpx2.Response:
        assert request.url.scheme == "https"
        return httpx2.Response(302, headers={"Location": "http://cdn.example/clip.mp4"})

    with httpx2.Client(transport=httpx2.MockTransport(downgrade)) as client:
        outcome = fetch("https://cdn.example/clip.mp4", part, client=client, patience=QUICK)

    assert isinstance(outcome, Broken)
    assert "https to http" in outcome.reason


# Disk, stop, memory, threads


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_value_and_the_bytes_are_kept(
    client: httpx2.Client, part: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The lane pauses; with room again, the download goes on where it was."""
    content = big(4 * part_module.CHECKPOINT)
    real_fsync = os.fsync
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(code, os.strerror(code))
        real_fsync(descriptor)

    with Cdn(file(content)) as cdn:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            outcome = fetch(cdn.url(), part, expected=SIZE_ONLY, client=client, patience=QUICK)
        assert outcome == DiskFull(reason=f"cannot write the file: {os.strerror(code)}")
        assert_whole(fetch(cdn.url(), part, expected=SIZE_ONLY, client=client, patience=QUICK), part, content)

    assert cdn.requests[1].header("Range") is not None


class SmallDisk(io.FileIO):
    """A file on a disk with room for 3,000 bytes: writes come short, then fail, as the kernel's do."""

    def write(self, data: Any, /) -> int:
        room = 3_000 - os.fstat(self.fileno()).st_size
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(memoryview(data)[:room])


def test_a_disk_that_fills_up_while_writing_is_full(
    get: Callable[..., Outcome], part: Path, video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = Path.open

    def open_on_small_disk(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        return SmallDisk(path, mode) if mode == "a+b" else real_open(path, mode, *rest, **named)

    with Cdn(file(video)) as cdn:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", open_on_small_disk)
            outcome = get(cdn)
        assert isinstance(outcome, DiskFull)
        assert_whole(get(cdn), part, video)


def test_a_missing_folder_is_broken_and_says_so(client: httpx2.Client, video: bytes, tmp_path: Path) -> None:
    with Cdn(file(video)) as cdn:
        outcome = fetch(cdn.url(), tmp_path / "absent" / "clip.part", client=client, patience=QUICK)

    assert outcome == Broken(reason="cannot write the file: No such file or directory")
    assert cdn.requests == []


def test_a_stop_before_the_start_sends_nothing(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    with Cdn(file(video)) as cdn:
        assert get(cdn, stop=lambda: True) == Stopped()

    assert cdn.requests == []
    assert not part.exists()


def test_a_stop_in_the_middle_keeps_the_bytes(get: Callable[..., Outcome], part: Path, video: bytes) -> None:
    """Ctrl-C: what was paid for in bandwidth is there in the next run."""
    stopping = threading.Event()

    def until_stopped(_: Request, wire: Wire) -> None:
        wire.send(head("200 OK", {"Content-Length": len(video), "ETag": '"v1"'}) + video[:4_000])
        stopping.set()
        wire.send(video[4_000:5_000])
        wire.reset()

    with Cdn(until_stopped, file(video)) as cdn:
        assert get(cdn, stop=stopping.is_set) == Stopped()
        assert_whole(get(cdn), part, video)


def test_a_stop_while_waiting_ends_the_wait(get: Callable[..., Outcome]) -> None:
    asked = iter([False, False, True])

    with Cdn(say("503 Busy", Retry_After=4)) as cdn:
        outcome = get(cdn, stop=lambda: next(asked, True))

    assert outcome == Stopped()
    assert len(cdn.requests) == 1


@pytest.mark.slow
def test_memory_stays_flat_for_a_large_video(client: httpx2.Client, part: Path) -> None:
    """Many downloads run at once beside a million jobs."""
    content = big(50_000_000)

    def without_copies(_: Request, wire: Wire) -> None:
        wire.send(head("200 OK", {"Content-Length": len(content), "ETag": '"v1"'}))
        wire.send(content)

    with Cdn(without_copies) as cdn:
        tracemalloc.start()
        try:
            outcome = fetch(cdn.url(), part, expected=SIZE_ONLY, client=client, patience=QUICK)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert isinstance(outcome, Fetched)
    assert outcome.info.sha256 == sha256(content)
    assert peak < 4 * 1024 * 1024


@pytest.mark.slow
def test_one_client_serves_many_threads(client: httpx2.Client, tmp_path: Path, video: bytes) -> None:
    """The lane shares a client, so that connections to the CDN are used again."""

    def flaky(request: Request, wire: Wire) -> None:
        cut = None if request.header("Range") else 3_000
        file(video, cut=cut)(request, wire)

    with Cdn(flaky) as cdn, ThreadPoolExecutor(8) as pool:
        outcomes = list(
            pool.map(
                lambda n: fetch(cdn.url(f"/{n}.mp4"), tmp_path / f"{n}.part", client=client, patience=QUICK), range(60)
            )
        )

    assert {type(outcome) for outcome in outcomes} == {Fetched}
    assert {outcome.info.sha256 for outcome in outcomes if isinstance(outcome, Fetched)} == {sha256(video)}


def test_a_bug_is_not_a_transfer_fault(
    get: Callable[..., Outcome], video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retrying on a TypeError would hide it for ever."""
    monkeypatch.setattr(fetch_module.media, "check", lambda _: 1 / 0)
    with Cdn(file(video)) as cdn, pytest.raises(ZeroDivisionError):
        get(cdn)
