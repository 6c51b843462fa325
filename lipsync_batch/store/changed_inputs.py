"""Which inputs of a row differ from those of the pair that it wanted before: what a fingerprint does not say."""

from __future__ import annotations

import json
import sqlite3
from enum import StrEnum

from lipsync_batch.inputs import identity, spoken
from lipsync_batch.jobs import Audio, Text
from lipsync_batch.store.rows import source_from_json, speech_from_json

OLD = "old_"
"""What the columns of the earlier pair are called, in front of the names that both have."""
COMPARED = ("model", "take", "video", "speech", "video_sha256", "audio_sha256")


class Input(StrEnum):
    """A part of a pair that decides the result."""

    VIDEO = "video"
    AUDIO = "audio"
    TEXT = "text"
    SPEAKER = "speaker"
    MODEL = "model"
    TAKE = "take"


def changed_inputs(row: sqlite3.Row) -> tuple[Input, ...]:
    """Which inputs are other ones now. The row has COMPARED twice, and `redone`: whether `redo` chose the old take.

    Of a recording in the place of a text the recording is what changed, and the other way round.
    """
    changed = [Input.VIDEO] if _is_another_video(row) else []
    changed += _changed_speech(row)
    changed += [Input.MODEL] if row["model"] != row["old_model"] else []
    if row["take"] != row["old_take"] and not (row["redone"] and changed):
        changed.append(Input.TAKE)
    return tuple(changed)


def _is_another_video(row: sqlite3.Row) -> bool:
    if (row["video"], row["video_sha256"]) == (row["old_video"], row["old_video_sha256"]):
        return False
    return _video(row, "") != _video(row, OLD)


def _video(row: sqlite3.Row, old: str) -> str:
    return identity(source_from_json(json.loads(row[f"{old}video"])), row[f"{old}video_sha256"])


def _changed_speech(row: sqlite3.Row) -> list[Input]:
    if (row["speech"], row["audio_sha256"]) == (row["old_speech"], row["old_audio_sha256"]):
        return []
    new, old = (speech_from_json(json.loads(row[f"{prefix}speech"])) for prefix in ("", OLD))
    match new, old:
        case Text(), Text():
            changed = [Input.TEXT] if spoken(new.text) != spoken(old.text) else []
            return changed + ([Input.SPEAKER] if new.speaker != old.speaker else [])
        case Audio(), Audio():
            same = identity(new.source, row["audio_sha256"]) == identity(old.source, row["old_audio_sha256"])
            return [] if same else [Input.AUDIO]
        case Text(), Audio():
            return [Input.TEXT]
        case _:
            return [Input.AUDIO]
