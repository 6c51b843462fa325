"""Every example manifest loads, and runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import environment, run

from lipsync_batch.errors import Problem
from lipsync_batch.manifest import Manifest

MANIFESTS = Path(__file__).parent.parent / "manifests"
EXAMPLES = sorted(
    path.name
    for path in MANIFESTS.iterdir()
    if path.suffix in {".yaml", ".csv", ".jsonl"} and path.name != "translations.csv"
)


def test_each_format_has_an_example() -> None:
    """A newcomer copies the one that fits."""
    assert {Path(name).suffix for name in EXAMPLES} == {".yaml", ".csv", ".jsonl"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_has_jobs_and_no_problems(name: str) -> None:
    """An example with a mistake in it teaches the mistake."""
    items = list(Manifest.load(MANIFESTS / name).jobs())

    assert items
    assert [item for item in items if isinstance(item, Problem)] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs_in_the_sandbox(name: str, tmp_path: Path) -> None:
    """It is copied, run, and gives videos."""
    shutil.copytree(MANIFESTS, tmp_path / "manifests", ignore=shutil.ignore_patterns("out"))

    ended = run("run", tmp_path / "manifests" / name, "--sandbox", env=environment(tmp_path), cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert list((tmp_path / "manifests" / "out").rglob("*.mp4"))
