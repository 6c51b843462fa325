"""The JSON body of a submit, made while it is sent: a video of 50 MB never stands in memory.

The body ends with a chunk of its own, the brace that closes it. Without that no server can read the request, so the
moment it is handed over divides what certainly did not start anything from what may have. It is withheld when a local
file turns out not to be what was hashed.

Source: POST /v2/video/generations, AI/ML API reference; data URIs are allowed for both media.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lipsync_batch.jobs import Audio, DataUri, Link, LocalFile, Pair, Source, StoredObject, Text

CHUNK = 192 * 1024
"""Bytes of a file in one chunk: a multiple of 3, so that the Base64 of chunks can be joined."""

LAST = b"}"

_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
}
_MAGIC = (
    (4, b"ftypqt", "video/quicktime"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (8, b"WAVE", "audio/wav"),
    (8, b"AVI ", "video/x-msvideo"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
)


class InputChangedError(Exception):
    """A local file is missing, unreadable, or not what was hashed. The request was not completed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inline:
    """A local file that goes out as a data URI."""

    path: Path
    size: int
    media_type: str
    sha256: str | None

    @classmethod
    def inspect(cls, path: Path, sha256: str | None) -> Inline:
        """Look at a file; InputChangedError where it cannot be sent. Blocks."""
        try:
            facts = path.stat()
            if not stat.S_ISREG(facts.st_mode):  # opening a pipe would wait for its other end
                raise InputChangedError(f"{path} is not a file")
            with path.open("rb") as file:
                start = file.read(16)
        except OSError as error:
            raise InputChangedError(f"{path} cannot be read: {error.strerror or error}") from error
        return cls(path=path, size=facts.st_size, media_type=media_type(path, start), sha256=sha256)

    @property
    def head(self) -> str:
        return f"data:{self.media_type};base64,"

    @property
    def length(self) -> int:
        """Bytes of the content in Base64."""
        return 4 * ((self.size + 2) // 3)

    def encoded(self) -> Iterator[bytes]:
        """The Base64 of the content, in chunks; InputChangedError as soon as it is not what was hashed. Blocks."""
        digest, left = hashlib.sha256(), self.size
        try:
            with self.path.open("rb") as file:
                while left:
                    data = file.read(min(CHUNK, left))
                    if not data:
                        raise InputChangedError(f"{self.path} became shorter while it was being sent")
                    digest.update(data)
                    left -= len(data)
                    yield base64.b64encode(data)
                if file.read(1):
                    raise InputChangedError(f"{self.path} became longer while it was being sent")
        except OSError as error:
            raise InputChangedError(f"{self.path} cannot be read: {error.strerror or error}") from error
        if self.sha256 is not None and digest.hexdigest() != self.sha256:
            raise InputChangedError(f"{self.path} was changed after the batch was planned: run it again")


def media_type(path: Path, start: bytes) -> str:
    """By the ending, which is what the user says; else by the first bytes of the content."""
    by_content = (name for offset, magic, name in _MAGIC if start[offset:].startswith(magic))
    return _TYPES.get(path.suffix.lower()) or next(by_content, "application/octet-stream")


class RequestBody:
    """An asynchronous iterable of the body's chunks, for one request, and how far it got."""

    def __init__(self, fields: dict[str, str | Inline]) -> None:
        self._pieces = _pieces(fields)
        self.length = len(LAST) + sum(
            len(piece) if isinstance(piece, bytes) else piece.length for piece in self._pieces
        )
        self.started = False
        """Someone asked for the first chunk: there is a connection."""
        self.whole = False
        """The last chunk was handed over: from here on the provider may have understood the request."""

    @property
    def large(self) -> bool:
        """Whether its size may be why a connection breaks; one chunk is let through everywhere."""
        return self.length > CHUNK

    @classmethod
    async def of(cls, pair: Pair, link_of: Callable[[LocalFile], str | None]) -> RequestBody:
        """The body for a pair; InputChangedError. `link_of` says under which link the provider can fetch a file."""

        async def medium(source: Source, sha256: str | None) -> str | Inline:
            match source:
                case Link(url=url):
                    return url
                case DataUri(text=text):
                    return text
                case StoredObject():
                    raise AssertionError("a provider is given links to objects, never the objects")
                case LocalFile(path=path):
                    link = link_of(source)
                    return await asyncio.to_thread(Inline.inspect, path, sha256) if link is None else link

        fields: dict[str, str | Inline] = {
            "model": pair.model,
            "video_url": await medium(pair.video, pair.video_sha256),
        }
        match pair.speech:
            case Audio(source=source):
                fields["audio_url"] = await medium(source, pair.audio_sha256)
            case Text(text=text, speaker=speaker):
                fields |= {"lip_sync_tts_content": text, "lip_sync_tts_speaker": speaker}
        return cls(fields)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert not self.started, "a submit is sent once"
        self.started = True
        for piece in self._pieces:
            if isinstance(piece, bytes):
                for chunk in _sliced(piece):
                    yield chunk
            else:
                encoded = piece.encoded()
                while (chunk := await asyncio.to_thread(next, encoded, b"")) != b"":
                    yield chunk
        self.whole = True
        yield LAST


def _pieces(fields: dict[str, str | Inline]) -> list[bytes | Inline]:
    """The JSON object without its closing brace, with files still to be read."""
    pieces: list[bytes | Inline] = []
    text = "{"
    for position, (name, value) in enumerate(fields.items()):
        text += f"{',' if position else ''}{json.dumps(name)}:"
        if isinstance(value, str):
            text += json.dumps(value)
        else:
            # A file's part of the string needs no escapes: Base64 has neither quotes nor backslashes.
            pieces += [f'{text}"{value.head}'.encode(), value]
            text = '"'
    pieces.append(text.encode())
    return pieces


def _sliced(data: bytes) -> Iterator[bytes]:
    """A data URI from the manifest may be as large as a file: each write has a time-out of its own."""
    return (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))
