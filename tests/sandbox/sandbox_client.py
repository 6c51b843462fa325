"""What tests ask of a sandbox, and how they look at a video."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import httpx2

MEDIA = Path(__file__).parents[2] / "manifests" / "media"
KEY = {"Authorization": "Bearer some-key"}
GENERATIONS = "/v2/video/generations"


def data_uri(path: Path, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def make_wish(**changes: Any) -> dict[str, Any]:
    """The body of a submit; a field that is changed to None is left out."""
    wish = {
        "model": "pixverse/lip-sync",
        "video_url": "http://127.0.0.1:9/nobody-listens.mp4",
        "lip_sync_tts_content": "Welcome back.",
        "lip_sync_tts_speaker": "Emily",
    }
    return {name: value for name, value in {**wish, **changes}.items() if value is not None}


def submit(client: httpx2.Client, client_request_id: str | None = None, **changes: Any) -> httpx2.Response:
    headers = {} if client_request_id is None else {"X-Client-Request-Id": client_request_id}
    return client.post(GENERATIONS, json=make_wish(**changes), headers=headers)


def poll(client: httpx2.Client, generation_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(GENERATIONS, params={"generation_id": generation_id}).json()
    return answer


def ended(client: httpx2.Client, generation_id: str, *, within: float = 20.0) -> dict[str, Any]:
    """The answer to the first poll after its end."""
    deadline = time.monotonic() + within
    answer: dict[str, Any] = {}
    while time.monotonic() < deadline:
        answer = poll(client, generation_id)
        if answer["status"] in ("completed", "succeeded", "error"):
            return answer
        time.sleep(0.01)
    raise AssertionError(f"{generation_id} did not end: {answer}")


def made(client: httpx2.Client, **changes: Any) -> dict[str, Any]:
    """Submit, and wait for the end."""
    answer = submit(client, **changes)
    assert answer.is_success, answer.text
    return ended(client, answer.json()["id"])


def stats(client: httpx2.Client) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/_sandbox/stats").json()
    return answer


def wait_until(true: Callable[[], bool], within: float = 10.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline and not true():
        time.sleep(0.02)
    return true()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended, and is waited for by nobody, does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pid_in(folder: Path) -> int:
    """The process that has a sandbox's database open."""
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if path.readlink() == folder / "sandbox.db":
                return int(path.parts[2])
        except OSError:
            continue
    raise AssertionError(f"no sandbox in {folder}")


class Played:
    """A video that was decoded to its end: codecs, size, and the lengths of what was really in it, in seconds."""

    def __init__(self, content: bytes) -> None:
        with av.open(io.BytesIO(content)) as container:
            self.codecs = {stream.type: stream.codec_context.name for stream in container.streams}
            self.seconds = (container.duration or 0) / 1_000_000
            stream = container.streams.video[0]
            self.size = stream.width, stream.height
            pictures = list(container.decode(stream))
            self.picture_seconds = len(pictures) / float(stream.average_rate or 1)
            self.corner = bytes(pictures[0].reformat(format="rgb24").planes[0])[:3]
        with av.open(io.BytesIO(content)) as container:
            sound = list(container.decode(audio=0))
            self.sound_seconds = sum(frame.samples for frame in sound) / sound[0].sample_rate
            self.loudest = max(max(memoryview(bytes(frame.planes[0])).cast("f")) for frame in sound)
