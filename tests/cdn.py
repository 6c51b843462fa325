"""A file server on loopback that misbehaves at the socket, by script: what a CDN does on its worst night.

with Cdn(file(video, cut=1_000), file(video)) as cdn:   # the first answer is cut, all others are whole
    fetch(cdn.url("/clip.mp4"), ...)
cdn.requests[1].header("Range")
"""

from __future__ import annotations

import re
import select
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

RESET_AT_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Request:
    """A request as it came over the wire."""

    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""

    def header(self, name: str) -> str | None:
        return self.headers.get(name.lower())


class Wire:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, closing: threading.Event) -> None:
        self._connection = connection
        self._closing = closing
        self._incoming = connection.makefile("rb")
        self.alive = True

    def read_request(self) -> Request | None:
        line = self._incoming.readline().decode("latin-1").split()
        if len(line) != 3:
            return None
        headers = {}
        while (header := self._incoming.readline().decode("latin-1").strip()) != "":
            name, _, value = header.partition(":")
            headers[name.strip().lower()] = value.strip()
        return Request(line[1], headers)

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def reset(self) -> None:
        """Break the connection: the client gets ECONNRESET, once it has read what was sent."""
        self._drain()
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self.close()

    def close(self) -> None:
        self.alive = False
        self._incoming.close()
        self._connection.close()

    def stall(self) -> None:
        """Say nothing until the client leaves or the server is closed."""
        while not self._closing.is_set():
            if select.select([self._connection], [], [], 0.02)[0]:
                break
        self.close()

    def _drain(self) -> None:
        """Wait until the client has what was sent: a reset throws away what is still under way."""
        import fcntl
        import termios

        while not self._closing.is_set():
            unsent = fcntl.ioctl(self._connection, termios.TIOCOUTQ, b"\0" * 4)
            if struct.unpack("i", unsent)[0] == 0:
                return
            self._closing.wait(0.0005)


Answer = Callable[[Request, Wire], None]


class Cdn:
    """Gives each request the next answer of its script; the last one answers all that follow."""

    def __init__(self, *script: Answer) -> None:
        self.requests: list[Request] = []
        self._script = list(script)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def url(self, path: str = "/clip.mp4") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        wire = Wire(connection, self._closing)
        with suppress(OSError):
            while wire.alive and self._wait_for_request(connection):
                request = wire.read_request()
                if request is None:
                    break
                self._next(request)(request, wire)
        wire.close()

    def _wait_for_request(self, connection: socket.socket) -> bool:
        while not self._closing.is_set():
            if select.select([connection], [], [], 0.02)[0]:
                return True
        return False

    def _next(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]


def head(status: str, headers: Mapping[str, object]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def file(
    body: bytes,
    *,
    etag: str | None = '"v1"',
    ranges: bool = True,
    cut: int | None = None,
    ending: str = "reset",
    headers: Mapping[str, object] | None = None,
) -> Answer:
    """An honest file server (Range and If-Range by RFC 9110), but for what is asked.

    `cut`: sends only so many bytes of this answer's body, then does `ending`: reset, close or stall.
    """

    def answer(request: Request, wire: Wire) -> None:
        start = _start_of_range(request) if ranges and request.header("If-Range") in {None, etag} else None
        if start is not None and start >= len(body):
            wire.send(head("416 Range Not Satisfiable", {"Content-Range": f"bytes */{len(body)}", "Content-Length": 0}))
            return
        content = body[start or 0 :]
        fields: dict[str, object] = {"Content-Type": "video/mp4", "Content-Length": len(content)}
        if etag is not None:
            fields["ETag"] = etag
        if start is not None:
            fields["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        status = "200 OK" if start is None else "206 Partial Content"
        wire.send(head(status, {**fields, **(headers or {})}) + content[:cut])
        if cut is not None and cut < len(content):
            getattr(wire, ending)()

    return answer


def say(status: str, body: bytes = b"", **headers: object) -> Answer:
    """A plain answer; `Retry_After=1` is the header Retry-After."""

    def answer(_: Request, wire: Wire) -> None:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        wire.send(head(status, {"Content-Length": len(body), **fields}) + body)

    return answer


def raw(data: bytes, *, ending: str = "close") -> Answer:
    """These bytes and nothing else, then `ending`: reset, close or stall."""

    def answer(_: Request, wire: Wire) -> None:
        wire.send(data)
        getattr(wire, ending)()

    return answer


def chunked(body: bytes, *, whole: bool = True, size: int = 1_000, etag: str | None = None) -> Answer:
    """The body in chunks, its length unsaid; without `whole`, the end is missing."""

    def answer(_: Request, wire: Wire) -> None:
        fields = {"Transfer-Encoding": "chunked"} | ({"ETag": etag} if etag else {})
        wire.send(head("200 OK", fields))
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        if whole:
            wire.send(b"0\r\n\r\n")
        else:
            wire.close()

    return answer


def _start_of_range(request: Request) -> int | None:
    found = re.fullmatch(r"bytes=(\d+)-", request.header("Range") or "")
    return int(found[1]) if found else None
