"""The points at which the crash matrix kills a process, and the killing.

No production code knows of them: a forked child wraps the seams where something becomes durable, leaves for the network
or gets a name, and then runs the batch. Each point has a name, such as `accepted:commit:before`, and counts its hits.

| names | where |
| --- | --- |
| `<ledger method>:before`, `:written`, `:commit:before`, `:commit:after`, `:after` | a group commit |
| `<store method>:commit:before`, `:commit:after` | a transaction of the opening and closing of a run |
| `submit:before`, `check:after`, ... | a call of the provider |
| `POST:chunk`, `POST:receive_response_headers.complete`, ... | on the wire: submits, questions (`GET`) and downloads |
| `part:write` | a piece of a download |
| `<function>:<system call>:<kind of file>:before`, `:after`, `:torn` | rename, link, unlink, mkdir, fsync, write |
"""

from __future__ import annotations

import contextvars
import functools
import json
import os
import signal
import sqlite3
import stat
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from inspect import iscoroutinefunction, isfunction
from pathlib import Path
from typing import Any

import httpcore2
import httpx2

from lipsync_batch.fetching import large_body, part
from lipsync_batch.providers.aimlapi import AimlApi
from lipsync_batch.providers.body import RequestBody
from lipsync_batch.store.faults import Connection
from lipsync_batch.store.ledger import Ledger
from lipsync_batch.store.writer import GroupWriter, Put

PIECE = 2048
"""Bytes that a download takes from its connection at a time: so that the small videos of the matrix, which have 7 to 17
KB, come in pieces, as large ones do."""
CHECKPOINT = 8 * 1024
"""Bytes between two syncs of a part: some videos have a sidecar, and some come whole before they need one."""
LARGE = 9_000
"""Bytes still to come from which on they are read straight from the connection: those of some videos, not of all."""

_TOLD = {
    "POST": {
        "connect_tcp.complete",
        "send_request_headers.complete",
        "send_request_body.complete",
        "receive_response_headers.complete",
        "receive_response_body.complete",
    },
    "GET": {"receive_response_headers.complete"},
}
"""The progress of a request that is a point: every byte of a submit matters, a question may be asked again."""
_NOT_TELLING = {"fsync_folder", "atomic", "execute"}
"""Functions whose callers say more about what is going on."""
_write, _open, _close, _kill = os.write, os.open, os.close, os.kill


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadly:
    """Where a process shall die: at a hit of a named point, or at the n-th point that it passes, whichever it is."""

    point: str = ""
    hit: int = 1
    step: int = 0

    def __str__(self) -> str:
        return f"{self.point}#{self.hit}" if self.point else f"step {self.step}"

    @classmethod
    def parse(cls, text: str) -> Deadly:
        """The inverse of `str`."""
        if text.startswith("step "):
            return cls(step=int(text.removeprefix("step ")))
        point, _, hit = text.rpartition("#")
        return cls(point=point, hit=int(hit))


class Crash:
    """The points of this process: which were passed, and the one that is deadly."""

    def __init__(self, notes: Path, deadly: Deadly | None) -> None:
        """`notes` is written when the process dies at its point, or by `save`."""
        self._notes = notes
        self._deadly = deadly
        self._lock = threading.Lock()
        self._hits: Counter[str] = Counter()
        self._passed: list[tuple[str, int]] = []

    def point(self, name: str) -> None:
        """Pass a point, or die there."""
        if self._strikes(name):
            self._die()

    def torn(self, name: str, descriptor: int, data: bytes) -> None:
        """Pass a point, or die there with half of the data written."""
        if self._strikes(name):
            _write(descriptor, data[: len(data) // 2])
            self._die()

    def save(self) -> None:
        """Write down what was passed."""
        descriptor = _open(self._notes, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        _write(descriptor, json.dumps(self._passed).encode())
        _close(descriptor)

    def _strikes(self, name: str) -> bool:
        with self._lock:
            self._hits[name] += 1
            self._passed.append((name, self._hits[name]))
            deadly = self._deadly
            if deadly is None:
                return False
            if deadly.step:
                return len(self._passed) == deadly.step
            return (name, self._hits[name]) == (deadly.point, deadly.hit)

    def _die(self) -> None:
        self.save()
        _kill(os.getpid(), signal.SIGKILL)


def install(crash: Crash) -> None:
    """Wrap every seam of this process, for good."""
    _wrap_ledger(crash)
    _wrap_connections(crash)
    _wrap_provider(crash)
    _wrap_wire(crash)
    _wrap_files(crash)
    _wrap_writes(crash)
    _wrap_downloads(crash)


# The store

_step = contextvars.ContextVar("step", default="")
"""The ledger method whose put is being made."""


def _wrap_ledger(crash: Crash) -> None:
    for name, method in list(vars(Ledger).items()):
        if iscoroutinefunction(method):
            setattr(Ledger, name, _around(crash, name, method))


def _around(crash: Crash, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        crash.point(f"{name}:before")
        token = _step.set(name)
        try:
            result = await method(*arguments, **named)
        finally:
            _step.reset(token)
        crash.point(f"{name}:after")
        return result

    return wrapped


def _wrap_connections(crash: Crash) -> None:
    """Every commit, by the writer's thread or not; in a group, each of its puts counts as a hit of its own."""
    groups, labels = defaultdict[int, list[str]](list), dict[int, str]()
    """By connection: the ledger methods whose puts are in the group that is about to be committed."""
    put, execute_put, execute_sql = GroupWriter.put, Put.execute, Connection.execute

    @functools.wraps(put)
    async def labelled(self: GroupWriter, *statements: Any, **named: Any) -> None:
        if statements:
            labels[id(statements[0])] = _step.get()
        await put(self, *statements, **named)

    def execute_put_between(self: Put, connection: sqlite3.Connection) -> None:
        label = labels.get(id(self.statements[0]), "put") if self.statements else "put"
        groups[id(connection)].append(label)
        execute_put(self, connection)
        crash.point(f"{label}:written")

    def execute(self: Connection, sql: str, *parameters: Any) -> Any:
        word = sql.split(None, 1)[0].rstrip(";")
        if word == "BEGIN":
            groups[id(self)].clear()
        if word != "COMMIT":
            return execute_sql(self, sql, *parameters)
        steps = groups[id(self)] or [_caller()]
        for step in steps:
            crash.point(f"{step}:commit:before")
        cursor = execute_sql(self, sql, *parameters)
        for step in steps:
            crash.point(f"{step}:commit:after")
        return cursor

    GroupWriter.put = labelled  # type: ignore[method-assign]
    Put.execute = execute_put_between  # type: ignore[method-assign]
    Connection.execute = execute  # type: ignore[method-assign]


# The network


def _wrap_provider(crash: Crash) -> None:
    for name, method in list(vars(AimlApi).items()):
        if isfunction(method) and iscoroutinefunction(method) and not name.startswith("_"):
            setattr(AimlApi, name, _around(crash, name, method))


def _wrap_wire(crash: Crash) -> None:
    """What httpcore tells of a request's progress, and the pieces of a submit's body."""
    send, send_now, pieces = httpx2.AsyncClient.send, httpx2.Client.send, RequestBody.__aiter__

    async def traced(self: httpx2.AsyncClient, request: httpx2.Request, **named: Any) -> httpx2.Response:
        route = "POST" if request.method == "POST" else "GET"

        async def trace(event: str, _: Any) -> None:
            if (progress := event.partition(".")[2]) in _TOLD[route]:
                crash.point(f"{route}:{progress}")

        request.extensions = {**request.extensions, "trace": trace}
        return await send(self, request, **named)

    def traced_now(self: httpx2.Client, request: httpx2.Request, **named: Any) -> httpx2.Response:
        def trace(event: str, _: Any) -> None:
            if (progress := event.partition(".")[2]) in _TOLD["GET"]:
                crash.point(f"download:{progress}")

        request.extensions = {**request.extensions, "trace": trace}
        return send_now(self, request, **named)

    async def handed_over(self: RequestBody) -> AsyncIterator[bytes]:
        async for piece in pieces(self):
            yield piece
            crash.point("POST:chunk")  # the connection asks for the next one: this one was written

    httpx2.AsyncClient.send = traced  # type: ignore[method-assign]
    httpx2.Client.send = traced_now  # type: ignore[method-assign]
    RequestBody.__aiter__ = handed_over  # type: ignore[method-assign]


# The disk


def _wrap_files(crash: Crash) -> None:
    """System calls that name files or make them durable."""
    for name in ("rename", "replace", "link"):
        setattr(os, name, _named_by_two(crash, name, getattr(os, name)))
    for name in ("unlink", "mkdir", "fsync"):
        setattr(os, name, _named_by_one(crash, name, getattr(os, name)))


def _named_by_two(crash: Crash, name: str, call: Callable[..., None]) -> Callable[..., None]:
    def wrapped(source: Any, target: Any, **named: Any) -> None:
        point = f"{_caller()}:{name}:{_kind(source)}>{_kind(target)}"
        crash.point(f"{point}:before")
        call(source, target, **named)
        crash.point(f"{point}:after")

    return wrapped


def _named_by_one(crash: Crash, name: str, call: Callable[..., None]) -> Callable[..., None]:
    def wrapped(file: Any, *arguments: Any, **named: Any) -> None:
        point = f"{_caller()}:{name}:{_kind(file)}"
        crash.point(f"{point}:before")
        call(file, *arguments, **named)
        crash.point(f"{point}:after")

    return wrapped


def _wrap_writes(crash: Crash) -> None:
    """Writes straight to a file, which may be cut: run.log and the lock."""

    def write(descriptor: int, data: bytes) -> int:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return _write(descriptor, data)
        point = f"{_caller()}:write:{_kind(descriptor)}"
        crash.point(f"{point}:before")
        crash.torn(f"{point}:torn", descriptor, data)
        written = _write(descriptor, data)
        crash.point(f"{point}:after")
        return written

    os.write = write  # type: ignore[assignment]


def _wrap_downloads(crash: Crash) -> None:
    """The pieces of a download: small ones, so that there are several."""
    write = part.Part.write

    def wrapped(self: part.Part, chunk: bytes) -> None:
        write(self, chunk)
        crash.point("part:write")

    part.Part.write = wrapped  # type: ignore[method-assign]
    part.CHECKPOINT = CHECKPOINT
    large_body.LARGE, large_body.PIECE = LARGE, PIECE
    httpcore2.HTTP11Connection.READ_NUM_BYTES = PIECE


def _caller() -> str:
    """The function of the program that is at work: the nearest public one."""
    frame = sys._getframe(2)
    while frame is not None:
        name, module = frame.f_code.co_name, frame.f_globals.get("__name__", "")
        if module.startswith("lipsync_batch.") and name[0] not in "_<" and name not in _NOT_TELLING:
            return name
        frame = frame.f_back  # type: ignore[assignment]
    return "program"


def _kind(file: Any) -> str:
    """What a file is, by its name."""
    path = Path(f"/proc/self/fd/{file}").readlink() if isinstance(file, int) else Path(file)
    name = path.name
    if name.startswith((".report.", "report.")):
        return f"{'draft of ' * name.startswith('.')}{name.removeprefix('.').rpartition('report.')[2].split('.')[0]}"
    for ending in (".copy.part", ".part.meta.new", ".part.meta", ".part", ".moving", ".log", ".db"):
        if name.endswith(ending):
            return ending[1:]
    if path.suffix == ".mp4":
        return "superseded" if path.parent.name == "superseded" else "video"
    return name if name == "lock" else "folder"
