"""A video with a speech as its sound, made by PyAV: H.264 and AAC in MP4, exactly as long as the speech.

The reference is looped, or cut, to the speech's length. It is always encoded anew: a copied stream can only be cut
where no later picture is needed, and what comes out here must play to its end. The mouth does not move.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import av
import av.filter
from av.audio import AudioFrame, AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video import VideoFrame, VideoStream

AUDIO_RATE = 44_100
SLOWEST, FASTEST = 10, 60
"""Pictures a second. Below that the end of a video could not meet the end of its sound."""
MAX_SECONDS = 600.0
"""Of speech: far above what the model takes; it keeps a wrong file from filling the disk."""
ENCODER = {"preset": "veryfast", "crf": "26", "threads": "1"}
"""One thread each: two renders at a time are all that a rehearsal asks of a machine."""

Frame = TypeVar("Frame", AudioFrame, VideoFrame)
Encoded: TypeAlias = "Packet[Any]"


class RenderError(Exception):
    """The media cannot become a video; the message says which, and why."""


def render(video: Path, speech: Path, out: Path) -> None:
    """Write to `out` the pictures of `video` with the sound of `speech`. RenderError where either is unfit."""
    with _opened(video, "video") as source:
        if not source.streams.video:
            raise RenderError("The video has no pictures")
        rate = _rate(source.streams.video[0])
    _write(out, _looped(video, rate), rate, _sound(speech))


def render_test_card(out: Path) -> None:
    """One second of grey and silence: a video that costs nothing to make."""
    rate = Fraction(SLOWEST)
    silence = AudioFrame("fltp", "mono", AUDIO_RATE)
    silence.sample_rate = AUDIO_RATE
    _fill(silence, 0)
    _write(
        out, (_fill(VideoFrame(160, 120, "yuv420p"), 128) for _ in range(SLOWEST)), rate, _resampled(iter([silence]))
    )


def _fill(frame: Frame, value: int) -> Frame:
    for plane in frame.planes:
        plane.update(bytes([value]) * plane.buffer_size)
    return frame


def _write(out: Path, pictures: Iterator[VideoFrame], rate: Fraction, sound: Iterator[AudioFrame]) -> None:
    """Encode the sound whole, since it says how long the film is, then as many pictures as fit it."""
    first = next(pictures)
    with av.open(str(out), "w", "mp4", options={"movflags": "faststart"}) as film:
        track = film.add_stream("libx264", rate=rate, options=ENCODER)
        track.width, track.height, track.pix_fmt = first.width, first.height, "yuv420p"
        voice = film.add_stream("aac", rate=AUDIO_RATE, layout="mono")
        spoken, seconds = _encode_sound(voice, sound)
        count = max(1, round(seconds * rate))
        shown = _encode_pictures(track, first, pictures, count)
        _mux(film, spoken, shown)


def _mux(film: OutputContainer, *streams: Iterator[Encoded]) -> None:
    """Write packets in the order of their time, so that players need not seek between sound and pictures."""
    for packet in heapq.merge(*streams, key=lambda packet: (packet.dts or 0) * packet.time_base):
        film.mux_one(packet)


def _encode_sound(voice: AudioStream, sound: Iterator[AudioFrame]) -> tuple[Iterator[Encoded], float]:
    """The packets, which are few, and the length of what they hold in seconds."""
    packets: list[Encoded] = []
    samples = 0
    for frame in sound:
        frame.pts, frame.time_base = samples, Fraction(1, AUDIO_RATE)
        samples += frame.samples
        if samples > MAX_SECONDS * AUDIO_RATE:
            raise RenderError(f"The audio is longer than {MAX_SECONDS:.0f} seconds")
        packets += voice.encode(frame)
    if not samples:
        raise RenderError("The audio is silent: it holds no sound")
    return iter([*packets, *voice.encode(None)]), samples / AUDIO_RATE


def _encode_pictures(
    track: VideoStream, first: VideoFrame, others: Iterator[VideoFrame], count: int
) -> Iterator[Encoded]:
    picture = first
    for number in range(count):
        picture = first if number == 0 else next(others)
        picture.pts, picture.time_base = number, Fraction(1) / Fraction(track.average_rate or SLOWEST)
        yield from track.encode(picture)
    yield from track.encode(None)


def _looped(video: Path, rate: Fraction) -> Iterator[VideoFrame]:
    """The pictures from the first to the last, again and again."""
    while True:
        count = 0
        for picture in _pictures(video, rate):
            count += 1
            yield picture
        if count < 2:
            raise RenderError("The video is a still picture")


def _pictures(video: Path, rate: Fraction) -> Iterator[VideoFrame]:
    """One pass: upright, with square pixels, even sides and a constant rate, as H.264 players like them."""
    with _opened(video, "video") as source:
        stream = source.streams.video[0]
        graph: av.filter.Graph | None = None
        for picture in source.decode(stream):
            graph = graph or _graph(stream, picture, rate)
            graph.push(picture)
            yield from _pulled(graph)
        if graph is not None:
            graph.push(None)
            yield from _pulled(graph)


def _graph(stream: VideoStream, picture: VideoFrame, rate: Fraction) -> av.filter.Graph:
    graph = av.filter.Graph()
    # `rotation` counts against the clock, `transpose` turns the picture itself.
    upright = {90: ["cclock"], -90: ["clock"], 180: ["clock", "clock"], -180: ["clock", "clock"]}
    steps = [
        *(("transpose", turn) for turn in upright.get(picture.rotation, [])),
        ("fps", f"{rate.numerator}/{rate.denominator}"),
        ("scale", "trunc(iw*sar/2)*2:trunc(ih/2)*2"),
        ("format", "yuv420p"),
    ]
    node = graph.add_buffer(template=stream, time_base=stream.time_base)
    for name, arguments in [*steps, ("buffersink", "")]:
        following = graph.add(name, arguments)
        node.link_to(following)
        node = following
    graph.configure()
    return graph


def _pulled(graph: av.filter.Graph) -> Iterator[VideoFrame]:
    """What the filters have ready."""
    while True:
        try:
            picture = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        yield picture


def _sound(speech: Path) -> Iterator[AudioFrame]:
    with _opened(speech, "audio") as source:
        if not source.streams.audio:
            raise RenderError("The audio has no sound track")
        yield from _resampled(source.decode(source.streams.audio[0]))


def _resampled(frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    """The sound as AAC takes it: mono, 44.1 kHz, 1,024 samples at a time."""
    resampler = av.AudioResampler("fltp", "mono", AUDIO_RATE, frame_size=1024)
    for frame in frames:
        frame.pts = None  # gaps in broken timestamps would be filled with silence
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _rate(stream: VideoStream) -> Fraction:
    """Pictures a second, within what players and the end of the film want."""
    rate = Fraction(stream.average_rate or 25).limit_denominator(1001)
    return min(max(rate, Fraction(SLOWEST)), Fraction(FASTEST))


@contextmanager
def _opened(path: Path, what: str) -> Iterator[InputContainer]:
    """A media file; FFmpeg's errors, there and while it is read, become RenderError. Nothing is read but files."""
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            yield container
    except av.FFmpegError as error:
        raise RenderError(f"The {what} cannot be read: {error.strerror}") from error
