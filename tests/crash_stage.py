"""The processes of the crash matrix: each run is forked from one that has everything loaded, and no threads."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash_points import Crash, Deadly, install

from lipsync_batch.batch import Batch
from lipsync_batch.errors import LipsyncBatchError
from lipsync_batch.rebuilding import Wishes

AT_ONCE = 16
"""Batches that go on at a time for each core: a run mostly waits."""
HANGS_AFTER = 60.0
"""Seconds until a run shows where it stands, and ends."""
FLAGS = {"rate": "1000/s", "typical_seconds": "0.2s", "resolve_for": "2.5s", "patience": "20s"}
ALL_LOGGED = 0.6
"""Seconds after which every generation of a killed run has ended, and is in the sandbox's log."""
SHOWN_LINES = 60

Kill = Deadly | float
"""At a point, or so many seconds after the start, wherever the process is then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """A process on a batch: a run, or a person's order."""

    manifest: Path
    kill: Kill | None = None
    resubmit: tuple[str, ...] = ()
    rebuild: bool = False
    """Make a lost jobs.db again, once the provider's log names all that it took, and say yes to what is asked."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    code: int
    """Its exit code; below zero the signal that killed it."""
    passed: list[Deadly]
    """The points that it passed, the deadly one last. None of a process that was killed from outside."""

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


Play = Generator[Launch, Ended, Any]


class Stage:
    """Runs plays, many at a time: each says which process it wants next, and is told how that ended."""

    def __init__(self, environ: dict[str, str], *, cores: int = 1) -> None:
        self._environ = environ
        self._at_once = AT_ONCE * cores
        self._alive: dict[int, tuple[Play, Launch, float]] = {}
        """By process id: who waits for it, and when it is to be killed."""
        self.launched = 0

    def run(self, plays: Iterator[Play]) -> None:
        """Until every play is over."""
        while True:
            while len(self._alive) < self._at_once and (play := next(plays, None)) is not None:
                self._go_on(play, None)
            if not self._alive:
                return
            pid, status = self._next_end()
            play, launch, _ = self._alive.pop(pid)
            self._go_on(play, _ended(launch, os.waitstatus_to_exitcode(status)))

    def _go_on(self, play: Play, ended: Ended | None) -> None:
        try:
            launch = next(play) if ended is None else play.send(ended)
        except StopIteration:
            return
        seconds = launch.kill if isinstance(launch.kill, float) else float("inf")
        _notes(launch.manifest).unlink(missing_ok=True)
        assert threading.active_count() == 1, "a child has no other thread than the one that forked"
        pid = os.fork()
        if not pid:
            _perform(launch, self._environ)
        self.launched += 1
        self._alive[pid] = play, launch, time.monotonic() + seconds

    def _next_end(self) -> tuple[int, int]:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid in self._alive:
                return pid, status
            if pid:
                raise RuntimeError("the sandbox has ended")
            now = time.monotonic()
            for child, (_, _, due) in self._alive.items():
                if now >= due:
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.003)


def _notes(manifest: Path) -> Path:
    return manifest.with_name("passed.json")


def _ended(launch: Launch, code: int) -> Ended:
    notes = _notes(launch.manifest)
    passed = json.loads(notes.read_text()) if notes.exists() else []
    return Ended(code, [Deadly(point=point, hit=hit) for point, hit in passed])


# In the child


def _perform(launch: Launch, environ: dict[str, str]) -> None:
    """Do what was asked, and never come back."""
    code = 70
    try:
        log = os.open(launch.manifest.with_name("child.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(log, stream)
        faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
        crash = Crash(_notes(launch.manifest), launch.kill if isinstance(launch.kill, Deadly) else None)
        install(crash)
        batch = Batch.find(launch.manifest, flags=FLAGS, environ=environ)
        code = _run(batch, launch)
        crash.save()
    except LipsyncBatchError as error:
        traceback.print_exc()
        code = error.exit_code
    except BaseException:  # noqa: BLE001 - nothing may unwind into the parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


def _run(batch: Batch, launch: Launch) -> int:
    if launch.rebuild:
        time.sleep(ALL_LOGGED)
        batch.rebuild(Wishes(yes=True))
        return 0
    if not launch.resubmit:
        return batch.run().exit_code
    batch.resolve(launch.resubmit, resubmit=True)
    return 0


def last_words(manifest: Path) -> str:
    """The end of what the processes of a batch wrote."""
    return "\n".join(manifest.with_name("child.log").read_text(errors="replace").splitlines()[-SHOWN_LINES:])
