"""Completion in the shell, by what `lipsync-batch completion` prints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from command import environment, run

from lipsync_batch import location
from lipsync_batch.cli import cli
from lipsync_batch.clock import Clock
from lipsync_batch.manifest import Manifest
from lipsync_batch.plan import Planner
from lipsync_batch.settings import Settings
from lipsync_batch.store import Store

SCRIPT = Path(sys.executable).with_name("lipsync-batch")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_for_its_shell(tmp_path: Path, shell: str) -> None:
    """Each of them can read it, where it is installed."""
    ended = run("completion", shell, env=environment(tmp_path), cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert "_LIPSYNC_BATCH_COMPLETE" in ended.stdout
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(ended.stdout)
        assert subprocess.run([shell, "-n", script], check=False).returncode == 0


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of two jobs, in the folder that one works in."""
    manifest = tmp_path / "spring.jsonl"
    row = {"video": "https://media.example/ada.mp4", "text": "Hi", "speaker": "Ava"}
    rows = [row | {"key": f"{language}/ada", "language": language} for language in ("de", "fr")]
    manifest.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    place = location.find(manifest)
    location.prepare(place)
    with closing(Store.open(place.database, Clock())) as store:
        planner = Planner(Manifest.load(manifest), store, Settings())
        planner.stage()
        planner.take_in()
        store.bind(provider="aimlapi", origin="https://api.example", manifest="../../spring.jsonl")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("line", "begun_word", "offered"),
    [
        ("status spring.jsonl", "", ["de/ada", "fr/ada"]),
        ("status out/spring", "f", ["fr/ada"]),
        ("redo spring.jsonl de/ada", "", ["fr/ada"]),
        ("retry spring.jsonl --where", "", ["language=de", "language=fr"]),
        ("run spring.jsonl --where", "language=f", ["language=fr"]),
        ("status missing.jsonl", "", []),
        ("status .", "", []),
        ("run spring.jsonl --check", "", ["media", "size"]),
        ("run spring.jsonl --provider", "aim", ["aimlapi"]),
    ],
)
def test_keys_and_labels_of_a_batch_are_completed(begun: None, line: str, begun_word: str, offered: list[str]) -> None:
    """Nobody copies keys out of a report by hand; and where there is no batch, nothing is said."""
    made = ShellComplete(cli, {}, "lipsync-batch", "_LIPSYNC_BATCH_COMPLETE")

    assert [item.value for item in made.get_completions(line.split(), begun_word)] == offered


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    """In a real bash, as at the prompt."""
    commands = """
        ask() {
            COMPREPLY=() COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _lipsync_batch_completion lipsync-batch
            echo "${COMPREPLY[@]}"
        }
        eval "$(lipsync-batch completion bash)"
        ask lipsync-batch pl
        ask lipsync-batch run --bu
    """
    env = environment(tmp_path) | {"PATH": f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run(["bash", "-c", commands], env=env, capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["plan", "--budget"]
