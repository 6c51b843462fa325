"""A request's body becomes an order: read, checked, and the media inside it laid down as files.

`take_in` works on the whole body at once, which for 50 MB of video is some 250 MB for a moment: the server gives large
bodies to a process of their own, whose memory goes when it ends.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import tempfile
from pathlib import Path
from urllib.parse import unquote_to_bytes

from lipsync_batch.sandbox.contract import Order, problems_of


class InvalidOrderError(Exception):
    """The body is not what the API documents: its message lists what is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))


def take_in(body: bytes, folder: Path) -> Order:
    """The order in `body`, its inline media durable in `folder`; InvalidOrderError where it is not an order."""
    try:
        wish = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidOrderError([f"Expected JSON, received something else: {error}"]) from error
    if problems := problems_of(wish):
        raise InvalidOrderError(problems)
    return Order(
        video=_stow(wish["video_url"], "video_url", folder),
        audio=_stow(wish["audio_url"], "audio_url", folder) if wish.get("audio_url") else None,
        text=wish.get("lip_sync_tts_content"),
        speaker=wish.get("lip_sync_tts_speaker"),
    )


def stowed(medium: str, folder: Path) -> Path | None:
    """The file that `sha256:<hex>` means; None for a link."""
    scheme, _, digest = medium.partition(":")
    return folder / digest if scheme == "sha256" else None


def _stow(medium: str, field: str, folder: Path) -> str:
    """Lay down a data URI and return its `sha256:` name; a link comes back as it is."""
    if medium[:5].lower() != "data:":
        return medium
    head, _, payload = medium.partition(",")
    try:
        content = base64.b64decode(payload, validate=True) if head.endswith(";base64") else unquote_to_bytes(payload)
    except binascii.Error as error:
        raise InvalidOrderError([f"{field}: Invalid data URI: {error}"]) from error
    digest = hashlib.sha256(content).hexdigest()
    if not (folder / digest).exists():
        _write_durably(content, folder / digest)
    return f"sha256:{digest}"


def _write_durably(content: bytes, path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
