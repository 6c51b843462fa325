"""The command line in a process of its own, as a user or cron runs it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from lipsync_batch.cli import main

KEY = "sk-marked-0123456789abcdef"


def environment(home: Path, api_url: str | None = None, **more: str) -> dict[str, str]:
    """A clean environment: nothing of the developer's own settings reaches a test."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV") if name in os.environ}
    api = {"AIMLAPI_BASE_URL": api_url, "AIMLAPI_API_KEY": KEY} if api_url else {}
    return {**kept, "HOME": str(home), "PYTHONWARNINGS": "error", **api, **more}


def start(*arguments: object, env: Mapping[str, str], cwd: Path) -> subprocess.Popen[str]:
    """Start `lipsync-batch ARGUMENTS`; the caller ends it."""
    return subprocess.Popen(
        [sys.executable, "-m", "lipsync_batch", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        cwd=cwd,
    )


def run(
    *arguments: object, env: Mapping[str, str], cwd: Path, seconds: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run `lipsync-batch ARGUMENTS` to its end."""
    with start(*arguments, env=env, cwd=cwd) as process:
        try:
            stdout, stderr = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            raise AssertionError(f"did not end in {seconds} s\n{stdout}\n{stderr}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def called(*arguments: str, env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The console script in this process, as `command.run` starts it in another."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, env, clear=True),
        mock.patch.object(sys, "argv", ["lipsync-batch", *arguments]),
        chdir(cwd),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), stdout.getvalue(), stderr.getvalue())
