"""What a submit says, byte for byte, and what it costs to say it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from aimlapi_client import SMALL
from misbehaving import Connection, MisbehavingServer

from lipsync_batch.jobs import Audio, DataUri, Link, LocalFile, Pair, Source, Text
from lipsync_batch.providers.body import CHUNK, LAST, InputChangedError, RequestBody, media_type
from lipsync_batch.providers.media_links import MediaLinks

MIB = 2**20


def make_pair(video: Source, speech: Source | None = None, **changes: str) -> Pair:
    return Pair(
        fingerprint="1:aa",
        video=video,
        speech=Audio(source=speech) if speech else Text(text="Hi.", speaker="Ava"),
        **changes,  # type: ignore[arg-type]
    )


async def sent(pair: Pair, links: MediaLinks | None = None) -> bytes:
    body = await RequestBody.of(pair, (links or MediaLinks(None, None)).of)
    chunks = [chunk async for chunk in body]
    assert chunks[-1] == LAST
    assert body.length == sum(map(len, chunks))
    return b"".join(chunks)


async def test_text_mode_names_text_and_speaker_and_no_audio() -> None:
    assert json.loads(await sent(SMALL)) == {
        "model": "pixverse/lip-sync",
        "video_url": "https://media.example/clip.mp4",
        "lip_sync_tts_content": "Welcome back.",
        "lip_sync_tts_speaker": "Oliver",
    }


async def test_links_go_out_as_they_are() -> None:
    """A signature covers every byte of a link, and `%2F` is part of a name."""
    url = "https://media.example/a%2Fb.mp4?X-Amz-Signature=0%2B1&x=é"

    assert json.loads(await sent(make_pair(Link(url=url), Link(url=url)))) == {
        "model": "pixverse/lip-sync",
        "video_url": url,
        "audio_url": url,
    }


@pytest.mark.parametrize("text", ['say "hi" \\ \n\t', "naïve 日本語 🎬", "\ud800 half a pair", "</script>\u2028"])
async def test_any_text_survives(text: str) -> None:
    pair = Pair(fingerprint="1:aa", video=Link(url="https://x/y"), speech=Text(text=text, speaker="Ava"))

    assert json.loads(await sent(pair))["lip_sync_tts_content"] == text


@pytest.mark.parametrize("size", [0, 1, 2, 3, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 2])
async def test_local_files_arrive_whole_at_every_size(size: int, tmp_path: Path) -> None:
    """Base64 in chunks must read as one; both media of a pair may be local."""
    content = os.urandom(size)
    video, audio = tmp_path / "clip.MP4", tmp_path / "dub.wav"
    video.write_bytes(content)
    audio.write_bytes(content[::-1])
    digest = hashlib.sha256(content).hexdigest()

    fields = json.loads(await sent(make_pair(LocalFile(path=video), LocalFile(path=audio), video_sha256=digest)))

    assert fields["video_url"] == "data:video/mp4;base64," + base64.b64encode(content).decode()
    assert fields["audio_url"] == "data:audio/wav;base64," + base64.b64encode(content[::-1]).decode()


async def test_data_uri_of_the_manifest_goes_out_as_it_is() -> None:
    text = "data:video/mp4;base64," + "A" * (2 * CHUNK)

    assert json.loads(await sent(make_pair(DataUri(text=text))))["video_url"] == text


async def test_every_chunk_is_small_enough_for_its_time_out() -> None:
    body = await RequestBody.of(make_pair(DataUri(text="data:," + "A" * 10**6)), MediaLinks(None, None).of)

    assert max([len(chunk) async for chunk in body]) <= CHUNK


class TestFileThatIsNotWhatWasHashed:
    """The closing brace is withheld: whatever the server has got, it is no JSON."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "clip.mp4"
        path.write_bytes(b"x" * (2 * CHUNK))
        return path

    async def test_edited(self, path: Path) -> None:
        await self._is_withheld(await self._body(path, sha256="00"), "changed")

    async def test_shorter_than_it_was(self, path: Path) -> None:
        body = await self._body(path)
        os.truncate(path, CHUNK)

        await self._is_withheld(body, "shorter")

    async def test_longer_than_it_was(self, path: Path) -> None:
        body = await self._body(path)
        with path.open("ab") as file:
            file.write(b"more")

        await self._is_withheld(body, "longer")

    async def test_gone(self, path: Path) -> None:
        body = await self._body(path)
        await asyncio.to_thread(path.unlink)

        await self._is_withheld(body, "No such file")

    async def test_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.mp4")

        with pytest.raises(InputChangedError, match="not a file"):
            await self._body(tmp_path / "pipe.mp4")

    async def _body(self, path: Path, sha256: str | None = None) -> RequestBody:
        pair = make_pair(LocalFile(path=path))
        if sha256:
            pair = make_pair(LocalFile(path=path), video_sha256=sha256)
        return await RequestBody.of(pair, MediaLinks(None, None).of)

    async def _is_withheld(self, body: RequestBody, why: str) -> None:
        sent = bytearray()

        async def send() -> None:
            async for chunk in body:
                sent.extend(chunk)

        with pytest.raises(InputChangedError, match=why) as caught:
            await send()
        assert "clip.mp4" in str(caught.value)
        assert not body.whole
        with pytest.raises(json.JSONDecodeError):
            json.loads(sent)


@pytest.mark.parametrize(
    ("name", "start", "expected"),
    [
        ("a.mp4", b"", "video/mp4"),
        ("a.MOV", b"", "video/quicktime"),
        ("a.mp3", b"RIFF....WAVE", "audio/mpeg"),
        ("a.wav", b"", "audio/wav"),
        ("a", b"\x00\x00\x00\x18ftypisom", "video/mp4"),
        ("a", b"\x00\x00\x00\x18ftypqt  ", "video/quicktime"),
        ("a.upload", b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        ("a", b"ID3\x04", "audio/mpeg"),
        ("a", b"", "application/octet-stream"),
    ],
)
def test_media_type_is_the_endings_else_the_contents(name: str, start: bytes, expected: str) -> None:
    assert media_type(Path(name), start) == expected


class TestMediaBaseUrl:
    """Files too large to go out inline are fetched by the provider instead."""

    links = MediaLinks("https://media.example/spring/", Path("/studio/batch"))

    @pytest.mark.parametrize(
        ("path", "link"),
        [
            ("/studio/batch/clips/a.mp4", "https://media.example/spring/clips/a.mp4"),
            ("/studio/batch/clips/../a b#1?.mp4", "https://media.example/spring/a%20b%231%3F.mp4"),
            ("/studio/batch/日本.mp4", "https://media.example/spring/%E6%97%A5%E6%9C%AC.mp4"),
            ("/studio/batch/caf\udce9.mp4", "https://media.example/spring/caf%E9.mp4"),
            ("/studio/elsewhere/a.mp4", None),
            ("/studio/batch/../elsewhere/a.mp4", None),
            ("/studio/batch-2/a.mp4", None),
        ],
    )
    def test_maps_what_is_under_the_root(self, path: str, link: str | None) -> None:
        assert self.links.of(LocalFile(path=Path(path))) == link

    async def test_mapped_file_is_not_read(self) -> None:
        fields = json.loads(await sent(make_pair(LocalFile(path=Path("/studio/batch/a.mp4"))), self.links))

        assert fields["video_url"] == "https://media.example/spring/a.mp4"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(50 * MIB)
    return path


@pytest.mark.slow
async def test_body_of_50_mb_never_stands_in_memory(large: Path) -> None:
    body = await RequestBody.of(make_pair(LocalFile(path=large)), MediaLinks(None, None).of)

    tracemalloc.start()
    try:
        total = sum([len(chunk) async for chunk in body])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert total == body.length > 66 * MIB
    assert peak < 4 * MIB


UPLOAD = """
import asyncio, sys
from pathlib import Path
from lipsync_batch.jobs import LocalFile, Link, Audio, Pair
from lipsync_batch.providers.aimlapi import AimlApi

def pair(path):
    return Pair(fingerprint="1:aa", video=LocalFile(path=Path(path)), speech=Audio(source=Link(url="https://x/y")))

def most_memory():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

async def main(origin, small, large):
    api = AimlApi(base_url=origin, key="key")
    print(await api.submit(pair(small), "lb1.small"))
    before = most_memory()
    print(await api.submit(pair(large), "lb1.large"))
    print(most_memory() - before)
    await api.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process's memory is read from /proc")
async def test_process_that_sends_50_mb_grows_by_less_than_16_mib(large: Path, tmp_path: Path) -> None:
    """A laptop sends many at once, beside everything else."""
    small = tmp_path / "small.mp4"
    small.write_bytes(b"x" * CHUNK)

    async def script(connection: Connection) -> None:
        while True:
            await connection.whole_request()
            await connection.answer(200, {"id": "x", "status": "queued"})

    async with MisbehavingServer(script) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", UPLOAD, server.origin, str(small), str(large)), stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()

    first, second, grown = output.decode().splitlines()
    assert first.startswith("Accepted")
    assert second.startswith("Accepted")
    assert int(grown) < 16 * MIB
