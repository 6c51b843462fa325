"""report.html of a run that goes on: a process of its own writes it, from the first half minute on.

Reading fifty thousand jobs takes seconds, in which Python would do nothing else for the run. That process has the
lowest priority, knows no key, reads the batch from a connection that cannot write, and makes the posters too. Whatever
becomes of it, the run goes on.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from lipsync_batch.clock import Clock
from lipsync_batch.files import Folder

EVERY = 30.0
"""Seconds from one page to the next."""
WORKER = "lipsync_batch.page_worker"
ENDS_WITHIN = 1.0
"""Seconds in which a process that was killed is gone, unless a disk holds it."""


class LivePage:
    """Keeps the page of one run."""

    def __init__(self, folder: Folder, *, clock: Clock, environ: Mapping[str, str]) -> None:
        """`environ` is what the process may know of the environment."""
        self._folder = folder
        self._clock = clock
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While the block runs. A run that is over sooner never has the process."""
        starting = asyncio.create_task(self._start())
        try:
            yield
        finally:
            starting.cancel()
            self.end()

    def end(self) -> None:
        """The page is nobody else's from now on."""
        if self._process is None:
            return
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS_WITHIN)
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def _start(self) -> None:
        await self._clock.sleep(EVERY)
        # -P: a file of the user's may have the name of a module. The end of its input tells it that this one is gone.
        command = [sys.executable, "-P", "-m", WORKER, str(self._folder.root)]
        with suppress(OSError):
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - a millisecond; nothing of it comes from outside
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for this process, which ends that one
                env=dict(self._environ),
            )
