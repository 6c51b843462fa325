"""A sandbox within the test, or as the process that users start."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sandbox_client import KEY
from starlette.testclient import TestClient

from lipsync_batch.sandbox.app import make_app
from lipsync_batch.sandbox.backend import Options
from lipsync_batch.sandbox.faults import Faults, Timing
from lipsync_batch.sandbox.process import SandboxProcess


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Callable[..., httpx2.Client]]:
    """Start a sandbox in this process: `inside(Faults(...), option=...)` gives a client that has a key.

    Its generations take some 3 ms, and end only where there is something to show for them: with `instant_media=True`
    a test card, with `workers=2` a real video.
    """
    numbers = itertools.count()
    with ExitStack() as stack:

        def start(faults: Faults | None = None, **changes: Any) -> httpx2.Client:
            usual = {"timing": Timing(speed_up=10_000), "log_lag": 0.0, "workers": 0}
            options = Options(**{"folder": tmp_path / f"inside-{next(numbers)}", **usual, **changes})
            options.folder.mkdir(exist_ok=True)
            return stack.enter_context(TestClient(make_app(options, faults or Faults()), headers=KEY))

        yield start


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., httpx2.Client]]:
    """Start `lipsync-batch sandbox` as a process: `process("--lost", "1")` gives a client that has a key."""
    numbers = itertools.count()
    with ExitStack() as stack:

        def start(*options: str) -> httpx2.Client:
            fast = ("--speed-up", "10000", "--log-lag", "0")
            running = SandboxProcess(tmp_path / f"process-{next(numbers)}", options=[*fast, *options])
            stack.enter_context(running)
            return stack.enter_context(httpx2.Client(base_url=running.base_url, headers=KEY))

        yield start
