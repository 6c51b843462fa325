"""Real media for tests, small enough to make one for each: H.264 and AAC by PyAV, a moving pattern and a tone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

FRAMES_PER_SECOND = 10
SAMPLES_PER_SECOND = 16_000
SAMPLES_PER_FRAME = 1024


def make_video(
    path: Path,
    *,
    seconds: float = 1.0,
    size: tuple[int, int] = (64, 64),
    audio: bool = True,
    faststart: bool = True,
    container: str = "mp4",
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video of `seconds` with a moving pattern, and a tone as its sound; `size` is width and height in pixels.

    `faststart` puts the index before the data, as files on the web have it. `options` go to the container.
    """
    flags = {"movflags": "+faststart"} if faststart and container in {"mp4", "mov"} else {}
    with av.open(str(path), "w", format=container, options={**flags, **(options or {})}) as out:
        picture = out.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"preset": "ultrafast"})
        picture.width, picture.height = size
        picture.pix_fmt = "yuv420p"
        picture.codec_context.thread_count = 1
        sound = out.add_stream("aac", rate=SAMPLES_PER_SECOND, layout="mono") if audio else None
        for image in _images(seconds, size):
            out.mux(picture.encode(image))
        out.mux(picture.encode())
        if sound is not None:
            for samples in _tone(seconds, "fltp"):
                out.mux(sound.encode(samples))
            out.mux(sound.encode())
    return path


def make_audio(path: Path, seconds: float = 1.0, *, metadata: dict[str, str] | None = None) -> Path:
    """Write a tone of `seconds`; the ending of `path` says the format: .wav, .mp3, .m4a."""
    codec, sample_format = {".wav": ("pcm_s16le", "s16"), ".mp3": ("libmp3lame", "fltp"), ".m4a": ("aac", "fltp")}[
        path.suffix
    ]
    with av.open(str(path), "w") as out:
        out.metadata.update(metadata or {})
        sound = out.add_stream(codec, rate=SAMPLES_PER_SECOND, layout="mono")
        for samples in _tone(seconds, sample_format):
            out.mux(sound.encode(samples))
        out.mux(sound.encode())
    return path


def _images(seconds: float, size: tuple[int, int]) -> Iterator[VideoFrame]:
    width, height = size
    for index in range(round(seconds * FRAMES_PER_SECOND)):
        frame = VideoFrame(width, height, "gray")
        row = bytes((column * 7 + index * 13) % 256 for column in range(frame.planes[0].line_size))
        frame.planes[0].update(row * height)
        image = frame.reformat(format="yuv420p")
        image.pts, image.time_base = index, Fraction(1, FRAMES_PER_SECOND)
        yield image


def _tone(seconds: float, sample_format: str) -> Iterator[AudioFrame]:
    total = round(seconds * SAMPLES_PER_SECOND)
    for start in range(0, total, SAMPLES_PER_FRAME):
        count = min(SAMPLES_PER_FRAME, total - start)
        yield _samples(start, count, sample_format)


def _samples(start: int, count: int, sample_format: str) -> AudioFrame:
    import array

    wave: list[Any] = [math.sin(2 * math.pi * 440 * (start + i) / SAMPLES_PER_SECOND) for i in range(count)]
    frame = AudioFrame(format=sample_format, layout="mono", samples=count)
    data = array.array("h", (int(v * 16_000) for v in wave)) if sample_format == "s16" else array.array("f", wave)
    plane = frame.planes[0]
    plane.update(data.tobytes().ljust(plane.buffer_size, b"\0"))
    frame.sample_rate, frame.pts, frame.time_base = SAMPLES_PER_SECOND, start, Fraction(1, SAMPLES_PER_SECOND)
    return frame
