"""A week of a large batch with its outages, in virtual time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import FailedError, Figure, Note, Size

ROOT = Path(__file__).parent.parent.parent


def measure(size: Size) -> Iterator[Figure | Note]:
    """In a process of its own, whose memory is nobody else's; `python -m benchmarks.week --jobs 1000000` for more."""
    jobs = size.pick(100_000, 500)
    week = _simulated(jobs)
    yield Figure(
        what=f"{jobs:,} jobs, outages, virtual time: pairs not paid for just once", value=week["amiss"], at_most=0
    )
    yield Figure(what="the same: files missing or wrong", value=week["wrong_files"], at_most=0)
    yield Figure(what="the same: jobs/s of the whole program but the network", value=jobs / week["seconds"], unit="/s")
    yield Figure(
        what="the same: peak memory ÷ that at a tenth of the jobs",
        value=week["peak"] / week["peak_early"],
        at_most=1.25,
    )
    yield Figure(what="the same: jobs.db, a job", value=week["database_bytes"] / jobs, unit="bytes")


def _simulated(jobs: int) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.week", "--jobs", str(jobs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if not ended.stdout:
        raise FailedError(ended.stderr[-300:])
    week: dict[str, Any] = json.loads(ended.stdout)
    return week | {"amiss": week["paid_twice"] + week["never_paid"]}
