"""A Dask cluster on this machine, for one measurement."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.figures import FailedError
from benchmarks.workshop import READY_WITHIN, Workshop
from lipsync_batch.cluster.local import CONFIG


@contextmanager
def cluster(shop: Workshop, workers: int, *, threads: int) -> Iterator[str]:
    """The address of a scheduler, once so many workers with so many threads have reported to it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    started = [_start(shop, "scheduler", "--host", address, "--dashboard-address", "127.0.0.1:0")]
    options = ("--no-nanny", "--no-dashboard", "--nthreads", threads, "--host", "127.0.0.1")
    started += [_start(shop, "worker", address, *options, "--local-directory", shop.folder) for _ in range(workers)]
    try:
        _wait(address, workers)
        yield address
    finally:
        for process in started:
            process.kill()
            process.wait()


def _start(shop: Workshop, kind: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{kind}", *map(str, arguments)],
        cwd=shop.folder,
        env=shop.environment() | CONFIG,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait(address: str, workers: int) -> None:
    from distributed import Client

    try:
        with Client(address, timeout=READY_WITHIN, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=READY_WITHIN)
    except (OSError, TimeoutError) as error:
        raise FailedError(f"the cluster did not start: {error}") from error
