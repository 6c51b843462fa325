"""The sandbox as a child of a run: started, waited for, stopped; never left behind."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

READY_WITHIN = 30.0
"""Seconds until a sandbox that says nothing is given up."""
STOPS_WITHIN = 3.0
SHOWN_LINES = 5


class SandboxError(Exception):
    """The sandbox did not start: what it said last."""


class SandboxProcess:
    """`lipsync-batch sandbox` in a process of its own, for as long as the `with` block.

    It has a session of its own, so that Ctrl-C reaches only the run; and it ends by itself when this process dies,
    however that happens, because its stdin does. What it says goes to `sandbox.log` in the data folder.
    """

    command: tuple[str, ...] = (sys.executable, "-P", "-m", "lipsync_batch", "sandbox")  # -P: as in `runner.fetchers`

    def __init__(self, data: Path, *, options: Sequence[str] = ()) -> None:
        self._data = data
        self._options = options
        self.base_url = ""
        """Where it is, such as `http://127.0.0.1:43211`; another port each time."""
        self.key = ""
        """A made-up key, the same for the same data folder."""

    def __enter__(self) -> Self:
        """Start it and wait until it answers. SandboxError where it does not."""
        self._data.mkdir(parents=True, exist_ok=True)
        self.key = _kept_key(self._data / "key")
        self._log = self._data / "sandbox.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, without a shell
                [*self.command, "--with-parent", "--data", str(self._data), *self._options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=_public(os.environ),
            )
        try:
            self.base_url = self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _wait_until_ready(self) -> str:
        line = self._first_line(time.monotonic() + READY_WITHIN)
        try:
            return str(json.loads(line)["sandbox"])
        except (ValueError, KeyError, TypeError) as error:
            raise SandboxError(f"the sandbox did not start: {self._last_words()}") from error

    def _first_line(self, deadline: float) -> bytes:
        """What it prints up to the first line's end, its own end, or the deadline."""
        assert self._process.stdout is not None
        output, line = self._process.stdout.fileno(), b""
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while not line.endswith(b"\n") and selector.select(max(0.0, deadline - time.monotonic())):
                part = os.read(output, 4096)
                if not part:
                    self._process.wait(STOPS_WITHIN)
                    break
                line += part
        return line

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        code = self._process.poll()
        fate = f"no answer in {READY_WITHIN:.0f} s" if code is None else f"it ended with {code}"
        return "\n".join([fate, *lines[-SHOWN_LINES:]])

    def _stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # it takes this as its parent's end
        try:
            self._process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def _public(environ: Mapping[str, str]) -> dict[str, str]:
    """The key of the real account is none of its business, nor is who is told of a run's end."""
    secret = ("AIMLAPI_", "LIPSYNC_BATCH_NOTIFY")
    return {name: value for name, value in environ.items() if not name.startswith(secret)}


def _kept_key(path: Path) -> str:
    """The key that a folder's first run made up."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.new")
        fresh.touch(mode=0o600)
        fresh.write_text(f"sandbox-{secrets.token_urlsafe(24)}")
        fresh.replace(path)
    return path.read_text()
