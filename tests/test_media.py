"""Probing and checking media: real files, cut, faked and damaged in real ways."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import pytest
from media_factory import make_audio, make_video

from lipsync_batch import media
from lipsync_batch.jobs import MediaInfo
from lipsync_batch.media import BadMediaError, NotMediaError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def video(folder: Path) -> Path:
    return make_video(folder / "whole.mp4")


@pytest.fixture(scope="module")
def index_last(folder: Path) -> Path:
    return make_video(folder / "index-last.mp4", faststart=False)


def cut(source: Path, target: Path, size: int) -> Path:
    target.write_bytes(source.read_bytes()[:size])
    return target


def test_probe_reads_length_streams_and_picture_size(video: Path) -> None:
    """The plan and the warnings stand on these facts."""
    info = media.probe(video)

    assert info.duration == pytest.approx(1.0, abs=0.05)
    assert (info.has_video, info.has_audio) == (True, True)
    assert (info.width, info.height) == (64, 64)
    assert "mp4" in info.container


@pytest.mark.parametrize("ending", [".wav", ".mp3", ".m4a"])
def test_audio_files_probe_as_sound_without_a_picture(tmp_path: Path, ending: str) -> None:
    """Dubs come in all of these, and their length is the price."""
    info = media.probe(make_audio(tmp_path / f"dub{ending}", 1.5))

    assert info.duration == pytest.approx(1.5, abs=0.1)
    assert (info.has_video, info.has_audio) == (False, True)
    assert (info.width, info.height) == (None, None)


def test_length_is_measured_where_the_file_declares_none(tmp_path: Path) -> None:
    """Recordings of browsers declare no duration; they are videos all the same."""
    recording = make_video(tmp_path / "live.webm", container="matroska", options={"live": "1"})

    assert media.probe(recording).duration == pytest.approx(1.0, abs=0.1)
    assert media.check(recording).duration == pytest.approx(1.0, abs=0.1)


def test_a_cover_picture_does_not_make_a_song_a_video(tmp_path: Path) -> None:
    """An audio file given as the video is refused although it has album art."""
    import av

    song = make_audio(tmp_path / "song.mp3")
    cover = tmp_path / "song-with-cover.mp3"
    with av.open(str(song)) as source, av.open(str(cover), "w", options={"id3v2_version": "3"}) as out:
        sound = out.add_stream_from_template(source.streams.audio[0])
        art = out.add_stream("mjpeg", rate=1)
        art.width, art.height, art.pix_fmt = 16, 16, "yuvj420p"
        art.disposition = av.stream.Disposition.attached_pic
        out.mux(art.encode(av.VideoFrame(16, 16, "yuvj420p")))
        out.mux(art.encode())
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = sound
                out.mux(packet)

    info = media.probe(cover)

    assert (info.has_video, info.has_audio) == (False, True)


def test_metadata_that_is_not_utf8_does_not_stop_a_probe(tmp_path: Path) -> None:
    """Old editors write Latin-1 tags."""
    path = make_video(tmp_path / "clip.mp4")
    import av

    with av.open(str(path)) as source, av.open(str(tmp_path / "tagged.mp4"), "w") as out:
        out.metadata["title"] = "XXXX"
        streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    tagged = tmp_path / "tagged.mp4"
    tagged.write_bytes(tagged.read_bytes().replace(b"XXXX", b"caf\xe9"))

    assert media.check(tagged).has_video


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\n<!DOCTYPE html><html><body>404", "an HTML page", id="html"),
        pytest.param(b"\xef\xbb\xbf<html>", "an HTML page", id="html-bom"),
        pytest.param(b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document", id="xml"),
        pytest.param(b'{"message": "Not found"}', "a JSON document", id="json"),
        pytest.param(b"hello, world\n" * 50, "not media", id="text"),
        pytest.param(bytes(5_000), "not media", id="zeros"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(100), "not media", id="picture"),
    ],
)
def test_what_is_not_media_is_refused_with_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    """The message must say what the file is, so that a user sees the mix-up at once."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)

    with pytest.raises(NotMediaError, match=reason):
        media.probe(path)
    with pytest.raises(BadMediaError, match=reason):
        media.check(path)


def test_random_bytes_are_not_media(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(os.urandom(20_000))

    with pytest.raises(NotMediaError):
        media.probe(path)


def test_folders_and_missing_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotMediaError, match="not a regular file"):
        media.probe(tmp_path)
    with pytest.raises(FileNotFoundError):
        media.probe(tmp_path / "absent.mp4")


def test_a_name_that_looks_like_a_protocol_is_only_a_name(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg would read `concat:a|b` as two files, and `10:30.mp4` as a protocol called 10."""
    monkeypatch.chdir(tmp_path)
    for odd in (Path("concat:a|b.mp4"), Path("10:30.mp4")):
        odd.write_bytes(video.read_bytes())

        assert media.check(odd).has_video


@pytest.mark.parametrize(
    "playlist",
    [
        pytest.param("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n", id="hls"),
        pytest.param("ffconcat version 1.0\nfile '{target}'\n", id="concat"),
        pytest.param(
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration='
            '"PT1S"><Period><AdaptationSet><Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL>'
            "</Representation></AdaptationSet></Period></MPD>",
            id="dash",
        ),
        pytest.param("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n", id="sdp"),
    ],
)
@pytest.mark.parametrize("ending", ["mp4", "m3u8", "ffconcat", "mpd"])
def test_a_playlist_never_makes_ffmpeg_open_what_it_names(
    video: Path, tmp_path: Path, playlist: str, ending: str
) -> None:
    """A file from a CDN or a customer must not read our disk or reach into our network."""
    path = tmp_path / f"posing.{ending}"
    path.write_text(playlist.format(target=video))

    with pytest.raises(NotMediaError):
        media.probe(path)


def test_a_playlist_causes_no_connection(tmp_path: Path) -> None:
    """The same over HTTP: the server in the playlist hears nothing."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        path = tmp_path / "posing.mp4"
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n")

        with pytest.raises(NotMediaError, match="playlist"):
            media.probe(path)

        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("faststart", [True, False], ids=["index-first", "index-last"])
def test_no_cut_of_a_video_passes_the_check(tmp_path: Path, video: Path, index_last: Path, faststart: bool) -> None:
    """A download that ended early plays up to the cut: customers find that, so the check must find it first."""
    source = video if faststart else index_last
    size = source.stat().st_size

    for length in [*range(1, size, 97), size - 9, size - 8, size - 1]:
        with pytest.raises(BadMediaError):
            media.check(cut(source, tmp_path / "cut.mp4", length))


def test_a_cut_video_is_named_as_such(video: Path, index_last: Path, tmp_path: Path) -> None:
    """ "Not media" would send the user looking in the wrong place."""
    with pytest.raises(BadMediaError, match=r"cut short: 6,000 bytes of at least 1\d,\d{3}"):
        media.check(cut(video, tmp_path / "a.mp4", 6_000))
    with pytest.raises(NotMediaError, match="cut short"):
        media.probe(cut(index_last, tmp_path / "b.mp4", 6_000))


def test_a_cut_fragmented_video_and_a_cut_matroska_are_found(tmp_path: Path) -> None:
    """Not every video states its sizes in front; there the packets tell."""
    fragmented = make_video(
        tmp_path / "fragmented.mp4",
        seconds=3,
        faststart=False,
        options={"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    )
    matroska = make_video(tmp_path / "clip.mkv", seconds=3, container="matroska")

    for source in (fragmented, matroska):
        media.check(source)
        with pytest.raises(BadMediaError, match="cut short"):
            media.check(cut(source, tmp_path / f"cut{source.suffix}", source.stat().st_size // 2))


def test_a_cut_that_was_papered_over_is_found_in_the_packets(video: Path, tmp_path: Path) -> None:
    """A tool that closes a cut file makes its boxes fit; the last samples are still not there."""
    content = video.read_bytes()
    start = content.index(b"mdat") - 4
    kept = content[: len(content) - 50]
    closed = tmp_path / "closed.mp4"
    closed.write_bytes(kept[:start] + (len(kept) - start).to_bytes(4, "big") + kept[start + 4 :])

    assert media.truncation(closed) is None
    with pytest.raises(BadMediaError, match="cut short or damaged"):
        media.check(closed)


def test_bytes_after_the_last_box_do_not_damage_a_video(video: Path, tmp_path: Path) -> None:
    """Some servers pad; the video plays, so it counts."""
    padded = tmp_path / "padded.mp4"
    padded.write_bytes(video.read_bytes() + bytes(100))

    assert media.check(padded) == media.check(video)


def test_picture_data_that_does_not_decode_fails_the_check(video: Path, tmp_path: Path) -> None:
    """Right sizes around zeros: what a lost write leaves behind."""
    content = video.read_bytes()
    start = content.index(b"mdat") + 4
    zeroed = tmp_path / "zeroed.mp4"
    zeroed.write_bytes(content[:start] + bytes(len(content) - start))

    with pytest.raises(BadMediaError, match=r"video.* that cannot be decoded"):
        media.check(zeroed)
    media.check(zeroed, decode=False)


@pytest.mark.parametrize("missing", ["video", "audio"])
def test_a_result_lacks_neither_picture_nor_sound(tmp_path: Path, missing: str) -> None:
    """A silent video, or a sound alone, is not what was paid for."""
    path = make_audio(tmp_path / "a.m4a") if missing == "video" else make_video(tmp_path / "v.mp4", audio=False)

    with pytest.raises(BadMediaError, match=re.escape(f"has no {missing} stream")):
        media.check(path)


@pytest.mark.slow
def test_checking_in_threads_gives_the_same_answers(video: Path, index_last: Path, tmp_path: Path) -> None:
    """The download lane checks several files at once."""
    broken = cut(video, tmp_path / "cut.mp4", 6_000)

    def verdict(path: Path) -> MediaInfo | str:
        try:
            return media.check(path)
        except BadMediaError as error:
            return error.reason

    paths = [video, index_last, broken] * 20
    with ThreadPoolExecutor(6) as pool:
        verdicts = list(pool.map(verdict, paths))

    assert verdicts == [verdict(path) for path in paths]


def test_nothing_is_said_on_the_terminal(video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """FFmpeg's own complaints would tear the live view, and a damaged file makes it complain a lot."""
    for size in (100, 3_000, 6_000, 10_000):
        with pytest.raises(BadMediaError):
            media.check(cut(video, tmp_path / "cut.mp4", size))

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "speech", "odd"),
    [
        pytest.param(10.0, 10.0, False, id="equal"),
        pytest.param(1.4, 1.0, False, id="short-within-half-a-second"),
        pytest.param(1.6, 1.0, True, id="short-beyond-half-a-second"),
        pytest.param(18.1, 20.0, False, id="long-within-a-tenth"),
        pytest.param(17.0, 20.0, True, id="long-beyond-a-tenth"),
        pytest.param(17.0, None, False, id="text-of-unknown-length"),
    ],
)
def test_length_that_does_not_fit_the_speech_is_suspect(seconds: float, speech: float | None, odd: bool) -> None:
    """Flagged for a person to look at; it fails nothing."""
    info = MediaInfo(duration=seconds, has_video=True, has_audio=True)

    assert (media.suspect(info, speech) is not None) is odd


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((1280, 720), (320, 180), id="wide"),
        pytest.param((360, 640), (180, 320), id="tall"),
        pytest.param((64, 64), (64, 64), id="small ones stay as they are"),
    ],
)
def test_poster_is_a_small_jpeg(size: tuple[int, int], expected: tuple[int, int], tmp_path: Path) -> None:
    """Hundreds of them are on a page."""
    picture = tmp_path / "poster.jpg"

    picture.write_bytes(media.poster(make_video(tmp_path / "film.mp4", size=size)))

    with av.open(str(picture)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.width, codec.height) == ("mjpeg", *expected)


def test_poster_of_a_video_that_fades_in_is_not_black(tmp_path: Path) -> None:
    """A page of black pictures helps nobody."""
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for light in (*[0] * 12, *[200] * 12):
            frame = av.VideoFrame(64, 64, "gray")
            frame.planes[0].update(bytes([light]) * frame.planes[0].buffer_size)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())

    (tmp_path / "poster.jpg").write_bytes(media.poster(film))

    with av.open(str(tmp_path / "poster.jpg")) as picture:
        assert max(bytes(next(picture.decode(video=0)).planes[0])) > 150
