"""Workers on this machine, to try a cluster with: `--dask local:4`.

They live below a process of their own, `python -m lipsync_batch.cluster.local WORKERS THREADS`, whose environment is
the one that a cluster's workers may have: no key of an account is in it. It ends when its standard input does.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

STARTS_WITHIN = 60.0
"""Seconds."""
ENDS_WITHIN = 5.0
MODULE = "lipsync_batch.cluster.local"
CONFIG = {
    # It looks at all threads by sys._current_frames, which on some Pythons (3.11.7 is one) can stop them for ever.
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "60s",  # after that a worker that hangs is replaced
}


class LocalWorkers:
    """A scheduler and some workers, started when they are first asked for, and again where they have ended."""

    def __init__(self, workers: int, threads: int, *, environ: Mapping[str, str]) -> None:
        """`threads` of each worker. `environ` is what they may know of the environment."""
        self._workers = workers
        self._threads = threads
        self._environ = {**CONFIG, **environ}
        self._process: subprocess.Popen[str] | None = None
        self._address = ""

    def __str__(self) -> str:
        return f"local:{self._workers}"

    def address(self) -> str:
        """Where their scheduler is. Blocks until it is there. OSError where it does not start."""
        if self._process is not None and self._process.poll() is None:
            return self._address
        command = [sys.executable, "-P", "-m", MODULE, str(self._workers), str(self._threads)]
        self._process = subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,  # Ctrl-C is for the run, which ends it
            env=self._environ,
        )
        self._address = self._first_line()
        return self._address

    def _first_line(self) -> str:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        until = time.monotonic() + STARTS_WITHIN
        if select.select([process.stdout], [], [], until - time.monotonic())[0]:
            line = process.stdout.readline().strip()
            if line:
                return line
        self.end()
        raise OSError(f"the workers on this machine did not start (exit code {process.returncode})")

    def end(self) -> None:
        """Have them end, and wait for that a while."""
        if self._process is None:
            return
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS_WITHIN)
        self._process.kill()
        self._process.wait(ENDS_WITHIN)
        assert self._process.stdout is not None
        self._process.stdout.close()


def main() -> None:
    """Serve until standard input ends. The workers end with this process, however it ends."""
    from distributed import LocalCluster

    workers, threads = map(int, sys.argv[1:])
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",  # by default it is for everyone, at a port that may be taken
        memory_limit=None,  # what they fetch goes to disk as it comes
        silence_logs=50,
    )
    sys.stdout.write(f"{cluster.scheduler_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    with suppress(Exception):
        cluster.close(timeout=ENDS_WITHIN / 2)
    os._exit(0)


if __name__ == "__main__":
    main()
