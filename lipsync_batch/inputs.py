"""The inputs of a pair: what identifies them, whether they can be used, and which of the model's limits they break."""

from __future__ import annotations

import base64
import difflib
import hashlib
import os
import stat
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import unquote, unquote_to_bytes

from lipsync_batch import media
from lipsync_batch.capabilities import LIP_SYNC, MIB, Capabilities
from lipsync_batch.jobs import Audio, DataUri, Link, LocalFile, MediaInfo, Source, StoredObject, Text, Want
from lipsync_batch.links import path_of, unsigned

FINGERPRINT_VERSION = "v1"
"""Changes with anything below that decides a fingerprint: another one means that pairs are paid for again."""

Kind = Literal["video", "audio"]

RACY_NS = 2_000_000_000
"""A file changed so shortly before it was read may change again within the same tick of its file system's clock."""

_NEIGHBOURS = 5_000
"""Names in a folder that are compared to find what a missing file may have been meant to be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Why an input cannot be used, and what would help. Reads `cause; remedy`."""

    cause: str
    remedy: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFacts:
    """What is known of a local file, as long as its inode, size and time stay the same."""

    path: Path
    inode: int
    size: int
    """Bytes."""
    mtime_ns: int
    sha256: str
    """Hex digest."""
    media: MediaInfo | None = None
    problem: str | None = None
    """What is odd about it although it can be used; None where nothing is."""
    cacheable: bool = True
    """False where a later change might leave size and time as they are: read it again the next time."""

    def hold_for(self, facts: os.stat_result) -> bool:
        """Whether the file that has these `facts` now is still the one that was read."""
        return (self.inode, self.size, self.mtime_ns) == (facts.st_ino, facts.st_size, facts.st_mtime_ns)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectFacts:
    """What is known of an object in a store: what its store says, for nobody has looked inside."""

    url: str
    identity: str
    """See `StoredObject.identity`."""
    size: int
    """Bytes."""
    media: MediaInfo | None = None
    problem: str | None = None


Facts = FileFacts | ObjectFacts


def fingerprint(want: Want, *, video_sha256: str | None, audio_sha256: str | None) -> str:
    """`v1:` and 64 hex digits that name a pair: the same on every run, another for whatever gives another result.

    The digests (hex) are those of local files, None for all else. Bytes count, not where they come from: a file and a
    data URI of the same bytes are the same. Of a link, what remains without its signature counts; of an object in a
    store, its name and what the store knows it by. A text counts in NFC, without the white space around it, since
    neither changes what is said.
    """
    match want.speech:
        case Text(text=text, speaker=speaker):
            speech = f'"text",{quoted(spoken(text))},{quoted(speaker)}'
        case Audio(source=source):
            speech = f'"audio",{identity(source, audio_sha256)}'
    video = identity(want.video, video_sha256)
    # What json.dumps would write with sorted keys and no spaces, by hand: in a third of the time, a million times.
    canonical = f'{{"model":{quoted(want.model)},"speech":[{speech}],"take":{want.take},"video":[{video}]}}'
    return f"{FINGERPRINT_VERSION}:{hashlib.sha256(canonical.encode()).hexdigest()}"


def spoken(text: str) -> str:
    """A text as it counts: without the white space around it, in NFC."""
    text = text.strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def identity(source: Source, sha256: str | None) -> str:
    """What a source is, as JSON: items of a list. `sha256` is that of a local file; see `fingerprint`."""
    match source:
        case Link(url=url):
            return f'"link",{quoted(unsigned(url))}'
        case LocalFile():
            assert sha256 is not None, "a local file is named by its bytes: hash it first"
            return f'"bytes",{quoted(sha256)}'
        case DataUri(text=text):
            return f'"bytes",{quoted(hashlib.sha256(data_uri_bytes(text)).hexdigest())}'
        case StoredObject(url=url, identity=known_by):
            assert known_by is not None, "an object is named by what its store knows it by: look at it first"
            return f'"object",{quoted(url)},{quoted(known_by)}'


def data_uri_bytes(text: str) -> bytes:
    """What a data URI holds (RFC 2397). Raises ValueError for what is none."""
    head, comma, body = text.strip().partition(",")
    if not comma or not head.lower().startswith("data:"):
        raise ValueError("not a data URI: it must look like data:video/mp4;base64,AAAA")
    if head.lower().rstrip().endswith(";base64"):
        packed = "".join(unquote(body).split())
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    return unquote_to_bytes(body)


def hash_file(path: Path) -> str:
    """SHA-256 of a file as hex digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inspect(path: Path, kind: Kind) -> FileFacts | Trouble:
    """Read a local file, once and whole, and say what it is or why it cannot be used."""
    try:
        before = path.stat()
        if trouble := _not_a_file(path, before):
            return trouble
        info = media.probe(path)
        if trouble := _wrong_streams(path, info, kind):
            return trouble
        problem = media.truncation(path)
        sha256 = hash_file(path)
        after = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _missing(path)
    except media.NotMediaError as error:
        return Trouble(cause=f'"{path}" {error.reason}', remedy=f"give a{'n' * (kind == 'audio')} {kind} file")
    except PermissionError:
        return Trouble(cause=f'"{path}" cannot be read: permission denied', remedy="allow reading it, as with chmod +r")
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        return Trouble(cause=f"{str(path)!r} cannot be read: {words}", remedy="check the path and the disk")
    facts = FileFacts(
        path=path,
        inode=before.st_ino,
        size=before.st_size,
        mtime_ns=before.st_mtime_ns,
        sha256=sha256,
        media=info,
        problem=f"it {problem}" if problem else None,
        cacheable=time.time_ns() - before.st_mtime_ns > RACY_NS,
    )
    if not facts.hold_for(after):
        return Trouble(cause=f'"{path}" changes while it is being read', remedy="wait until it is written")
    return facts


def too_large_to_send(facts: FileFacts, capabilities: Capabilities = LIP_SYNC) -> Trouble | None:
    """Why a local file cannot go out inside a request; None where it can. Not asked where `media_base_url` is set."""
    if facts.size <= capabilities.inline_limit:
        return None
    limit = _mib(capabilities.inline_limit)
    return Trouble(
        cause=f'"{facts.path}" has {_mib(facts.size)}, more than the {limit} that can be sent inside a request',
        remedy="put it on the web and set media_base_url, or make it smaller",
    )


def warnings_for(
    want: Want,
    *,
    video: Facts | None,
    audio: Facts | None,
    inline: bool = True,
    capabilities: Capabilities = LIP_SYNC,
) -> list[str]:
    """Limits of the model's maker that a pair breaks. The reseller may not hold to them, so none is an error.

    `video` and `audio` are the facts of files and objects, None for links and data URIs. `inline` says that local files
    go out inside the request, not as links under `media_base_url`.
    """
    found: list[str] = []
    if not _is_ordinary(want.video, video, capabilities.video_endings):
        found += _media_warnings("video", want.video, video, capabilities, inline=inline)
    match want.speech:
        case Audio(source=source):
            if not _is_ordinary(source, audio, capabilities.audio_endings):
                found += _media_warnings("audio", source, audio, capabilities, inline=inline)
            found += _length_warnings(video, audio)
        case Text(text=text):
            if len(text) > capabilities.max_characters:
                found += _text_warnings(text.strip(), capabilities)
    return found


def _is_ordinary(source: Source, facts: Facts | None, endings: frozenset[str]) -> bool:
    """A link to a file with a usual ending: nothing else is known of it, so there is nothing to warn of."""
    if facts is not None or not isinstance(source, Link) or "?" in source.url or "#" in source.url:
        return False
    return f".{source.url.rpartition('.')[2].lower()}" in endings


def _not_a_file(path: Path, facts: os.stat_result) -> Trouble | None:
    if stat.S_ISDIR(facts.st_mode):
        return Trouble(cause=f'"{path}" is a folder', remedy="name a file in it, or use a glob such as folder/*.mp4")
    if not stat.S_ISREG(facts.st_mode):
        return Trouble(cause=f'"{path}" is not a regular file', remedy="name a file")
    return None


def _wrong_streams(path: Path, info: MediaInfo, kind: Kind) -> Trouble | None:
    if kind == "video" and not info.has_video:
        remedy = "give a video; a recording of speech goes under audio" if info.has_audio else "give a video file"
        return Trouble(cause=f'"{path}" has no video stream', remedy=remedy)
    if kind == "audio" and not info.has_audio:
        return Trouble(cause=f'"{path}" has no audio stream', remedy="give a file with sound in it")
    return None


def _missing(path: Path) -> Trouble:
    if not path.parent.is_dir():
        return Trouble(
            cause=f'there is no folder "{path.parent}" for "{path.name}"',
            remedy="check the path; paths are relative to the manifest",
        )
    nearest = _nearest(path)
    remedy = f'did you mean "{nearest}"?' if nearest else "check the path; paths are relative to the manifest"
    return Trouble(cause=f'"{path}" does not exist', remedy=remedy)


def _nearest(path: Path) -> str | None:
    """The name in the same folder that is most like a missing one, whatever its case and its form of Unicode."""
    names = {_folded(name): name for name in _neighbours(path.parent)}
    found = difflib.get_close_matches(_folded(path.name), names, n=1)
    return names[found[0]] if found else None


def _neighbours(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry, _ in zip(entries, range(_NEIGHBOURS), strict=False):
                if not entry.is_dir():
                    yield entry.name
    except OSError:
        return


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _media_warnings(
    kind: Kind, source: Source, facts: Facts | None, capabilities: Capabilities, *, inline: bool
) -> Iterator[str]:
    endings = capabilities.video_endings if kind == "video" else capabilities.audio_endings
    if (found := _odd_format(source, facts, endings)) is not None:
        yield f"{kind}: {found} is not among the formats that the model is known to take ({_list(endings)})"
    size = _size(source, facts)
    if size > capabilities.max_bytes:
        yield f"{kind}: {_mib(size)} is more than the {_mib(capabilities.max_bytes)} that the model is known to take"
    goes_inside = isinstance(source, DataUri) or (inline and not isinstance(source, StoredObject))
    if size > capabilities.inline_warning and goes_inside:
        yield f"{kind}: {_mib(size)} goes out inside the request; servers on the way may refuse it (see media_base_url)"
    if facts is None or facts.media is None:
        return
    if facts.problem:
        yield f"{kind}: {facts.problem}"
    if facts.media.duration > capabilities.max_seconds:
        yield (
            f"{kind}: {facts.media.duration:.1f} s is longer than the {capabilities.max_seconds:g} s "
            "that the model is known to take"
        )
    longest = max(facts.media.width or 0, facts.media.height or 0)
    if kind == "video" and longest > capabilities.max_pixels:
        yield (
            f"video: {facts.media.width}x{facts.media.height} is larger than the {capabilities.max_pixels} pixels "
            "a side that the model is known to take"
        )


def _text_warnings(text: str, capabilities: Capabilities) -> Iterator[str]:
    if len(text) > capabilities.max_characters:
        yield (
            f"text: {len(text):,} characters are more than the {capabilities.max_characters:,} "
            "that the model is known to take"
        )


def _length_warnings(video: Facts | None, audio: Facts | None) -> Iterator[str]:
    if not (video and audio and video.media and audio.media):
        return
    picture, speech = video.media.duration, audio.media.duration
    if media.suspect(video.media, speech) and speech > picture:
        yield f"audio: its {speech:.1f} s are longer than the video's {picture:.1f} s; the end may be cut or looped"


def _odd_format(source: Source, facts: Facts | None, endings: frozenset[str]) -> str | None:
    """The format of a source, by its content where that is known, else by its ending; None for a usual or no format."""
    if facts is not None and facts.media is not None:
        usual = any(ending[1:] in facts.media.container.split(",") for ending in endings)
        return None if usual else facts.media.container
    match source:
        case LocalFile(path=path):
            ending = path.suffix
        case Link(url=url):
            ending = _suffix(path_of(url) or "")
        case StoredObject(url=url):
            ending = _suffix(url)
        case DataUri():
            return None
    return None if not ending or ending.lower() in endings else ending


def _suffix(path: str) -> str:
    """What PurePosixPath says is the suffix, without making one for every link."""
    name = path.rpartition("/")[2]
    if name in {"", "."}:
        return PurePosixPath(path).suffix
    dot = name.rfind(".")
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def _size(source: Source, facts: Facts | None) -> int:
    """Bytes; 0 where unknown. Those of a data URI are estimated from its text."""
    if facts is not None:
        return facts.size
    return len(source.text) * 3 // 4 if isinstance(source, DataUri) else 0


def _list(endings: frozenset[str]) -> str:
    return ", ".join(sorted(ending[1:] for ending in endings))


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"
