"""Starts the sandbox: takes a port, says where it is, serves until it is told to stop or left alone."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lipsync_batch.sandbox.app import make_app
from lipsync_batch.sandbox.backend import Options
from lipsync_batch.sandbox.faults import Faults

STOPS = (signal.SIGTERM, signal.SIGINT)


class FolderHeldError(Exception):
    """Another sandbox works in this folder."""


def serve(
    options: Options, faults: Faults, *, host: str = "127.0.0.1", port: int = 0, with_parent: bool = False
) -> None:
    """Serve until SIGTERM or SIGINT or, `with_parent`, until stdin ends.

    Prints one line to stdout when it is ready, `{"sandbox": "http://127.0.0.1:43211"}`. FolderHeldError where another
    sandbox has the folder, OSError where the port is taken.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    with _held(options.folder), _listening(host, port) as listener:
        server = _Server(options, faults, listener)
        if with_parent:
            threading.Thread(target=_watch_parent, args=(server,), daemon=True).start()
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, options: Options, faults: Faults, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                make_app(options, faults),
                http=_Protocol,
                loop="asyncio",
                ws="none",
                lifespan="on",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=0,  # a client that hangs on an answer must not hold up the end
            )
        )
        self._options = options
        self._listener = listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        url = _url(self._listener)
        sys.stdout.write(json.dumps({"sandbox": url}) + "\n")
        sys.stdout.flush()
        sys.stderr.write(f"The sandbox is at {url}, its files in {self._options.folder}. Ctrl-C stops it.\n")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at a signal and end well. uvicorn would raise it again, and temporary files would stay behind."""
        loop = asyncio.get_running_loop()
        for stop in STOPS:
            loop.add_signal_handler(stop, self.stop)
        yield
        for stop in STOPS:
            loop.remove_signal_handler(stop)

    def stop(self) -> None:
        # What is cut off from here on is cut off on purpose: not worth a word.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self.should_exit = True


class _Protocol(H11Protocol):
    """Gives each request its transport, so that a fault can close it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def _watch_parent(server: _Server) -> None:
    """Stop when stdin ends: a pipe does, however its other side died."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    server.stop()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    # asyncio does this for the sockets that it makes itself. Without it every answer waits 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder, for one sandbox at a time; the operating system lets go of it when the process dies."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderHeldError(f"another sandbox works in {folder}") from error
        yield
