"""Another server of the same API than the sandbox: plain threads, and odd in every way that the documentation allows.

It keeps ground truth: what was charged, which headers and keys arrived where, and how many requests fell into any
window. Result files are real MP4s, each with a digest of its request in a box at its end, so that a test can tell
whether an output is the right video.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

DONE = ("completed", "succeeded", "Success", "SUCCEEDED ", "done", "finished", "ready")
RUNNING = ("queued", "generating", "waiting", "active", "NOT_START", "pre-processing", None)


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


@dataclass
class OtherApi:
    """The server's state. Times in seconds."""

    video: bytes
    seconds: float = 0.3
    rate: tuple[int, float] | None = None
    seed: int = 1
    lose_answers: float = 0.0
    """Share of submits whose answer is dropped after they were accepted."""
    tasks: dict[str, Task] = field(default_factory=dict)
    arrivals: deque[float] = field(default_factory=deque)
    refused: int = 0
    keys_at_api: set[str] = field(default_factory=set)
    headers_at_cdn: list[dict[str, str]] = field(default_factory=list)
    cdn_paths: list[str] = field(default_factory=list)
    worst_window: int = 0
    key: str | None = None
    on_submit: Callable[[dict[str, Any], BaseHTTPRequestHandler], bool] | None = None
    """May answer a submit itself, and then returns True."""
    on_poll: Callable[[Task, BaseHTTPRequestHandler], bool] | None = None
    on_file: Callable[[str, BaseHTTPRequestHandler], bool] | None = None
    url: str = ""

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.random = random.Random(self.seed)

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
        nano = "".join(self.random.choices("ABCDEFabcdef0123456789_-", k=16))
        return (f"-{nano}", f"{nano}:kling-video/v1.6/pro", f"{nano}/ü&=?#+ %2F", nano)[number % 4]

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
        name = hashlib.sha256(json.dumps(self.tasks[task_id].request, sort_keys=True).encode()).hexdigest().encode()
        box = (8 + len(name)).to_bytes(4, "big") + b"free" + name
        return self.video + box


def request_digest(request: dict[str, Any]) -> bytes:
    """What `OtherApi.film` writes at the end of the video that belongs to a request."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest().encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: OtherApi

    def log_message(self, *_: object) -> None: ...

    def answer(self, status: int, document: Any = None, *, body: bytes | None = None, **headers: str) -> None:
        content = json.dumps(document).encode() if body is None else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def error(self, status: int, message: str) -> None:
        self.answer(status, {"message": message, "path": self.path, "requestId": "r", "statusCode": str(status)})

    def hang_up(self) -> None:
        self.close_connection = True

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        if self.api.on_submit is not None and self.api.on_submit(request, self):
            return
        task = self.api.accept(request, self.headers.get("X-Client-Request-Id"))
        if self.api.random.random() < self.api.lose_answers:
            self.hang_up()
            return
        shape = len(self.api.tasks) % 3
        document = {"id": task.id, "status": "queued", "meta": {"usage": {"credits_used": 480_000}}}
        if shape == 1:
            document = {"id": task.id, "status": "queued"}
        elif shape == 2:
            document = {"generation_id": task.id, "status": "waiting", "meta": None}
        self.answer(201 if shape else 200, document)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
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
        else:
            self.error(404, "no such route")

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
            document: dict[str, Any] = {"id": task.id, "video": None}
            self.answer(200, document if status is None else {**document, "status": status})
            return
        path = "".join(f"%{byte:02X}" for byte in task.id.encode())
        link = f"{self.api.url}/cdn/panda/pixverse%2Fmp4%2F{path}_seed0.mp4"
        self.answer(200, {"id": task.id, "status": task.done_status, "video": {"url": link}})

    def _logs(self, query: dict[str, list[str]]) -> None:
        rows = [
            {
                "status": "succeeded",
                "model": "pixverse/lip-sync",
                "inference_id": task.id,
                "client_request_id": task.client_request_id,
                "created": "2026-01-01T00:00:00.000Z",
            }
            for task in self.api.tasks.values()
            if time.monotonic() >= task.due
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
        name = path.removeprefix("/cdn/panda/pixverse%2Fmp4%2F").removesuffix("_seed0.mp4")
        self.answer(200, body=self.api.film(unquote(name)), Content_Type="video/mp4")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the default of 5 overflows on a busy machine, and resets what was never read


@contextmanager
def other_api(video: Path, **options: Any) -> Iterator[OtherApi]:
    """The server on a free loopback port, until the context ends."""
    api = OtherApi(video=video.read_bytes(), **options)
    handler = type("Handler", (_Handler,), {"api": api})
    server = _Server(("127.0.0.1", 0), handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
