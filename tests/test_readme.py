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
    clips = tmp_path / "clips"
    (clips / "ja").mkdir(parents=True)
    for name in ("intro.mp4", "outro.mp4"):
        make_video(clips / name, seconds=1.0)
    make_audio(clips / "intro.de.wav", 1.0)
    make_audio(clips / "ja" / "intro.wav", 1.5)
    (clips / "intro_fr.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nBon retour.\n", encoding="utf-8")
    (tmp_path / "spring.csv").write_text(shown("spring.csv"), encoding="utf-8")
    return tmp_path


def typed(block: str, folder: Path) -> tuple[str, str]:
    """What a block of the README prints, and what it prints here."""
    command, _, expected = shown(block).partition("\n")
    ended = run(*command.split()[2:], env=environment(folder), cwd=folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.replace(f"{folder.resolve()}/", ""), expected


def test_every_command_and_exit_code_is_in_the_readme() -> None:
    """What the program can say, a user can look up."""
    assert [name for name in COMMANDS if f"`lipsync-batch {name}" not in README] == []
    codes = (DONE, LOOK, MANIFEST, AGAIN, HELD, ACT, f"{INTERRUPTED}, {TERMINATED}", BUG)
    assert [code for code in codes if f"| {code} |" not in README] == []


def test_every_benchmark_is_in_the_readme() -> None:
    """Mend it with `make bench`, or `make bench ROWS=NAME` for one that is new."""
    assert [benchmark.name for benchmark in BENCHMARKS if not lines_of(benchmark.name, README)] == []


@pytest.mark.slow
def test_first_screen_of_the_readme_prints_what_it_shows(project: Path) -> None:
    """The first thing that a newcomer does: from a folder to videos."""
    for block in ("init", "plan", "rehearsal"):
        printed, expected = typed(block, project)
        assert printed == expected


@pytest.mark.slow
def test_library_lines_of_the_readme_run(project: Path) -> None:
    """The same from Python."""
    env = environment(project)
    ended = subprocess.run(
        [sys.executable, "-c", shown("library")], cwd=project, env=env, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
    keys, paid, *done, last = ended.stdout.splitlines()
    assert keys == "['ja/intro', 'de/intro', 'fr/intro']"
    assert paid == "3 to be paid for"
    assert sorted(done) == ["de/intro is done", "fr/intro is done", "ja/intro is done"]
    assert last == f"0 {project.resolve()}/out/spring.sandbox/report.html"
