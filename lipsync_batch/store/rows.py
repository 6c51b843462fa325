"""Between our types and the columns of jobs.db."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from json.encoder import encode_basestring as quoted
from pathlib import Path

from lipsync_batch.clock import from_iso
from lipsync_batch.inputs import FINGERPRINT_VERSION
from lipsync_batch.jobs import Audio, DataUri, Link, LocalFile, Pair, Source, Speech, StoredObject, Text


def source_to_json(source: Source) -> str:
    """A source as jobs.db holds it: an object whose first key names its kind."""
    match source:
        case Link(url=url):
            return f'{{"url":{quoted(url)}}}'
        case LocalFile(path=path):
            return f'{{"file":{quoted(str(path))}}}'
        case DataUri(text=text):
            return f'{{"data":{quoted(text)}}}'
        case StoredObject(url=url, identity=identity):
            return f'{{"object":{quoted(url)},"identity":{quoted(identity or "")}}}'


def source_from_json(data: Mapping[str, str]) -> Source:
    if "file" in data:
        return LocalFile(path=Path(data["file"]))
    if "url" in data:
        return Link(url=data["url"])
    if "object" in data:
        return StoredObject(url=data["object"], identity=data["identity"] or None)
    return DataUri(text=data["data"])


def speech_to_json(speech: Speech) -> str:
    match speech:
        case Audio(source=source):
            return source_to_json(source)
        case Text(text=text, speaker=speaker):
            return f'{{"text":{quoted(text)},"speaker":{quoted(speaker)}}}'


def speech_from_json(data: Mapping[str, str]) -> Speech:
    if "text" in data:
        return Text(text=data["text"], speaker=data["speaker"])
    return Audio(source=source_from_json(data))


dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""A value as JSON, as jobs.db holds it."""


def labels_to_json(labels: Mapping[str, str]) -> str:
    return f"{{{','.join([f'{quoted(name)}:{quoted(value)}' for name, value in labels.items()])}}}"


PAIR_COLUMNS = ("fingerprint", "model", "take", "video", "speech", "video_sha256", "audio_sha256")
"""The columns of `pairs` that say what the pair is."""


SHORT = len(FINGERPRINT_VERSION) + 1 + 24
"""Characters of a fingerprint that stand in a client request id. Other records than ours know no more of it."""


def pair_values(pair: Pair) -> tuple[object, ...]:
    """The values of PAIR_COLUMNS."""
    return (
        pair.fingerprint,
        pair.model,
        pair.take,
        source_to_json(pair.video),
        speech_to_json(pair.speech),
        pair.video_sha256,
        pair.audio_sha256,
    )


def pair_from_row(row: sqlite3.Row) -> Pair:
    return Pair(
        fingerprint=row["fingerprint"],
        video=source_from_json(json.loads(row["video"])),
        speech=speech_from_json(json.loads(row["speech"])),
        take=row["take"],
        model=row["model"],
        video_sha256=row["video_sha256"],
        audio_sha256=row["audio_sha256"],
    )


def instant(text: str | None) -> datetime | None:
    return None if text is None else from_iso(text)
