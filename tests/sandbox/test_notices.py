"""What the sandbox knows better than any client: when a generation had really ended."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx2
import pytest
from sandbox_client import poll, stats, submit

from lipsync_batch.sandbox.faults import Faults, Timing

TENTH = Timing(median=0.1, spread=0.0, speed_up=1.0)


def test_lag_is_from_the_end_to_the_poll_that_was_told(inside: Callable[..., httpx2.Client]) -> None:
    """A benchmark of polling needs the truth from the side that knows it."""
    client = inside(instant_media=True, timing=TENTH)
    generation = submit(client).json()["id"]
    poll(client, generation)
    time.sleep(0.14)

    poll(client, generation)
    poll(client, generation)

    told = stats(client)["polling"]
    assert (told["noticed"], told["polls_mean"]) == (1, 2.0)
    assert told["generation_mean"] == told["generation_median"] == pytest.approx(0.1)
    assert told["lag_mean"] == told["lag_p50"] == told["lag_p99"] >= 0.03


def test_first_generations_can_be_left_out(inside: Callable[..., httpx2.Client]) -> None:
    """What a client learns from is not what it is judged by."""
    client = inside(instant_media=True)
    generations = [submit(client, lip_sync_tts_content=f"Line {n}.").json()["id"] for n in range(3)]
    time.sleep(0.05)
    for generation in generations:
        poll(client, generation)

    assert client.get("/_sandbox/stats", params={"after": 2}).json()["polling"]["noticed"] == 1
    assert client.get("/_sandbox/stats", params={"after": 3}).json()["polling"] == {"noticed": 0}
    assert client.get("/_sandbox/stats", params={"after": "two"}).status_code == 422


def test_admitted_and_refused_are_counted_apart(inside: Callable[..., httpx2.Client]) -> None:
    """A client that hammers away at a closed door must not look fast."""
    client = inside(Faults(rate="3/m"), instant_media=True)

    for _ in range(5):
        poll(client, "A" * 21)

    counted = stats(client)
    assert (counted["admitted"], counted["refused"]) == (3, 2)
    assert counted["at"] == pytest.approx(time.time(), abs=5.0)
