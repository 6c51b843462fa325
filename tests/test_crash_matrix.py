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


@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_killed_anywhere_a_batch_pays_once_and_ends_as_if_nothing_had_happened(part: int, tmp_path: Path) -> None:
    """A kill comes when it likes: between a payment and its record, between two renames."""
    script = Path(__file__).with_name("crash_matrix.py")

    ended = subprocess.run(
        [sys.executable, script, "matrix", "--part", f"{part}/{PARTS}"],
        env=environment(tmp_path, TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    kills = re.search(r"^([\d,]+) kills", ended.stdout, re.MULTILINE)
    assert kills, ended.stdout
    assert int(kills[1].replace(",", "")) >= LEAST, ended.stdout
