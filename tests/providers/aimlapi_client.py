"""The provider at a test server, and what the hosted API would say to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from lipsync_batch.jobs import Link, Pair, Text
from lipsync_batch.providers.aimlapi import AimlApi
from lipsync_batch.providers.wire import Timeouts

KEY = "key-that-must-not-leak"
REQUEST_ID = "lb1.batch.0123456789abcdef01234567.1"
PATIENT = Timeouts(read_post=10.0, read_get=10.0)

SMALL = Pair(
    fingerprint="1:aa",
    video=Link(url="https://media.example/clip.mp4"),
    speech=Text(text="Welcome back.", speaker="Oliver"),
)

ACCEPTED = {"id": "z-IMFJo2ORUJBR7OWIqDM", "status": "queued", "meta": {"usage": {"credits_used": 2000000}}}
"""The sample of the reference; 2,000,000 credits are one USD."""


@asynccontextmanager
async def api_at(
    origin: str,
    timeouts: Timeouts = PATIENT,
    *,
    key: str | None = KEY,
    transport: httpx2.AsyncBaseTransport | None = None,
    media_base_url: str | None = None,
    media_root: Path | None = None,
) -> AsyncIterator[AimlApi]:
    api = AimlApi(
        base_url=origin,
        key=key,
        timeouts=timeouts,
        transport=transport,
        media_base_url=media_base_url,
        media_root=media_root,
    )
    try:
        yield api
    finally:
        await api.aclose()


def api_error(status: int | str, message: object = "no") -> dict[str, object]:
    """The body of an error as documented; its status code comes as a number or as a string."""
    return {
        "message": message,
        "path": "/v2/video/generations",
        "requestId": "56277efa-58af-4db7-b45e-ebaa612b2af7",
        "statusCode": status,
        "timestamp": "2025-10-24T13:51:23.801Z",
    }
