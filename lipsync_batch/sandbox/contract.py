"""The words of the API: what a submit must hold, what ids look like, and the body of an error.

Source: AI/ML API reference of `pixverse/lip-sync`, and its pages on errors, tracing and logs.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import string
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response

from lipsync_batch.capabilities import LIP_SYNC

MODEL = LIP_SYNC.model
CREDITS_PER_USD = 2_000_000
CREDITS_PER_MICRO_USD = 2
NANOID = string.ascii_letters + string.digits + "_-"
ID_FORM = re.compile(r"[A-Za-z0-9_-]{21}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[\w.-]+(/[\w.-]+)*")
"""Today's ids, and the older `uuid:vendor/model`."""
CLIENT_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
MEDIA = re.compile(r"https?://[^\s/]+\S*|data:[^,]*,.*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a submit asks for. Media are links, or `sha256:<hex>` for what came inside the request."""

    video: str
    audio: str | None = None
    text: str | None = None
    speaker: str | None = None

    @property
    def pair(self) -> str:
        """Hash of the video and its speech: the same for the same order, whoever asks."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()

    def as_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Order:
        return cls(**json.loads(text))


def problems_of(body: object) -> list[str]:
    """What is wrong with a submit, in the API's manner of speaking; empty where it is as documented."""
    if not isinstance(body, dict):
        return [f"Expected object, received {_type(body)}"]
    return [*_model(body), *_medium(body, "video_url", required=True), *_speech(body)]


def _model(body: dict[str, Any]) -> list[str]:
    if body.get("model") == MODEL:
        return []
    return [f"model: Invalid enum value. Expected '{MODEL}', received {_shown(body.get('model'))}"]


def _medium(body: dict[str, Any], name: str, *, required: bool = False) -> list[str]:
    value = body.get(name)
    if value is None:
        return [f"{name}: Required"] if required else []
    if not isinstance(value, str):
        return [f"{name}: Expected string, received {_type(value)}"]
    if not MEDIA.fullmatch(value):
        return [f"{name}: Invalid url. Expected an http(s) URL or a data URI, received {_shown(value)}"]
    return []


def _speech(body: dict[str, Any]) -> list[str]:
    text, speaker = body.get("lip_sync_tts_content"), body.get("lip_sync_tts_speaker")
    problems = _medium(body, "audio_url")
    spoken = text is not None or speaker is not None
    if body.get("audio_url") is not None and spoken:
        problems.append("Expected either audio_url or lip_sync_tts_content with lip_sync_tts_speaker, received both")
    elif body.get("audio_url") is None and not spoken:
        problems.append("Expected either audio_url or lip_sync_tts_content with lip_sync_tts_speaker, received neither")
    if spoken:
        problems += _content(text) + _speaker(speaker)
    return problems


def _content(text: object) -> list[str]:
    if isinstance(text, str) and text.strip():
        return []
    received = "blank" if isinstance(text, str) else _type(text)
    return [f"lip_sync_tts_content: Expected a text, received {received}"]


def _speaker(speaker: object) -> list[str]:
    if speaker in LIP_SYNC.speakers:
        return []
    expected = " | ".join(f"'{name}'" for name in LIP_SYNC.speakers)
    return [f"lip_sync_tts_speaker: Invalid enum value. Expected {expected}, received {_shown(speaker)}"]


def _type(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return "undefined" if value is None else names.get(type(value), "unknown")


def _shown(value: object) -> str:
    return f"'{value[:80]}'" if isinstance(value, str) else _type(value)


def refusal(
    status: int, message: str, *, path: str, headers: dict[str, str] | None = None, as_text: bool = False
) -> Response:
    """An error as the API words it. `as_text` writes the status code as a string, as some of its answers do."""
    body = {
        "message": message,
        "path": path,
        "requestId": str(uuid.uuid4()),
        "statusCode": str(status) if as_text else status,
        "timestamp": iso(datetime.now(UTC).timestamp()),
    }
    return JSONResponse(body, status_code=status, headers=headers)


def iso(instant: float) -> str:
    """Seconds since 1970 as the API writes instants: UTC, milliseconds, `Z`."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_name(size: int = 21, *, first: str = "") -> str:
    """A nanoid. It may begin with any of its letters, `-` among them."""
    return first + "".join(secrets.choice(NANOID) for _ in range(size - len(first)))


def money(micro_usd: int) -> dict[str, float | int]:
    """An amount as logs and transactions write it."""
    return {"usd": micro_usd / 1_000_000, "credits": micro_usd * CREDITS_PER_MICRO_USD}
