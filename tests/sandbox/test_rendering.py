"""The sandbox makes real videos: a rehearsal shows what the deliveries will be like."""

from __future__ import annotations

import io
import re
import shutil
import threading
import wave
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sandbox_client import KEY, MEDIA, Played, data_uri, made, pid_in, submit

from lipsync_batch.sandbox.fetch import is_loopback
from lipsync_batch.sandbox.process import SandboxProcess
from lipsync_batch.sandbox.render import RenderError, render
from lipsync_batch.sandbox.voice import speak

ADA = MEDIA / "ada.mp4"
GREETING = MEDIA / "greeting.wav"
LONG_TEXT = "This goes on for longer than the video does, so that its pictures have to begin again at least once."


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server of this machine, with the demo media in the folder `tmp_path / "web"`."""
    shutil.copytree(MEDIA, tmp_path / "web")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web")))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def result_of(client: httpx2.Client, **changes: Any) -> Played:
    """The video that comes out, played to its end."""
    answer = made(client, **changes)
    assert answer["status"] != "error", answer
    return Played(client.get(answer["video"]["url"], headers={"Authorization": ""}).content)


def seconds_of(sound: bytes) -> float:
    with wave.open(io.BytesIO(sound)) as file:
        return file.getnframes() / file.getframerate()


@pytest.mark.slow
def test_media_come_by_link_and_inline_and_out_comes_a_video(process: Callable[..., httpx2.Client], web: str) -> None:
    """Longer speech loops the pictures, shorter speech cuts them; both streams play to the end."""
    client = process()
    wishes: dict[str, dict[str, Any]] = {
        "longer": {"video_url": data_uri(ADA), "lip_sync_tts_content": LONG_TEXT},
        "shorter": {"video_url": f"{web}/ada.mp4", "lip_sync_tts_content": "Hi."},
        "recorded": {
            "video_url": f"{web}/ben.mp4",
            "audio_url": data_uri(GREETING, "audio/wav"),
            "lip_sync_tts_content": None,
            "lip_sync_tts_speaker": None,
        },
    }
    speech = {
        "longer": seconds_of(speak(LONG_TEXT, "Emily")),
        "shorter": seconds_of(speak("Hi.", "Emily")),
        "recorded": seconds_of(GREETING.read_bytes()),
    }

    films = {}
    for name, wish in wishes.items():
        link = made(client, **wish)["video"]["url"]
        films[name] = Played(httpx2.get(link).content)

    original = Played(ADA.read_bytes())
    assert speech["longer"] > original.seconds > speech["shorter"]
    for name, film in films.items():
        assert film.codecs == {"video": "h264", "audio": "aac"}
        assert film.size == (480, 360)
        assert film.loudest > 0.05
        for seconds in (film.seconds, film.picture_seconds, film.sound_seconds):
            assert seconds == pytest.approx(speech[name], abs=0.15)
    near = [abs(one - other) < 12 for one, other in zip(films["longer"].corner, original.corner, strict=True)]
    assert all(near)
    assert films["recorded"].corner != films["longer"].corner


@pytest.mark.slow
def test_what_cannot_become_a_video_ends_as_an_error(process: Callable[..., httpx2.Client], web: str) -> None:
    """With {name, message}, uncharged, and the sandbox goes on."""
    client = process()
    wishes: dict[str, dict[str, Any]] = {
        "this machine only": {"video_url": "https://media.example/clip.mp4"},
        "127.0.0.1:PORT": {"video_url": "http://127.0.0.1.example.com/clip.mp4"},
        "HTTP 404": {"video_url": f"{web}/missing.mp4"},
        "video cannot be read": {"video_url": f"{web}/make_media.py"},
        "no pictures": {"video_url": f"{web}/greeting.wav"},
        "audio cannot be read": {"audio_url": f"{web}/make_media.py", "video_url": data_uri(ADA), **no_text()},
    }

    for named, wish in wishes.items():
        answer = made(client, **wish)
        assert answer["status"] == "error"
        assert named in answer["error"]["message"]
        assert answer["error"].keys() == {"name", "message"}

    assert client.get("/_sandbox/stats").json()["charges"] == 0
    assert made(client, video_url=f"{web}/ada.mp4")["status"] != "error"


def no_text() -> dict[str, None]:
    return {"lip_sync_tts_content": None, "lip_sync_tts_speaker": None}


@pytest.mark.slow
def test_a_failed_render_is_tried_again_by_the_next_submit(
    process: Callable[..., httpx2.Client], web: str, tmp_path: Path
) -> None:
    """The same wish fails while its video is away, and succeeds when it is there."""
    client = process()
    assert made(client, video_url=f"{web}/late.mp4")["status"] == "error"

    shutil.copy(ADA, tmp_path / "web" / "late.mp4")

    assert made(client, video_url=f"{web}/late.mp4")["status"] != "error"


@pytest.mark.slow
def test_a_text_may_be_longer_than_a_command_line(process: Callable[..., httpx2.Client]) -> None:
    """The hosted API names no limit: such a text must not stop the rendering of all others."""
    client = process()

    answer = made(client, video_url=data_uri(ADA), lip_sync_tts_content="Hello." + " " * 200_000)

    assert answer["status"] != "error"


@pytest.mark.slow
def test_a_large_body_does_not_fill_the_memory(tmp_path: Path) -> None:
    """50 MB of inline video are 70 MB of JSON: the server keeps them on disk, and hands them to another process."""
    large = tmp_path / "large.mp4"
    large.write_bytes(ADA.read_bytes() + bytes(50_000_000))
    folder = tmp_path / "data"

    with SandboxProcess(folder, options=["--speed-up", "10000"]) as sandbox:
        client = httpx2.Client(base_url=sandbox.base_url, headers=KEY, timeout=30)
        with client:
            answer = made(client, video_url=data_uri(large))
            broken = submit(client, video_url="data:video/mp4;base64," + "A" * 2_000_001)
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid_in(folder)}/status").read_text())

    assert answer["status"] != "error"
    assert broken.status_code == 400
    assert int(peak) < 100_000


@pytest.mark.slow
@pytest.mark.parametrize("size", [(63, 49), (2, 2)])
def test_odd_sizes_become_even(tmp_path: Path, size: tuple[int, int]) -> None:
    """H.264 has no odd sides; the reference may."""
    import av

    reference = tmp_path / "odd.mkv"
    with av.open(str(reference), "w") as file:
        stream = file.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "bgr0"
        for _ in range(5):
            file.mux(stream.encode(av.VideoFrame(*size, "bgr0")))
        file.mux(stream.encode(None))

    render(reference, GREETING, tmp_path / "out.mp4")

    film = Played((tmp_path / "out.mp4").read_bytes())
    assert film.size == (size[0] // 2 * 2, size[1] // 2 * 2)
    assert film.seconds == pytest.approx(seconds_of(GREETING.read_bytes()), abs=0.15)


def test_a_still_picture_is_no_video(tmp_path: Path) -> None:
    """It would loop for ever."""
    import av

    with av.open(str(tmp_path / "still.png"), "w", format="image2") as file:
        stream = file.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        file.mux(stream.encode(av.VideoFrame(64, 64, "rgb24")))
        file.mux(stream.encode(None))

    with pytest.raises(RenderError, match="still"):
        render(tmp_path / "still.png", GREETING, tmp_path / "out.mp4")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.9.9.9", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("169.254.169.254", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_only_this_machine_is_this_machine(host: str, *, expected: bool) -> None:
    """A rehearsal sends nothing out, not even the name of a client's server."""
    assert is_loopback(host) is expected
