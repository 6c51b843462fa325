"""A real Dask cluster on loopback, in processes that a test may kill, halt and start again."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

TTL = 3.0
"""Seconds without a word after which the scheduler takes a worker for dead."""
CONFIG = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{TTL:g}s",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",  # see `lipsync_batch.cluster.local`
}


class DaskCluster:
    """A scheduler, at one address for good, and workers with two threads each."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        kept = {name: value for name, value in environ.items() if name != "PYTHONWARNINGS"}  # Dask's are Dask's
        self.environ = {**kept, **CONFIG}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def be_whole(self, workers: int) -> None:
        """A scheduler and so many workers, whatever a test before did to them."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.end()
            self.start_scheduler()
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) > workers:
            self.kill_worker()
        self.add_workers(workers - len(self.workers))

    def start_scheduler(self) -> None:
        self.scheduler = self._start(
            *("dask_scheduler", "--host", "127.0.0.1", "--port", self.port),
            *("--dashboard-address", "127.0.0.1:0"),  # without one it takes a port for all that may be another's
        )

    def add_workers(self, count: int, **environ: str) -> None:
        """Some more. They wait for their scheduler as long as that takes."""
        for _ in range(count):
            place = ("--local-directory", self.folder, "--host", "127.0.0.1")
            options = ("--no-nanny", "--no-dashboard", "--nthreads", 2, *place)
            self.workers.append(self._start("dask_worker", self.address, *options, **environ))

    def _start(self, module: str, *arguments: object, **environ: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{module}.log").open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *map(str, arguments)],
                env={**self.environ, **environ},
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def kill_worker(self, number: int = 0) -> None:
        """As a machine goes that loses its power."""
        worker = self.workers.pop(number)
        worker.kill()
        worker.wait()

    def kill_scheduler(self) -> None:
        """And, as they do then, the workers end."""
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait()
        self.scheduler = None
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.workers.clear()

    def halt_worker(self, number: int = 0) -> subprocess.Popen[bytes]:
        """As one that hangs: nothing of it ends, and nothing goes on, until SIGCONT."""
        worker = self.workers.pop(number)
        worker.send_signal(signal.SIGSTOP)
        return worker

    def registered(self) -> int:
        """Workers that have been taken on by now."""
        return self.logs().count("Registered to")

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("dask_*.log")))

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            if process is not None:
                with suppress(ProcessLookupError):
                    process.kill()
                process.wait()
        self.workers.clear()
        self.scheduler = None
