"""What a media file holds, whether a finished video is whole and plays, and a picture of it.

FFmpeg (through PyAV) reads the one file it is given and nothing else: only demuxers that never open a second file are
allowed, so a playlist that poses as a video reaches neither the disk nor the network. All functions are safe in
threads, and say nothing on the terminal.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lipsync_batch.jobs import MediaInfo

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SINGLE_FILE_FORMATS = (
    *("mov", "mp4", "m4a", "matroska", "webm", "avi", "asf", "flv", "mpeg", "mpegts", "mpegvideo", "mxf"),
    *("wav", "w64", "mp3", "aac", "flac", "ogg", "aiff", "caf", "amr", "ac3", "eac3"),
)
"""FFmpeg's demuxers of media in one file. Not among them: hls, dash, concat, image sequences, sdp, devices."""

SNIFFED = 512
"""Bytes at the start of a file that `disguise` wants to see."""

POSTER_SIDE = 320
"""Pixels of the longer side of a poster: some 7 KB."""
_LARGEST_PICTURE = 8192 * 4320
"""Pixels: a file that claims more is not worth the memory."""
_MOST_PICTURES = 50
"""That are looked at for one that is not dark."""
_MOST_PACKETS = 500
"""That are read for them."""
_DARK = 32
"""Mean luma below which a picture is taken for the beginning of a fade; black is 0 or 16."""
_JPEG_QUALITY = "5"
"""Of 2 (best) to 31, as FFmpeg counts."""

_BOXES_THAT_MUST_BE_WHOLE = {b"moov", b"moof", b"mdat"}


class BadMediaError(ValueError):
    """A file is not the media that was wanted. `reason` reads after "it": `is empty`, `has no audio stream`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"it {reason}")
        self.reason = reason


class NotMediaError(BadMediaError):
    """A file cannot be read as media at all."""


def probe(path: Path) -> MediaInfo:
    """Read what streams a file has, and its length. About 1 ms, whatever the size of the file.

    Raises NotMediaError for what FFmpeg cannot open, and OSError for what cannot be read from disk.
    """
    with _opened(path) as container:
        return _media_info(container)


def check(path: Path, *, decode: bool = True) -> MediaInfo:
    """Make sure that a finished video is whole: video and audio streams, a length, every packet in its place.

    Reads the file to its end, because a cut MP4 with its index in front opens like a whole one: about 1 ms for a clip
    of 10 KB, 20 ms for one of 50 MB in the page cache. With `decode`, the first picture and samples are decoded too.

    Raises BadMediaError with the reason, and OSError for what cannot be read from disk.
    """
    with _opened(path) as container:
        info = _media_info(container)
        if not info.has_video:
            raise BadMediaError("has no video stream")
        if not info.has_audio:
            raise BadMediaError("has no audio stream")
        if info.duration <= 0:
            raise BadMediaError("has no duration")
        if cut := truncation(path):
            raise BadMediaError(cut)
        _check_packets(container, info, decode=decode)
        return info


def truncation(path: Path) -> str | None:
    """Say how an MP4 or MOV is cut short, by the sizes that its boxes declare; None if whole, or of another kind."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for kind, end in _boxes(file, size):
            if kind in _BOXES_THAT_MUST_BE_WHOLE and end > size:
                return f"is cut short: {size:,} bytes of at least {end:,}"
    return None


def disguise(head: bytes) -> str | None:
    """Name the kind of document that the first `SNIFFED` bytes of a would-be media file give away; None for none.

    >>> disguise(b"<!DOCTYPE html><title>Not found</title>")
    'an HTML page'
    """
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "an HTML page"
    if start.startswith((b"<?xml", b"<!", b"<error", b"<svg")):
        return "an XML document"
    if start.startswith(b"{") and b'"' in start:
        return "a JSON document"
    if start.startswith((b"#extm3u", b"ffconcat")):
        return "a playlist"
    return None


def suspect(media: MediaInfo, speech_seconds: float | None) -> str | None:
    """Say why an output's length does not fit its speech; None where it does, or where the speech's length is unknown.

    Half a second or a tenth may be off. A text has no known length: speaking rates differ fourfold between languages,
    and a warning that is often wrong hides those that are right.
    """
    if speech_seconds is None or abs(media.duration - speech_seconds) <= max(0.5, 0.1 * speech_seconds):
        return None
    return f"it lasts {media.duration:.1f} s, its speech {speech_seconds:.1f} s"


def poster(path: Path) -> bytes:
    """A small JPEG of a picture a third into a video, or before: about 3 ms, whatever the length of the file.

    It is the picture that a player finds first there. Where that is dark, the first one after it that is not.

    Raises BadMediaError where no picture can be had, and OSError for what cannot be read from disk.
    """
    with _opened(path) as container:
        picture = next((stream for stream in container.streams.video if not _is_cover(stream)), None)
        codec = picture.codec_context if picture else None
        if picture is None or codec is None:
            raise BadMediaError("has no video stream")
        if not 0 < codec.width * codec.height <= _LARGEST_PICTURE:
            raise BadMediaError(f"has pictures of {codec.width:,} x {codec.height:,} pixels")
        codec.thread_count = 1
        shape = float(codec.sample_aspect_ratio or 1)
        return _jpeg(_bright_picture(_small(image, shape) for image in _pictures(container, picture)))


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    """FFmpeg's view of a file, kept from opening any other."""
    import av

    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise NotMediaError("is not a regular file")
    if facts.st_size == 0:
        raise NotMediaError("is empty")
    path.open("rb").close()  # raises what the disk has to say; from FFmpeg, any error is about the content
    # The list of formats is the fence; that of protocols stands behind it, should one of them follow a reference.
    guard = {"format_whitelist": ",".join(SINGLE_FILE_FORMATS), "protocol_whitelist": "file"}
    try:
        # "file:" keeps FFmpeg from taking a name such as `concat:a|b` for a protocol.
        with av.open(f"file:{path}", "r", container_options=guard, metadata_errors="replace") as container:
            yield container
    except av.error.FFmpegError as error:
        raise NotMediaError(_why_unreadable(path)) from error


def _why_unreadable(path: Path) -> str:
    """A person's reason for a file that FFmpeg refused."""
    with path.open("rb") as file:
        head = file.read(SNIFFED)
    if kind := disguise(head):
        return f"is {kind}, not media"
    if cut := truncation(path):
        return cut
    if head[4:8] == b"ftyp":
        return "is cut short or damaged: an MP4 without its index"
    return "is not media that FFmpeg can read"


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Kind and end (byte offset) of each top-level box of an MP4; stops at what is none.

    Source: ISO/IEC 14496-12, section 4.2: a size of 1 means that 64 bits of it follow, 0 that the box is the last.
    """
    start = 0
    while start < size:
        file.seek(start)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8:
            return
        start += length
        yield kind, start


def _media_info(container: InputContainer) -> MediaInfo:
    picture = next((stream for stream in container.streams.video if not _is_cover(stream)), None)
    codec = picture.codec_context if picture else None  # also None for a codec that FFmpeg does not know
    return MediaInfo(
        duration=_duration(container),
        has_video=picture is not None,
        has_audio=bool(container.streams.audio),
        width=codec.width if codec else None,
        height=codec.height if codec else None,
        container=container.format.name,
    )


def _is_cover(stream: Stream) -> bool:
    """Whether a video stream is the still picture that comes with a song."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _duration(container: InputContainer) -> float:
    """Seconds, as declared; measured where nothing is declared, as in recordings of browsers."""
    import av

    if container.duration is not None and container.duration > 0:
        return container.duration / av.time_base
    extent = _Extent()
    for packet in container.demux():
        extent.add(packet)
    container.seek(0)
    return extent.seconds


@dataclass(slots=True)
class _Ticks:
    """The stretch that packets of one stream cover, in units of its time base: no fraction is reckoned for each."""

    base: Fraction
    start: int
    end: int


class _Extent:
    """The stretch of time that packets cover, over all streams."""

    def __init__(self) -> None:
        self._streams: dict[int, _Ticks] = {}

    def add(self, packet: Packet[Stream]) -> None:
        instant = packet.dts if packet.pts is None else packet.pts
        if instant is None:
            return
        end = instant + (packet.duration or 0)
        ticks = self._streams.get(packet.stream.index)
        if ticks is not None:
            ticks.start = min(ticks.start, instant)
            ticks.end = max(ticks.end, end)
        elif packet.time_base is not None:
            self._streams[packet.stream.index] = _Ticks(packet.time_base, instant, end)

    @property
    def seconds(self) -> float:
        streams = self._streams.values()
        start = min((float(ticks.start * ticks.base) for ticks in streams), default=0.0)
        return max(0.0, max((float(ticks.end * ticks.base) for ticks in streams), default=0.0) - start)


def _check_packets(container: InputContainer, info: MediaInfo, *, decode: bool) -> None:
    """Read every packet; raise BadMediaError where some are missing, incomplete, or nothing can be decoded."""
    import av

    extent = _Extent()
    undecoded = _streams_to_decode(container) if decode else {}
    try:
        for packet in container.demux():
            extent.add(packet)
            if packet.is_corrupt:
                raise BadMediaError(f"is cut short or damaged {extent.seconds:.1f} s in")
            if packet.stream.index in undecoded and _decodes(packet):
                del undecoded[packet.stream.index]
    except av.error.FFmpegError as error:
        raise BadMediaError(f"is cut short or damaged {extent.seconds:.1f} s in") from error
    if extent.seconds < info.duration - max(0.5, 0.05 * info.duration):
        raise BadMediaError(f"is cut short: {extent.seconds:.1f} s of {info.duration:.1f} s")
    if undecoded:
        raise BadMediaError(f"has {' and '.join(undecoded.values())} that cannot be decoded")


def _streams_to_decode(container: InputContainer) -> dict[int, str]:
    """Index and type of the first video and the first audio stream, set to decode on the calling thread."""
    picture = next(stream for stream in container.streams.video if not _is_cover(stream))
    sound = container.streams.audio[0]
    for stream in (picture, sound):
        if stream.codec_context:
            stream.codec_context.thread_count = 1
    return {picture.index: "video", sound.index: "audio"}


def _pictures(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Pictures from a third of a video on; failing that, from its start on. None where none can be decoded."""
    import av

    third = (container.duration or 0) // 3
    for start in (third, 0) if third else (0,):
        with suppress(av.error.FFmpegError):
            container.seek(start)
            for packet in islice(container.demux(stream), _MOST_PACKETS):
                yield from packet.decode()


def _bright_picture(pictures: Iterator[VideoFrame]) -> VideoFrame:
    """The first picture that is not dark; the very first where none is."""
    first = next(pictures, None)
    if first is None:
        raise BadMediaError("has no picture that can be decoded")
    return next((one for one in chain([first], islice(pictures, _MOST_PICTURES)) if _luma(one) >= _DARK), first)


def _luma(picture: VideoFrame) -> float:
    """The mean, of 0 to 255."""
    light = bytes(picture.planes[0])
    return sum(light) / len(light)


def _small(picture: VideoFrame, shape: float) -> VideoFrame:
    """As large as a poster is. `shape` is the width of a pixel to its height."""
    scale = min(1.0, POSTER_SIDE / max(picture.width * shape, picture.height))
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (picture.width * shape, picture.height))
    return picture.reformat(width=width, height=height, format="yuvj420p")


def _jpeg(picture: VideoFrame) -> bytes:
    import av

    coder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(coder, av.VideoCodecContext)
    coder.width, coder.height, coder.pix_fmt, coder.time_base = picture.width, picture.height, "yuvj420p", Fraction(1)
    coder.options = {"qmin": _JPEG_QUALITY, "qmax": _JPEG_QUALITY}
    coder.thread_count = 1
    picture.pts, picture.time_base = 0, Fraction(1)
    return b"".join(bytes(packet) for packet in (*coder.encode(picture), *coder.encode(None)))


def _decodes(packet: Packet[Stream]) -> bool:
    """Whether a picture or samples come out. A fault may be the packet's alone: the next one gets its chance."""
    import av

    try:
        return bool(packet.stream.codec_context and packet.decode())
    except av.error.FFmpegError:
        return False
