"""kill -9 at every point of a batch, in real processes. `crash_matrix` says how; `make soak` does it 20,000 times."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="points are named by what /proc says of descriptors"),
]

PARTS = 4
LEAST = 125
"""Kills in each part: 500 in all."""


def play(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """A play of the matrix."""
    return subprocess.run(
        [sys.executable, Path(__file__).with_name("crash_matrix.py"), *arguments],
        env=environment(home, TMPDIR=str(home)),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_killed_anywhere_a_batch_pays_once_and_ends_as_if_nothing_had_happened(part: int, tmp_path: Path) -> None:
    """A kill comes when it likes: between a payment and its record, between two renames."""
    ended = play("matrix", "--part", f"{part}/{PARTS}", home=tmp_path)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    kills = re.search(r"^([\d,]+) kills", ended.stdout, re.MULTILINE)
    assert kills, ended.stdout
    assert int(kills[1].replace(",", "")) >= LEAST, ended.stdout


def test_records_that_are_lost_in_the_middle_are_made_again_and_nothing_is_paid_twice(tmp_path: Path) -> None:
    """A disk is lost with the power: jobs.db, `_batch/`, the reports, the end of run.log. Rebuilding is killed, too."""
    ended = play("lost", "--kills", "15", home=tmp_path)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "15 batches" in ended.stdout
