"""Another server of the same API than the sandbox: plain threads, and odd in every way that the documentation allows.

It keeps ground truth: what was charged, which headers and keys arrived where, and how many requests fell into any
window. Result files are real MP4s, each with a digest of its request in a box at its end, so that a test can tell
whether an output is the right video.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

DONE = ("completed", "succeeded", "Success", "SUCCEEDED ", "done", "finished", "ready")
RUNNING = ("queued", "generating", "waiting", "active", "NOT_START", "pre-processing", None)
LOSSES = ("drop", "reset", "cut", "bad gateway", "no id")
"""What may become of the answer to a submit that was accepted."""
HABITS = ("plain", "closes", "chunked", "slow", "terse")
"""Ways to say the same in HTTP."""
CREDITS = 480_000
"""What a generation costs: 24 cents."""


@dataclass
class Task:
    """One accepted generation."""

    id: str
    request: dict[str, Any]
    client_request_id: str | None
    due: float
    statuses: list[str | None]
    done_status: str
    polls: int = 0

    @property
    def named(self) -> str | int:
        """The id as it stands in answers: one of digits is a number there."""
        return int(self.id) if self.id.isdigit() else self.id


@dataclass
class OtherApi:
    """The server's state. Times in seconds."""

    video: bytes
    seconds: float = 0.3
    rate: tuple[int, float] | None = None
    seed: int = 1
    lose_answers: float = 0.0
    """Share of submits whose answer is lost after they were accepted."""
    losses: tuple[str, ...] = ("drop",)
    """In which of the ways `LOSSES` they are lost."""
    odd: bool = False
    """Answer with any of `HABITS`, a skewed clock, fields that nobody documented, and ids that are numbers."""
    log_status: int = 200
    """What `/v2/logs` answers with: 404 where there is none, 403 where the key may not read it."""
    log_lag: float = 0.0
    """How long after its end a generation is in the log."""
    credits: int | None = None
    """How many more submits the account can pay for; None for any number."""
    billing: bool = False
    """Whether `/v2/billing` tells what is left."""
    tasks: dict[str, Task] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    """Ids of the tasks whose answer was lost."""
    arrivals: deque[float] = field(default_factory=deque)
    requests_seen: int = 0
    submits_seen: int = 0
    refused: int = 0
    keys_at_api: set[str] = field(default_factory=set)
    headers_at_cdn: list[dict[str, str]] = field(default_factory=list)
    cdn_paths: list[str] = field(default_factory=list)
    worst_window: int = 0
    key: str | None = None
    on_submit: Callable[[dict[str, Any], _Handler], bool] | None = None
    """May answer a submit itself, and then returns True."""
    on_poll: Callable[[Task, _Handler], bool] | None = None
    on_file: Callable[[str, _Handler], bool] | None = None
    on_request: Callable[[_Handler], bool] | None = None
    """May answer any request itself, before anything else looks at it."""
    url: str = ""

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.random = random.Random(self.seed)

    def open(self) -> None:
        """Listen: at a port of its own first, at the same one ever after."""
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = _Server(("127.0.0.1", int(self.url.rpartition(":")[2] or 0)), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Refuse connections, and break off those that stand."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in list(self._server.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What was accepted, and so charged, in order."""
        return [task.request for task in self.tasks.values()]

    def accept(self, request: dict[str, Any], client_request_id: str | None) -> Task:
        with self.lock:
            number = len(self.tasks)
            task = Task(
                id=self._id(number),
                request=request,
                client_request_id=client_request_id,
                due=time.monotonic() + self.seconds * self.random.uniform(0.5, 1.5),
                statuses=self.random.sample(RUNNING, k=3),
                done_status=DONE[number % len(DONE)],
            )
            self.tasks[task.id] = task
            return task

    def _id(self, number: int) -> str:
        if self.odd and number % 5 == 4:
            return str(9_007_199_254_740_000 + number)
        nano = "".join(self.random.choices("ABCDEFabcdef0123456789_-", k=16))
        return (f"-{nano}", f"{nano}:kling-video/v1.6/pro", f"{nano}/ü&=?#+ %2F", nano)[number % 4]

    def pays(self) -> bool:
        """Take the price of one submit from what is left, if it is there."""
        with self.lock:
            if not self.credits:
                return self.credits is None
            self.credits -= 1
            return True

    def loses(self) -> bool:
        with self.lock:
            return self.random.random() < self.lose_answers

    def throttled(self) -> bool:
        """Count a request at its arrival, as a sliding window does."""
        if self.rate is None:
            return False
        count, seconds = self.rate
        with self.lock:
            now = time.monotonic()
            while self.arrivals and self.arrivals[0] <= now - seconds:
                self.arrivals.popleft()
            self.arrivals.append(now)
            self.worst_window = max(self.worst_window, len(self.arrivals))
            if len(self.arrivals) > count:
                self.refused += 1
                return True
            return False

    def film(self, task_id: str) -> bytes:
        """The video of a generation: the same for all, with a free box at its end that names the request."""
        name = request_digest(self.tasks[task_id].request)
        box = (8 + len(name)).to_bytes(4, "big") + b"free" + name
        return self.video + box


def request_digest(request: dict[str, Any]) -> bytes:
    """What `OtherApi.film` writes at the end of the video that belongs to a request."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest().encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: OtherApi

    def log_message(self, *_: object) -> None: ...

    def date_time_string(self, timestamp: float | None = None) -> str:
        return "Thu, 01 Jan 1970 00:00:00 GMT" if self.api.odd else super().date_time_string(timestamp)

    def answer(self, status: int, document: Any = None, *, body: bytes | None = None, **headers: str) -> None:
        content = json.dumps(document).encode() if body is None else body
        fields = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        habit = random.choice(HABITS) if self.api.odd and body is None else "plain"
        match habit:
            case "terse":
                self._send(f"HTTP/1.1 {status} ", [*fields, f"content-length:{len(content)}"], content)
            case "closes":
                self.hang_up()
                self._send(f"HTTP/1.0 {status} So so", [*fields, "X-Cache: MISS"], content)
            case "chunked":
                sized = b"".join(b"1\r\n%c\r\n" % byte for byte in content) + b"0\r\n\r\n"
                self._send(f"HTTP/1.1 {status} OK", [*fields, "Transfer-Encoding: chunked"], sized)
            case _:
                dated = [f"Date: {self.date_time_string()}", f"Content-Length: {len(content)}"]
                pause = 0.02 if habit == "slow" else 0.0
                self._send(f"HTTP/1.1 {status} Whatever", [*fields, *dated], content, pause=pause)

    def _send(self, status: str, fields: list[str], content: bytes, *, pause: float = 0.0) -> None:
        head = "\r\n".join([status, *fields, "", ""]).encode()
        for part in (head[:9], head[9:], b"" if self.command == "HEAD" else content) if pause else (head + content,):
            self.wfile.write(part)
            time.sleep(pause)

    def error(self, status: int, message: str) -> None:
        self.answer(status, {"message": message, "path": self.path, "requestId": "r", "statusCode": str(status)})

    def hang_up(self) -> None:
        self.close_connection = True

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.hang_up()

    def client_request_id(self) -> str | None:
        return self.headers.get("X-Client-Request-Id")

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.api.submits_seen += 1
        if self._taken_over() or not self._allowed():
            return
        if self.api.on_submit is not None and self.api.on_submit(request, self):
            return
        if not self.api.pays():
            self.error(403, "You have run out of credits. Please top up.")
            return
        task = self.api.accept(request, self.client_request_id())
        if self.api.loses():
            self.api.lost.append(task.id)
            self._lose(task)
            return
        shape = len(self.api.tasks) % 3
        document = {"id": task.named, "status": "queued", "meta": {"usage": {"credits_used": CREDITS}}}
        if shape == 1:
            document = {"id": task.named, "status": "queued"}
        elif shape == 2:
            document = {"generation_id": task.named, "status": "waiting", "meta": None}
        if self.api.odd:
            document |= {"created_at": 1.5e9, "queue": {"position": None}, "": [], "note": "naïve ☃"}
        self.answer(201 if shape else 200, document)

    def _lose(self, task: Task) -> None:
        match self.api.losses[len(self.api.lost) % len(self.api.losses)]:
            case "reset":
                self.reset()
            case "cut":
                self._send("HTTP/1.1 200 OK", ["Content-Length: 99"], f'{{"id": "{task.id[:3]}'.encode())
            case "bad gateway":
                self.answer(502, body=b"<html>502 Bad Gateway: please try again</html>")
            case "no id":
                self.answer(200, {"status": "queued", "video": None})
        self.hang_up()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self._taken_over():
            return
        if url.path.startswith("/cdn/"):
            self._file(url.path)
            return
        if url.path == "/v1/models":
            self.api.throttled()
            self.answer(404, {"message": "no such route", "statusCode": 404, "requestId": "r"})
            return
        if not self._allowed():
            return
        query = parse_qs(url.query)
        if url.path == "/v2/logs":
            self._logs(query)
        elif url.path == "/v2/video/generations":
            self._poll(query.get("generation_id", [""])[0])
        elif url.path == "/v2/billing" and self.api.billing:
            self.answer(200, {"current_balance": (self.api.credits or 0) * CREDITS / 2e6, "currency": "USD"})
        else:
            self.error(404, "no such route")

    def _taken_over(self) -> bool:
        self.api.requests_seen += 1
        return self.api.on_request is not None and self.api.on_request(self)

    def _allowed(self) -> bool:
        key = self.headers.get("Authorization", "")
        self.api.keys_at_api.add(key)
        if self.api.key is not None and key != f"Bearer {self.api.key}":
            self.error(401, "a valid API key is needed")
            return False
        if self.api.throttled():
            self.error(429, "Too Many Requests")
            return False
        return True

    def _poll(self, task_id: str) -> None:
        task = self.api.tasks.get(task_id)
        if task is None:
            self.error(404, "Generation not found")
            return
        task.polls += 1
        if self.api.on_poll is not None and self.api.on_poll(task, self):
            return
        if time.monotonic() < task.due:
            status = task.statuses[task.polls % len(task.statuses)]
            document: dict[str, Any] = {"id": task.named, "video": None}
            self.answer(200, document if status is None else {**document, "status": status})
            return
        path = "".join(f"%{byte:02X}" for byte in task.id.encode())
        link = f"{self.api.url}/cdn/panda/pixverse%2Fmp4%2F{path}_seed{task.polls}.mp4"
        self.answer(200, {"id": task.named, "status": task.done_status, "video": {"url": link}})

    def _logs(self, query: dict[str, list[str]]) -> None:
        if self.api.log_status != 200:
            self.error(self.api.log_status, "the log is not for you")
            return
        rows = [
            {
                "status": "succeeded",
                "model": "pixverse/lip-sync",
                "inference_id": task.named,
                "client_request_id": task.client_request_id,
                "created": "2026-01-01T00:00:00.000Z",
            }
            for task in list(self.api.tasks.values())
            if time.monotonic() >= task.due + self.api.log_lag
        ]
        limit, offset = int(query.get("limit", ["50"])[0]), int(query.get("offset", ["0"])[0])
        page = rows[offset : offset + limit]
        pagination = {"limit": limit, "offset": offset, "total": len(rows), "has_more": offset + limit < len(rows)}
        self.answer(200, {"data": page, "pagination": pagination})

    def _file(self, path: str) -> None:
        self.api.headers_at_cdn.append(dict(self.headers))
        self.api.cdn_paths.append(path)
        if self.api.on_file is not None and self.api.on_file(path, self):
            return
        self.answer(200, body=self.api.film(task_of(path)), Content_Type="video/mp4")


def task_of(path: str) -> str:
    """The id of the generation whose video a link of the CDN names."""
    return unquote(re.sub(r"_seed\d+\.mp4$", "", path).removeprefix("/cdn/panda/pixverse%2Fmp4%2F"))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128  # the default of 5 overflows on a busy machine, and resets what was never read

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        super().__init__(address, handler)
        self.connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """A client that was killed, or went away on purpose, is what most tests here are about."""


@contextmanager
def other_api(video: Path, **options: Any) -> Iterator[OtherApi]:
    """The server on a free loopback port, until the context ends."""
    api = OtherApi(video=video.read_bytes(), **options)
    api.open()
    try:
        yield api
    finally:
        api.close()
