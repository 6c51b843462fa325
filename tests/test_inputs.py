"""What identifies an input, what makes it unusable, and which limits it breaks."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_factory import make_audio, make_video

from lipsync_batch import inputs, links
from lipsync_batch.capabilities import LIP_SYNC, MIB
from lipsync_batch.inputs import (
    FileFacts,
    Trouble,
    data_uri_bytes,
    fingerprint,
    inspect,
    too_large_to_send,
    warnings_for,
)
from lipsync_batch.jobs import Audio, DataUri, Link, LocalFile, MediaInfo, Text, Want
from lipsync_batch.links import unsigned

VIDEO_SHA = "a" * 64
AUDIO_SHA = "b" * 64
CLIP = Link(url="https://media.example/clip.mp4")


def make_want(**changes: object) -> Want:
    return replace(Want(video=CLIP, speech=Text(text="Hello.", speaker="Emily")), **changes)  # type: ignore[arg-type]


def name(want: Want, *, video: str | None = None, audio: str | None = None) -> str:
    return fingerprint(want, video_sha256=video, audio_sha256=audio)


def make_facts(path: str = "clip.mp4", **changes: object) -> FileFacts:
    info = MediaInfo(duration=5.0, has_video=True, has_audio=True, width=640, height=360, container="mov,mp4,m4a")
    facts = FileFacts(path=Path(path), inode=1, size=1_000, mtime_ns=0, sha256=VIDEO_SHA, media=info)
    return replace(facts, **changes)  # type: ignore[arg-type]


def make_speech(path: str = "dub.wav", seconds: float = 4.0) -> FileFacts:
    return make_facts(path, media=MediaInfo(duration=seconds, has_video=False, has_audio=True, container="wav"))


# Fingerprints


def test_a_fingerprint_never_changes() -> None:
    """It is in users' databases: another value for the same pair means that it is paid for once more."""
    local = Want(
        video=LocalFile(path=Path("/a/clip.mp4")), speech=Audio(source=LocalFile(path=Path("/a/dub.wav"))), take=2
    )

    assert name(make_want()) == "v1:e58a945504d8eb44d4cd44fb41a94e4f18655571ea68ed845226530ac22a7d4a"
    assert (
        name(local, video=VIDEO_SHA, audio=AUDIO_SHA)
        == "v1:eb878ba0b640856ebcdabf0271708573291b9d4331677eb18baf737817263ed2"
    )


SPELT_BY_HAND = [
    pytest.param(
        Want(
            video=Link(url="HTTPS://User:pw@CDN.Example:443/a%2Fb.mp4?v=2&X-Amz-Signature=9f&X-Amz-Expires=600#t=1"),
            speech=Text(
                text='  Gru\u0308\u00df Gott, \u65e5\u672c \U0001f600\n"quoted" \\ back\tslash </script> \x7f ',
                speaker="Emily",
            ),
            take=3,
        ),
        "v1:0f52d663ee7fe377c2b40ac55aa14dbdd80c9312e42e18a5b79bfc19bc853d4a",
        id="signed link, odd text",
    ),
    pytest.param(
        Want(
            video=Link(url="http://cdn.example:8080"),
            speech=Audio(source=Link(url="https://b\u00fccher.example/\u00fcber.mp3")),
        ),
        "v1:c92468d98873d9fd87cfcbeb131d5e275893b1addd39ddc550a1595710852fc6",
        id="bare host",
    ),
    pytest.param(
        Want(
            video=DataUri(text="data:video/mp4;base64,AAAA"),
            speech=Audio(source=DataUri(text="data:audio/wav;base64,AQID")),
            model="other/model \u00e9",
        ),
        "v1:5f80212056fa7606aad8fb69d6910c59807fac9c50335c67dff9753f2aa005a2",
        id="data URIs",
    ),
]


@pytest.mark.parametrize(("want", "golden"), SPELT_BY_HAND)
def test_a_fingerprint_never_changes_however_odd_its_parts(want: Want, golden: str) -> None:
    """Quotes, control characters, other alphabets and ports: what was released for them holds for ever."""
    assert name(want) == golden


@given(st.text(), st.text(), st.text(), st.integers(1, 2**31 - 1))
def test_a_fingerprint_is_the_hash_of_canonical_json(url: str, text: str, speaker: str, take: int) -> None:
    """It is put together by hand for speed: whoever checks it with a JSON library finds the same."""
    want = Want(video=Link(url=url), speech=Text(text=text, speaker=speaker), take=take)
    spoken = ["text", unicodedata.normalize("NFC", text.strip()), speaker]
    named = {"model": want.model, "speech": spoken, "take": take, "video": ["link", unsigned(url)]}

    canonical = json.dumps(named, sort_keys=True, separators=(",", ":"))

    assert name(want) == f"v1:{hashlib.sha256(canonical.encode()).hexdigest()}"


LINKS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["https://", "HTTP://", "http://", "https:", "ftp://", "a/b://", "//", "", " https://"]),
    st.sampled_from(["", "h", "H.Example", "u:p@h", "h:443", "h:80", "h:x", "[::1]:81", "[broken", "h:", "b\u00fc.de"]),
    st.text(alphabet="/a.%2F@:[] ~\u00e9\u00a0", max_size=8),
    st.sampled_from(["", "", "?v=1", "#t=1", "?", "?token=T&expires=1"]),
)


@given(LINKS)
def test_a_plain_link_is_understood_as_any_other(url: str) -> None:
    """Most links are read by a shorter way. One that it read differently would be another pair, paid for again."""
    assert unsigned(url) == links.unsigned_slowly(url)
    assert links.path_of(url) == links.path_slowly(url)


@given(st.text(alphabet="ab./ ", max_size=10))
def test_the_ending_of_a_links_path_is_that_of_a_path(path: str) -> None:
    """Warnings about odd formats go by it."""
    assert inputs._suffix(path) == PurePosixPath(path).suffix


def test_whatever_decides_the_result_is_in_the_fingerprint() -> None:
    """Two pairs under one name would mean that one of them is never made."""
    file = LocalFile(path=Path("/a/x"))
    wants = [
        name(make_want()),
        name(make_want(take=2)),
        name(make_want(model="pixverse/other")),
        name(make_want(video=Link(url="https://media.example/other.mp4"))),
        name(make_want(video=file), video=VIDEO_SHA),
        name(make_want(video=file), video=AUDIO_SHA),
        name(make_want(speech=Text(text="Hello!", speaker="Emily"))),
        name(make_want(speech=Text(text="hello.", speaker="Emily"))),
        name(make_want(speech=Text(text="Hello.", speaker="Emil"))),
        name(make_want(speech=Text(text="Hello.E", speaker="mily"))),
        name(make_want(speech=Audio(source=CLIP))),
        name(make_want(speech=Audio(source=file)), audio=AUDIO_SHA),
        name(make_want(speech=Audio(source=file)), audio=VIDEO_SHA),
        name(make_want(speech=Text(text="link", speaker=CLIP.url))),
        name(make_want(video=file, speech=Audio(source=file)), video=VIDEO_SHA, audio=AUDIO_SHA),
        name(make_want(video=file, speech=Audio(source=file)), video=AUDIO_SHA, audio=VIDEO_SHA),
    ]

    assert len(set(wants)) == len(wants)


def test_the_same_bytes_are_the_same_pair_wherever_they_come_from() -> None:
    """Moving a folder, or writing a file into the manifest, costs nothing."""
    content = b"any bytes at all"
    digest = hashlib.sha256(content).hexdigest()
    here, there = LocalFile(path=Path("/here/a.mp4")), LocalFile(path=Path("/there/b.mov"))
    inline = DataUri(text="data:video/mp4;base64," + base64.b64encode(content).decode())
    quoted = DataUri(text="data:video/quicktime;name=a,any%20bytes at%20all")

    names = {name(make_want(video=source), video=digest) for source in (here, there)}
    names |= {name(make_want(video=source)) for source in (inline, quoted)}

    assert len(names) == 1


@pytest.mark.parametrize("text", ["  Voilà. ", "Voilà.\n", "Voila\u0300."])
def test_white_space_around_a_text_and_its_unicode_form_say_nothing(text: str) -> None:
    """A sheet that was saved by another program must not be paid for again."""
    plain = make_want(speech=Text(text="Voilà.", speaker="Emily"))

    assert name(make_want(speech=Text(text=text, speaker="Emily"))) == name(plain)


@given(st.text(), st.text())
def test_any_text_and_speaker_can_be_named(text: str, speaker: str) -> None:
    found = name(make_want(speech=Text(text=text, speaker=speaker)))

    assert len(found) == len("v1:") + 64


@given(st.binary(max_size=200))
def test_data_uris_give_back_their_bytes(content: bytes) -> None:
    packed = base64.b64encode(content).decode()

    assert data_uri_bytes(f"data:video/mp4;base64,{packed}") == content
    assert data_uri_bytes(f"DATA:video/mp4;BASE64,{packed.rstrip('=')}") == content


@pytest.mark.parametrize("text", ["", "data:", "https://x/y,z", "data:video/mp4;base64,%%%", "data:;base64,a"])
def test_what_is_no_data_uri_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        data_uri_bytes(text)


# Links


@pytest.mark.parametrize(
    ("signed", "plain"),
    [
        pytest.param(
            "https://b.s3.amazonaws.com/a.mp4?X-Amz-Algorithm=A&X-Amz-Date=D&X-Amz-Signature=S", "/a.mp4", id="s3"
        ),
        pytest.param("https://b.s3.amazonaws.com/a.mp4?AWSAccessKeyId=K&Signature=S&Expires=1", "/a.mp4", id="s3-v2"),
        pytest.param("https://storage.googleapis.com/b/a.mp4?X-Goog-Signature=S&v=2", "/b/a.mp4?v=2", id="google"),
        pytest.param("https://d.cloudfront.net/a.mp4?Expires=1&Signature=S&Key-Pair-Id=K", "/a.mp4", id="cloudfront"),
        pytest.param("https://d.cloudfront.net/a.mp4?Policy=P&Signature=S&Key-Pair-Id=K", "/a.mp4", id="policy"),
        pytest.param(
            "https://x.blob.core.windows.net/c/a.mp4?sv=2024&st=1&se=2&sr=b&sp=r&sig=S", "/c/a.mp4", id="azure"
        ),
        pytest.param(
            "https://b.oss-cn.aliyuncs.com/a.mp4?OSSAccessKeyId=K&Expires=1&Signature=S&x-oss-process=video/s",
            "/a.mp4?x-oss-process=video/s",
            id="alibaba",
        ),
        pytest.param("https://z.b-cdn.net/a.mp4?token=T&expires=1", "/a.mp4", id="bunny"),
        pytest.param("https://x.akamaized.net/a.mp4?hdnts=exp=1~hmac=2", "/a.mp4", id="akamai"),
    ],
)
def test_a_fresh_signature_is_the_same_link(signed: str, plain: str) -> None:
    """Presigned links change every hour; the video behind them does not, and is paid for once."""
    assert unsigned(signed) == "https://" + signed.split("/")[2] + plain
    assert name(make_want(video=Link(url=signed))) == name(make_want(video=Link(url=unsigned(signed))))


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://h/a.mp4?se=1&sp=2&sv=3", id="azure-names-without-sig"),
        pytest.param("https://h/a.mp4?expires=1&policy=2", id="names-without-signature"),
        pytest.param("https://h/download?token=abc", id="token-that-names-the-thing"),
        pytest.param("https://h/a.mp4?b=2&a=1&a=&flag", id="order-repeats-and-empty"),
        pytest.param("https://h/a.mp4?versionId=7&x-amz-version-id=7", id="version"),
        pytest.param("https://h:8443/A%2Fb%20c.mp4", id="port-case-and-escapes"),
        pytest.param("http://[::1]:81/a", id="ipv6"),
    ],
)
def test_what_may_choose_the_content_stays(url: str) -> None:
    """Two links taken for one would leave a pair unmade."""
    assert unsigned(url) == url


def test_spelling_that_means_nothing_is_levelled() -> None:
    assert unsigned(" HTTPS://User:pw@Media.Example:443?v=1#t=2 ") == "https://media.example/?v=1"
    assert unsigned("http://h:80/a") == "http://h/a"
    assert unsigned("https://h:80/a") == "https://h:80/a"
    assert unsigned("https://[broken/a") == "https://[broken/a"


# Inspection


def test_a_local_video_is_read_once_and_known(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4")
    os.utime(path, (1_000_000_000, 1_000_000_000))

    facts = inspect(path, "video")

    assert isinstance(facts, FileFacts)
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (facts.size, facts.inode) == (path.stat().st_size, path.stat().st_ino)
    assert facts.media is not None
    assert facts.media.width == 64
    assert facts.problem is None
    assert facts.cacheable
    assert facts.hold_for(path.stat())


def test_facts_do_not_hold_for_a_file_that_changed(tmp_path: Path) -> None:
    path = make_audio(tmp_path / "dub.wav")
    facts = inspect(path, "audio")
    assert isinstance(facts, FileFacts)

    path.write_bytes(path.read_bytes() + b"more")

    assert not facts.hold_for(path.stat())


@pytest.mark.parametrize("age", [0, -3600], ids=["just-now", "in-the-future"])
def test_a_file_changed_a_moment_ago_is_not_cached(tmp_path: Path, age: int) -> None:
    """It may change again within the same tick of the clock, at the same size: the edit would be missed for ever."""
    path = make_audio(tmp_path / "dub.wav")
    if age:
        os.utime(path, (path.stat().st_mtime - age,) * 2)

    facts = inspect(path, "audio")

    assert isinstance(facts, FileFacts)
    assert not facts.cacheable


def trouble_with(path: Path, kind: inputs.Kind = "video") -> Trouble:
    trouble = inspect(path, kind)
    assert isinstance(trouble, Trouble), trouble
    return trouble


@pytest.mark.parametrize(
    ("asked", "there"),
    [("intr.mp4", "intro.mp4"), ("INTRO.MP4", "intro.mp4"), ("cafe\u0301.mp4", "café.mp4"), ("intro.mov", "intro.mp4")],
)
def test_a_missing_file_brings_up_the_nearest_name(tmp_path: Path, asked: str, there: str) -> None:
    """Typing errors, case and the Mac's form of Unicode are what makes files go missing."""
    (tmp_path / there).touch()
    (tmp_path / "something-else.wav").touch()

    trouble = trouble_with(tmp_path / asked)

    assert "does not exist" in trouble.cause
    assert trouble.remedy == f'did you mean "{there}"?'


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert "there is no folder" in trouble_with(tmp_path / "clps" / "intro.mp4").cause


def test_a_file_in_the_place_of_a_folder_is_a_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "clips").touch()

    assert "there is no folder" in trouble_with(tmp_path / "clips" / "intro.mp4").cause


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "kind", "cause"),
    [
        pytest.param(_folder, "video", "is a folder", id="folder"),
        pytest.param(_pipe, "video", "is not a regular file", id="pipe"),
        pytest.param(_loop, "video", "cannot be read", id="link-to-itself"),
        pytest.param(Path.touch, "audio", "is empty", id="empty"),
        pytest.param(lambda path: path.write_text("key,video\n" * 99), "video", "is not media", id="text"),
        pytest.param(lambda path: path.write_text("<!doctype html>"), "audio", "an HTML page", id="html"),
        pytest.param(make_audio, "video", "has no video stream", id="sound-as-video"),
        pytest.param(lambda path: make_video(path, container="mp4", audio=False), "audio", "no audio", id="silent"),
    ],
)
def test_what_cannot_be_used_says_why_and_what_to_do(
    tmp_path: Path, make: Callable[[Path], object], kind: inputs.Kind, cause: str
) -> None:
    path = tmp_path / "input.wav"
    make(path)

    trouble = trouble_with(path, kind)

    assert cause in trouble.cause
    assert "input.wav" in trouble.cause
    assert trouble.remedy


@pytest.mark.parametrize("text", ["a\0b", "x" * 300])
def test_names_that_cannot_be_are_trouble_not_a_crash(tmp_path: Path, text: str) -> None:
    assert "cannot be read" in trouble_with(tmp_path / text).cause


def test_a_file_without_permission_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated, for root may read everything."""
    path = make_video(tmp_path / "clip.mp4")
    real_open = Path.open

    def refuse(self: Path, *rest: object, **more: object) -> object:
        if self == path:
            raise PermissionError(13, "Permission denied")
        return real_open(self, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)

    assert "permission denied" in trouble_with(path).cause


def test_a_file_that_grows_while_it_is_read_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that still runs: hashing half of it would pay for half of it."""
    path = make_audio(tmp_path / "dub.wav")
    real_hash = inputs.hash_file

    def hash_while_writing(path: Path) -> str:
        digest = real_hash(path)
        with path.open("ab") as file:
            file.write(b"more")
        return digest

    monkeypatch.setattr(inputs, "hash_file", hash_while_writing)

    assert "changes while" in trouble_with(path, "audio").cause


def test_a_cut_video_that_still_opens_is_used_with_a_warning(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4")
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole.read_bytes()[:6_000])

    facts = inspect(path, "video")

    assert isinstance(facts, FileFacts)
    assert facts.problem is not None
    assert any("cut short" in warning for warning in warnings_for(make_want(), video=facts, audio=None))


# Limits


def test_a_usual_pair_has_no_warnings() -> None:
    """A warning on every row is a warning on none."""
    want = make_want(video=LocalFile(path=Path("clip.mp4")), speech=Audio(source=LocalFile(path=Path("dub.wav"))))

    assert warnings_for(want, video=make_facts(), audio=make_speech()) == []
    assert warnings_for(make_want(), video=None, audio=None) == []
    assert warnings_for(make_want(video=Link(url="https://h/stream?id=4")), video=None, audio=None) == []


BIG = MediaInfo(duration=5.0, has_video=True, has_audio=True, width=1080, height=2160, container="mov,mp4")


@pytest.mark.parametrize(
    ("want", "video", "audio", "said"),
    [
        pytest.param({"speech": Text(text="a" * 201, speaker="Emily")}, None, None, "201 characters", id="text"),
        pytest.param({"video": Link(url="https://h/a.avi?x=1")}, None, None, ".avi", id="link-ending"),
        pytest.param({}, make_facts(size=51 * MIB), None, "51.0 MiB is more", id="bytes"),
        pytest.param({}, make_facts(size=5 * MIB), None, "inside the request", id="inline"),
        pytest.param({}, make_facts(media=replace(BIG, duration=30.5)), None, "30.5 s is longer", id="seconds"),
        pytest.param({}, make_facts(media=BIG), None, "1080x2160", id="pixels"),
        pytest.param({}, make_facts(media=replace(BIG, container="matroska,webm")), None, "matroska", id="container"),
        pytest.param(
            {"speech": Audio(source=CLIP)}, make_facts(), make_speech(seconds=9.0), "longer than the video", id="longer"
        ),
        pytest.param({"speech": Audio(source=CLIP)}, None, make_speech(seconds=31), "audio: 31.0 s", id="speech"),
        pytest.param(
            {"video": DataUri(text="data:video/mp4;base64," + "A" * 6 * MIB)}, None, None, "4.5 MiB", id="data-uri"
        ),
    ],
)
def test_each_limit_of_the_models_maker_is_warned_about(
    want: dict[str, object], video: FileFacts | None, audio: FileFacts | None, said: str
) -> None:
    """Known before the money is spent; a warning, for the reseller may be more generous."""
    assert any(said in warning for warning in warnings_for(make_want(**want), video=video, audio=audio))


def test_files_under_media_base_url_are_not_inline() -> None:
    facts = make_facts(size=5 * MIB)

    assert warnings_for(make_want(), video=facts, audio=None, inline=False) == []


def test_a_file_too_large_for_a_request_is_refused_with_the_remedy() -> None:
    trouble = too_large_to_send(make_facts(size=LIP_SYNC.inline_limit + 1))

    assert trouble is not None
    assert "media_base_url" in trouble.remedy
    assert too_large_to_send(make_facts(size=LIP_SYNC.inline_limit)) is None
