"""The command line in a process of its own, as a user or cron runs it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from lipsync_batch.cli import main

KEY = "sk-marked-0123456789abcdef"
QUICK = {"LIPSYNC_BATCH_TYPICAL_SECONDS": "0.1", "LIPSYNC_BATCH_POLL_FLOOR": "0.1"}
"""For an API whose generations take no time: a run does not wait for what its first guess says."""


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


def wait_until(reached: Callable[[], bool], seconds: float = 60.0) -> None:
    """Until a process has come so far."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def called(*arguments: str, env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The console script in this process, as `command.run` starts it in another."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, env, clear=True),
        mock.patch.object(sys, "argv", ["lipsync-batch", *arguments]),
        chdir(cwd),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        # What a run leaves behind at its end it leaves by ending the process, which is the tests' own here.
        mock.patch("os._exit", side_effect=sys.exit),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), stdout.getvalue(), stderr.getvalue())
