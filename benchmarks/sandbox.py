"""The program's own sandbox as the provider: rates, slots and times as they are set, and the truth of what came."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.workshop import Workshop
from lipsync_batch.sandbox.process import SandboxProcess

MEDIAN = 34.0
"""Seconds that a generation takes in the middle, before the times are shortened."""
SPREAD = 0.3
FLOOR = 1.0
"""Seconds between two polls of one generation, shortened alike."""
SCRIPT_POLL = 15.0
"""Seconds between two polls in the API's own example, shortened alike."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A sandbox that runs."""

    url: str
    speed_up: float

    @property
    def timing(self) -> dict[str, object]:
        """Settings of the program that belong to the shortened times."""
        return {"typical_seconds": f"{MEDIAN / self.speed_up:g}", "poll_floor": f"{FLOOR / self.speed_up:g}"}

    @property
    def script_poll(self) -> float:
        return SCRIPT_POLL / self.speed_up

    def stats(self, *, after: int = 0) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/_sandbox/stats?after={after}", timeout=30) as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def change(self, **faults: object) -> None:
        request = urllib.request.Request(
            f"{self.url}/_sandbox/faults",
            json.dumps(faults).encode(),
            {"Content-Type": "application/json"},
            method="PUT",
        )
        urllib.request.urlopen(request, timeout=30).close()


@contextmanager
def provider(shop: Workshop, name: str, *options: object, speed_up: float = 10.0) -> Iterator[Provider]:
    """A sandbox with nothing in it, whose results need no rendering."""
    told = (
        *("--instant-media", "--log-lag", "0", "--credits", "1000000"),
        *("--median", MEDIAN, "--spread", SPREAD, "--speed-up", speed_up),
        *options,
    )
    with SandboxProcess(shop.folder / f"sandbox-{name}", options=[str(option) for option in told]) as running:
        yield Provider(running.base_url, speed_up)


def refused_percent(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Of the requests between two looks at the stats."""
    refused, admitted = after["refused"] - before["refused"], after["admitted"] - before["admitted"]
    return 100.0 * refused / max(1, refused + admitted)
