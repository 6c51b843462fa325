"""Runs of a small batch in which the n-th call of one kind fails, once or from there on for good.

Everything is real but the failing call: the manifest, the session, the store and its files, sockets on loopback. Only
time is pressed together: a second of the program's clock is a 200th of one here.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
import shutil
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2
import jinja2
from command import KEY, environment
from other_api import OtherApi, Task, request_digest

from lipsync_batch import session
from lipsync_batch.batch import Batch
from lipsync_batch.clock import Clock
from lipsync_batch.errors import LipsyncBatchError
from lipsync_batch.events import Event, Listener, Noticed, Stopping
from lipsync_batch.fetching.fetch import Patience, fetch
from lipsync_batch.jobs import State
from lipsync_batch.runner import fetchers
from lipsync_batch.store import faults

SPEED = 200.0
SETTINGS = {"typical_seconds": "1", "patience": "10m", "resolve_for": "10m"}
"""In seconds of the program's clock: enough for anything that can still come, on a busy machine too."""
QUICK = Patience(connect=5.0, stall=5.0, attempts=3, seconds=5.0, first_pause=0.001, longest_pause=0.01)


class FastClock(Clock):
    """The program's seconds pass `SPEED` times as fast as ours."""

    _began = time.monotonic()
    _utc = datetime(2026, 5, 1, 20, 0, tzinfo=UTC)

    def now(self) -> float:
        return asyncio.get_running_loop().time() * SPEED

    def utc(self) -> datetime:
        return self._utc + timedelta(seconds=(time.monotonic() - self._began) * SPEED)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(None if seconds is None else seconds / SPEED)


@dataclass
class Nth:
    """Fails the n-th call that it is asked about, and, with `for_good`, every later one."""

    n: int
    fault: Callable[[], Exception]
    for_good: bool = False
    only: str = ""
    """Calls whose description does not hold this are not counted."""
    calls: int = 0
    struck: str = ""
    """What the first call that failed was about."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def reached(self) -> bool:
        return self.calls >= self.n

    def fails(self, what: str) -> bool:
        """Count a call, described so that `only` may know it; whether it is to fail."""
        if self.only not in what:
            return False
        with self._lock:
            self.calls += 1
            if self.calls < self.n or (self.calls > self.n and not self.for_good):
                return False
            self.struck = self.struck or what
            return True

    def call(self, what: str) -> None:
        """Count a call, and raise the fault if it is its turn."""
        if self.fails(what):
            raise self.fault()


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def broken_disk() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO))


def sql_error(message: str, code: int) -> sqlite3.Error:
    """As the sqlite3 module raises it."""
    kind = sqlite3.DatabaseError if code == sqlite3.SQLITE_CORRUPT else sqlite3.OperationalError
    error = kind(message)
    error.sqlite_errorcode = code
    return error


locked = partial(sql_error, "database is locked", sqlite3.SQLITE_BUSY)
io_error = partial(sql_error, "disk I/O error", sqlite3.SQLITE_IOERR_WRITE)
full = partial(sql_error, "database or disk is full", sqlite3.SQLITE_FULL)
malformed = partial(sql_error, "database disk image is malformed", sqlite3.SQLITE_CORRUPT)


@contextmanager
def failing_sql(nth: Nth) -> Iterator[None]:
    """Every statement of every connection to jobs.db."""

    class Disk(sqlite3.Cursor):
        def execute(self, sql: str, *args: Any) -> Any:
            nth.call(sql)
            return super().execute(sql, *args)

        def executescript(self, script: str) -> Any:
            nth.call(script)
            return super().executescript(script)

    class Cursor(faults.Cursor, Disk):
        """The disk fails below the translation of its errors."""

    with mock.patch.object(faults, "Cursor", Cursor):
        yield


@contextmanager
def failing_fsync(nth: Nth) -> Iterator[None]:
    """Of journals, parts, reports and folders; SQLite's own are in C, and come up as errors of statements."""
    with mock.patch.object(os, "fsync", _first(nth, os.fsync)):
        yield


@contextmanager
def failing_names(nth: Nth) -> Iterator[None]:
    """Files that get a name: rename, replace, link."""
    with ExitStack() as stack:
        for name in ("rename", "replace", "link"):
            stack.enter_context(mock.patch.object(os, name, _first(nth, getattr(os, name))))
        yield


@contextmanager
def failing_writes(nth: Nth) -> Iterator[None]:
    """Bytes on their way to a file: half of them get there, as on a disk that fills up."""
    real_write, real_open = os.write, io.open

    def write(descriptor: int, data: Any) -> int:
        if nth.fails("os.write"):
            real_write(descriptor, bytes(data)[: len(data) // 2])
            raise nth.fault()
        return real_write(descriptor, data)

    class File(io.FileIO):
        def write(self, data: Any) -> int:
            if nth.fails(str(self.name)):
                super().write(bytes(data)[: len(data) // 2])
                raise nth.fault()
            return super().write(data)

    def opened(path: Any, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any) -> Any:
        if not set(mode) & set("wa+"):
            return real_open(path, mode, buffering, *args, **kwargs)
        raw = File(path, mode.replace("b", "").replace("t", ""))
        if not buffering:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *args, **kwargs)

    with mock.patch.object(os, "write", write), mock.patch.object(io, "open", opened):
        yield


def _first(nth: Nth, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        nth.call(f"{real.__name__}{args}")
        return real(*args, **kwargs)

    return call


def refused() -> Exception:
    return httpx2.ConnectError("connection refused")


def reset() -> Exception:
    return httpx2.ReadError("connection reset by peer")


class Answer500(Exception):  # noqa: N818 - no error: what the transport makes an answer of
    """The request arrives, and is answered by 500."""


@contextmanager
def failing_http(nth: Nth) -> Iterator[None]:
    """Every request of the program, at the client's transport. All but a connection error come after its arrival."""
    real_async, real_sync = httpx2.AsyncHTTPTransport.handle_async_request, httpx2.HTTPTransport.handle_request

    async def handle_async(self: Any, request: httpx2.Request) -> httpx2.Response:
        if not nth.fails(f"{request.method} {request.url.path}"):
            return await real_async(self, request)
        fault = nth.fault()
        if not isinstance(fault, httpx2.ConnectError):
            response = await real_async(self, request)
            await response.aread()
            await response.aclose()
        return _answered(fault, request)

    def handle(self: Any, request: httpx2.Request) -> httpx2.Response:
        if not nth.fails(f"{request.method} {request.url.path}"):
            return real_sync(self, request)
        return _answered(nth.fault(), request)

    with (
        mock.patch.object(httpx2.AsyncHTTPTransport, "handle_async_request", handle_async),
        mock.patch.object(httpx2.HTTPTransport, "handle_request", handle),
    ):
        yield


def _answered(fault: Exception, request: httpx2.Request) -> httpx2.Response:
    if not isinstance(fault, Answer500):
        raise fault
    document = {"message": "Something wrong with the server", "statusCode": 500, "requestId": "r"}
    return httpx2.Response(500, json=document, request=request)


_tls = cache(ssl.create_default_context)
_compile = jinja2.Environment.get_template
_templates: dict[str, jinja2.Template] = {}


def _compiled(environment: jinja2.Environment, name: str) -> jinja2.Template:
    """The page's template, compiled once for all runs: it is half of the time of a small one."""
    if name not in _templates:
        _templates[name] = _compile(environment, name)
    return _templates[name]


@dataclass
class Ended:
    """How a run ended, for whoever called the program."""

    code: int
    said: str
    """What a person was told of trouble."""


class Project:
    """A folder with a manifest, run against a server that counts what it charges."""

    def __init__(self, folder: Path, api: OtherApi) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.manifest = folder / "spring.csv"
        self.out = folder / "out"
        self.api = api
        self._charged: set[str] = set()
        self._wanted: Mapping[str, int] = {}

    def holds(self, outputs: Mapping[str, int]) -> None:
        """Write a manifest: outputs, each with the number of its pair."""
        rows = [
            f"{output},https://media.example/{pair}.mp4,Satz {pair},Emily,{output}.mp4"
            for output, pair in outputs.items()
        ]
        self.manifest.write_text("\n".join(["key,video,text,speaker,output", *rows]) + "\n")
        self._wanted = outputs

    def copy(self, name: str) -> Project:
        """The project as it stands, beside it: what happens to the copy leaves this one alone."""
        copy = Project(self.manifest.parent.with_name(name), self.api)
        shutil.copytree(self.manifest.parent, copy.manifest.parent, dirs_exist_ok=True)
        copy._wanted, copy._charged = self._wanted, set(self._charged)
        return copy

    def run(self, *, listen: Listener = lambda _: None, **settings: str) -> Ended:
        """`lipsync-batch run` in this process. What the command line would call a bug is raised as it is."""
        said: list[str] = []

        def hear(event: Event) -> None:
            if isinstance(event, Stopping | Noticed):
                said.append(event.message)

        with (
            self._charging(),
            mock.patch.object(session, "Clock", FastClock),
            mock.patch.object(fetchers, "fetch", partial(fetch, patience=QUICK)),
            mock.patch.object(jinja2.Environment, "get_template", _compiled),
            mock.patch.object(ssl, "create_default_context", _tls),
        ):
            try:
                environ = {"AIMLAPI_BASE_URL": self.api.url, "AIMLAPI_API_KEY": KEY}
                batch = Batch.find(self.manifest, out=self.out, flags=SETTINGS | settings, environ=environ)
                outcome = batch.run(listeners=[hear, listen])
            except LipsyncBatchError as error:
                return Ended(error.exit_code, f"{error}. {error.hint}")
        return Ended(outcome.exit_code, "\n".join(said))

    def run_alone(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """The same run in a process of its own, by a command of the interpreter's that ends in the program's."""
        home = self.manifest.parent
        arguments = [sys.executable, *command, "run", str(self.manifest), "--out", str(self.out)]
        env = environment(home, self.api.url)
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        with self._charging():
            return subprocess.run(arguments, env=env, cwd=home, text=True, check=False, timeout=60, **piped)

    @contextmanager
    def _charging(self) -> Iterator[None]:
        """What the server takes in meanwhile is this project's."""
        before = set(self.api.tasks)
        yield
        self._charged |= set(self.api.tasks) - before

    def charged(self) -> list[Task]:
        """What the server took in from this project, in order."""
        return [task for task in self.api.tasks.values() if task.id in self._charged]

    def assert_whole(self) -> None:
        """Each pair was charged once, each output is the right video, and nothing else lies about."""
        made = {task.request["video_url"]: request_digest(task.request) for task in self.charged()}
        assert len(made) == len(self.charged()) == len(set(self._wanted.values())), "a pair was charged twice, or never"
        for output, pair in self._wanted.items():
            content = (self.out / f"{output}.mp4").read_bytes()
            assert content.endswith(made[f"https://media.example/{pair}.mp4"]), f"{output} is another video"
        lying = {path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file()}
        outputs = {f"{output}.mp4" for output in self._wanted}
        reports = {f"report.{kind}" for kind in ("json", "csv", "html")}
        state = {f"_batch/{name}" for name in ("jobs.db", "jobs.db-wal", "jobs.db-shm", "run.log", "lock")}
        # A database that broke off between two migrations is copied before it is brought up to date.
        copies = {path for path in lying if path.startswith("_batch/jobs.before-")}
        posters = {path for path in lying if re.fullmatch(r"report\.posters/[0-9a-f]{16}\.jpg", path)}
        assert lying - state - copies - posters == outputs | reports, sorted(lying)
        assert len(posters) <= len(made), "a poster of no video is left"

    def states(self) -> dict[str, State]:
        """Of the jobs, as jobs.db has them."""
        with sqlite3.connect(self.out / "_batch" / "jobs.db") as database:
            rows = database.execute("SELECT key, state FROM jobs JOIN pairs USING (fingerprint)").fetchall()
        database.close()
        return {key: State(state) for key, state in rows}
