"""What the README shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import environment, run
from media_factory import make_audio, make_video

from benchmarks.registry import BENCHMARKS
from benchmarks.table import lines_of
from lipsync_batch.cli import COMMANDS
from lipsync_batch.exits import ACT, AGAIN, BUG, DONE, HELD, INTERRUPTED, LOOK, MANIFEST, TERMINATED
from lipsync_batch.jobs import State

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shown(name: str) -> str:
    """The content of the README's code block that is marked with this name."""
    match = re.search(rf"<!-- tested: {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert match is not None, name
    return match[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder that the README begins with."""
    (tmp_path / "clips").mkdir()
    (tmp_path / "dubs").mkdir()
    make_video(tmp_path / "clips" / "intro.mp4", seconds=1.0)
    make_audio(tmp_path / "dubs" / "intro.wav", 1.0)
    (tmp_path / "spring.csv").write_text(shown("spring.csv"), encoding="utf-8")
    return tmp_path


def test_help_in_the_readme_is_todays() -> None:
    """Mend it with `python docs/update_readme.py`."""
    sys.path.insert(0, str(ROOT / "docs"))
    from update_readme import updated

    assert updated(README) == README


def test_every_command_state_and_exit_code_is_in_the_readme() -> None:
    """What the program can say, a user can look up."""
    assert [name for name in COMMANDS if f"`lipsync-batch {name}" not in README] == []
    assert [state for state in State if f"| {state} |" not in README] == []
    codes = (DONE, LOOK, MANIFEST, AGAIN, HELD, ACT, f"{INTERRUPTED}, {TERMINATED}", BUG)
    assert [code for code in codes if f"| {code} |" not in README] == []


def test_every_benchmark_is_in_the_readme() -> None:
    """Mend it with `make bench`, or `make bench ROWS=NAME` for one that is new."""
    assert [benchmark.name for benchmark in BENCHMARKS if not lines_of(benchmark.name, README)] == []


@pytest.mark.slow
def test_rehearsal_prints_what_the_readme_shows(project: Path) -> None:
    """The first thing that a newcomer does."""
    command, _, expected = shown("rehearsal").partition("\n")

    ended = run(*command.split()[2:], env=environment(project), cwd=project)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.replace(f"{project.resolve()}/", "") == expected


@pytest.mark.slow
def test_library_lines_of_the_readme_run(project: Path) -> None:
    """The same from Python."""
    env = environment(project)
    ended = subprocess.run(
        [sys.executable, "-c", shown("library")], cwd=project, env=env, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0] == "3"
    assert ended.stdout.splitlines()[-1] == f"0 {project.resolve()}/out/spring.sandbox/report.html"
