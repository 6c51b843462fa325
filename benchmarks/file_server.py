"""Big files as fast as this machine can send them: a thread a connection, and `sendfile`, so that no byte is copied.

Every path is the same file. HTTP/1.1 with keep-alive, Range and entity tags.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socketserver
import sys
import threading
import time
from pathlib import Path

PIECES = 20
"""In which a second of a throttled connection is sent."""
RANGE = re.compile(rb"\r\nrange: *bytes=(\d+)-", re.IGNORECASE)


class Handler(socketserver.StreamRequestHandler):
    """One connection."""

    file: Path
    throttle: int = 0
    """Bytes a second that a connection is given; 0 for as many as there are."""
    first: float | None = None
    """When a file was first asked for, on the machine's monotonic clock, since `/_bench/first` was last asked."""

    def handle(self) -> None:
        with self.file.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            while (head := self._head()) is not None:
                if head.startswith(b"GET /_bench/first"):
                    self._tell()
                    continue
                Handler.first = Handler.first or time.monotonic()
                found = RANGE.search(head)
                start = int(found[1]) if found else 0
                self.request.sendall(_headers(start, size))
                if head.startswith(b"GET"):
                    self._send(file.fileno(), start, size)

    def _head(self) -> bytes | None:
        """A request up to its empty line; None where the client has gone."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline(65_536)
            if not line:
                return None
            head += line
        return head

    def _tell(self) -> None:
        body = json.dumps({"first": Handler.first}).encode()
        Handler.first = None
        self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    def _send(self, file: int, start: int, size: int) -> None:
        began, sent = time.monotonic(), 0
        while start < size:
            piece = min(size - start, self.throttle // PIECES or size)
            done = os.sendfile(self.request.fileno(), file, start, piece)
            start, sent = start + done, sent + done
            if self.throttle:
                time.sleep(max(0.0, began + sent / self.throttle - time.monotonic()))


def _headers(start: int, size: int) -> bytes:
    fields = f'content-type: video/mp4\r\netag: "film"\r\naccept-ranges: bytes\r\ncontent-length: {size - start}\r\n'
    if start == 0:
        return f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode()
    return f"HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{size - 1}/{size}\r\n{fields}\r\n".encode()


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no error of ours."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--throttle", type=int, default=0, help="bytes a second that a connection is given")
    options = parser.parse_args()
    Handler.file, Handler.throttle = options.file, options.throttle
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(json.dumps({"server": "http://{}:{}".format(*server.server_address)}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()  # ends when whoever started us does
