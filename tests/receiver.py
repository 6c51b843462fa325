"""A web hook on loopback, as people have one: what arrives is kept, and each path answers in its own way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """Takes what is posted; a path may have a habit: `flaky` fails once, `broken` always, `silent` never answers."""

    def __init__(self) -> None:
        self.notices: list[dict[str, Any]] = []
        self.asked: list[str] = []
        """The path of every request."""
        self.over = threading.Event()
        self.port = 0

    def address(self, path: str) -> str:
        """How apprise calls a path of this hook."""
        return f"json://127.0.0.1:{self.port}/{path}"

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        habit = handler.path.strip("/").partition("/")[0]
        self.asked.append(habit)
        if habit == "silent":
            self.over.wait()
        fails = habit == "broken" or (habit == "flaky" and self.asked.count(habit) == 1)
        if not fails:
            self.notices.append(json.loads(body))
        handler.send_response(503 if fails else 200)
        handler.end_headers()


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A hook for as long as the block."""
    hook = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.take(self)

        def log_message(self, *said: object) -> None:
            """Nothing: the tests say what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield hook
    finally:
        hook.over.set()
        server.shutdown()
        server.server_close()
