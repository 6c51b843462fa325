"""A folder for one measurement: a home of its own, so that nothing of the user's settings or memory is in the figures.

It is also where processes are started and, whatever happens, ended.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import FailedError
from lipsync_batch.settings import Settings

KEY = "bench-key-0123456789abcdef"
PROGRAM = Path(sys.executable).with_name("lipsync-batch")
READY_WITHIN = 20.0
LOOKS = 0.05
"""Seconds between two looks at a process's memory."""
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a command went. `seconds` is the whole of it, start-up and report included."""

    code: int
    seconds: float
    peak: float
    """MiB of resident memory at its most, child processes included."""
    stdout: str
    stderr: str

    def must(self, *codes: int) -> Ended:
        """FailedError unless it ended with one of the codes."""
        if self.code not in codes:
            told = (self.stderr or self.stdout).strip()
            named = re.findall(r"\w+Error: .*", told)
            raise FailedError(f"exit {self.code}: {named[-1] if named else told[-400:]}")
        return self


class Command:
    """A process that is measured, in a `with` block that ends it."""

    def __init__(self, arguments: Sequence[object], *, env: Mapping[str, str], folder: Path) -> None:
        self._out = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed on the way out
        self._err = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
        )
        self._memory = Memory(self._process.pid)

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._memory.stop()
        self._out.close()
        self._err.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def peak(self) -> float:
        return self._memory.peak

    def wait(self, seconds: float) -> Ended:
        """Until it ends by itself; FailedError where it does not in time."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise FailedError(f"did not end in {seconds:.0f} s: {self._words(self._err)[-300:]}") from error
        self._memory.stop()
        took = self._memory.ended - self.started
        return Ended(
            code=code, seconds=took, peak=self.peak, stdout=self._words(self._out), stderr=self._words(self._err)
        )

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.running:
            self._process.kill()
        self._process.wait()

    @staticmethod
    def _words(file: Any) -> str:
        file.seek(0)
        return str(file.read())


class Memory:
    """Looks at a process tree's memory until it is told to stop. Linux keeps the peak of each process itself."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peaks: dict[int, float] = {}
        self.ended = 0.0
        """When it was last seen alive, on the monotonic clock; to a look's accuracy."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    @property
    def peak(self) -> float:
        """MiB."""
        return sum(self._peaks.values())

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOKS) and _alive(self._pid):
            self.ended = time.monotonic()
            for pid in (self._pid, *_children(self._pid)):
                if (peak := _high_water(pid)) is not None:
                    self._peaks[pid] = peak


def _alive(pid: int) -> bool:
    """Whether it runs: one that ended and was not waited for yet is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in _names(Path(f"/proc/{pid}/task")):
        try:
            children = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        except OSError:
            continue
        found += [int(child) for child in children]
    return found


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names alone, of a folder that may go at any moment
    except OSError:
        return []


def _high_water(pid: int) -> float | None:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


@dataclass(kw_only=True, slots=True)
class Workshop:
    """Where one measurement is made."""

    folder: Path
    state: Path = field(init=False)
    """What the program remembers of the account between runs; empty at first."""

    def __post_init__(self) -> None:
        self.state = self.folder / "state"

    def environment(self, api: str = "", **settings: object) -> dict[str, str]:
        """A clean one; settings by their names, such as `poll_floor`. One that this version does not have is left."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        told = {
            f"LIPSYNC_BATCH_{name.upper()}": str(value)
            for name, value in settings.items()
            if name in Settings.model_fields
        }
        asked = {"AIMLAPI_BASE_URL": api, "AIMLAPI_API_KEY": KEY} if api else {}
        return {
            **kept,
            "HOME": str(self.folder),
            "XDG_STATE_HOME": str(self.state),
            "PYTHONPATH": str(ROOT),
            **asked,
            **told,
        }

    def start(self, *arguments: object, api: str = "", **settings: object) -> Command:
        """Start `lipsync-batch ARGUMENTS`, as it is installed."""
        return Command([PROGRAM, *arguments], env=self.environment(api, **settings), folder=self.folder)

    def run(self, *arguments: object, api: str = "", within: float = 300.0, **settings: object) -> Ended:
        with self.start(*arguments, api=api, **settings) as command:
            return command.wait(within)

    def module(self, name: str, *arguments: object, within: float = 300.0) -> Ended:
        """Run `python -m benchmarks.NAME ARGUMENTS` to its end: one of the things to compare with."""
        with Command(
            [sys.executable, "-m", f"benchmarks.{name}", *arguments], env=self.environment(), folder=self.folder
        ) as command:
            return command.wait(within).must(0)


@contextmanager
def workshop() -> Iterator[Workshop]:
    with tempfile.TemporaryDirectory(prefix="lipsync-bench-") as folder:
        yield Workshop(folder=Path(folder).resolve())


@contextmanager
def server(name: str, *arguments: object) -> Iterator[str]:
    """`python -m benchmarks.NAME` beside us: it prints its address, and ends when its stdin does."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], READY_WITHIN)
        line = process.stdout.readline() if ready else ""
        if not line:
            raise FailedError(f"{name} did not start")
        yield json.loads(line)["server"]
    finally:
        process.stdin.close()
        try:
            process.wait(3.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
