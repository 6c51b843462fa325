"""What becomes of a batch's records when a disk is lost in the middle of a run; the videos stay."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from crash_scenarios import batch_folder

Loss = Callable[[Path, random.Random], None]
"""Takes a manifest."""


def database(manifest: Path, dice: random.Random) -> None:
    """jobs.db alone."""
    for path in (batch_folder(manifest) / "_batch").glob("jobs.db*"):
        path.unlink()


def state(manifest: Path, dice: random.Random) -> None:
    """All of `_batch/`: a report is left at most."""
    shutil.rmtree(batch_folder(manifest) / "_batch", ignore_errors=True)


def all_but_videos(manifest: Path, dice: random.Random) -> None:
    """`_batch/` and the reports."""
    state(manifest, dice)
    for report in batch_folder(manifest).glob("report.*"):
        shutil.rmtree(report) if report.is_dir() else report.unlink()


def end_of_log(manifest: Path, dice: random.Random) -> None:
    """jobs.db, and what was written to run.log last: it ends in the middle of a line, or behind any."""
    database(manifest, dice)
    log = batch_folder(manifest) / "_batch" / "run.log"
    if log.exists():
        lines = log.read_bytes().splitlines(keepends=True)
        kept = b"".join(lines[: dice.randint(0, len(lines))])
        os.truncate(log, max(0, len(kept) - dice.choice([0, 7])))


def half_of_database(manifest: Path, dice: random.Random) -> None:
    """jobs.db is half overwritten: it opens, and cannot be trusted."""
    file = batch_folder(manifest) / "_batch" / "jobs.db"
    if file.exists():
        for log in file.parent.glob("jobs.db-*"):
            log.unlink()
        os.truncate(file, dice.randint(0, file.stat().st_size))


LOSSES: tuple[Loss, ...] = (database, state, all_but_videos, end_of_log, half_of_database)
