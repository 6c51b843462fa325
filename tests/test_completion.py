"""Completion in the shell, by what `lipsync-batch completion` prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import environment, run

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
