"""Where the bytes are fetched: in threads of this process, in a process of their own, or on other machines.

A small batch is over before another process has started. In a large one the loop's thread shares Python's lock with
every download: in a process of their own they take nothing from it, and what a video does to the decoder that checks
it does not end the run.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Protocol, Self, cast

from lipsync_batch.fetching.fetch import Broken, Expected, Outcome, Stopped, download_client, fetch
from lipsync_batch.fetching.messages import BreakOff, Bug, Ready, Unpacker, Wish, packed
from lipsync_batch.version import VERSION

WORKER_FROM = 8
"""Downloads of a run after which a process of their own pays for its start, which costs as much as some hundred."""
WORKER_AT_ONCE = 200
"""Downloads to come that make it start with the run, while nothing is to be fetched yet."""
STARTS_WITHIN = 30.0
"""Seconds."""
ENDS_WITHIN = 1.0
"""Seconds in which a process that was killed is gone, unless a disk holds it."""
WORKER = "lipsync_batch.fetching.worker"


class Fetcher(Protocol):
    """Where the bytes are fetched. The path is one that the place can write to."""

    @property
    def room(self) -> int:
        """Downloads that can be on their way at once, now."""

    @property
    def away(self) -> bool:
        """Whether downloads wait for others than the servers of their links, and may have to wait for long."""

    def listen(self, changed: Callable[[], None]) -> None:
        """Call that, in the loop's thread, when either of those is another."""

    async def fetch(self, link: str, destination: Path, expected: Expected) -> Outcome: ...

    def break_off(self) -> None:
        """Downloads end as `Stopped` from now on, as soon as they can."""

    def close(self) -> None: ...


class ThreadFetcher:
    """In threads of this process: the loop goes on polling while bytes are hashed and checked."""

    away = False

    def __init__(self, threads: int) -> None:
        self.room = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="download")
        self._client = download_client()
        self._broken_off = False

    def listen(self, changed: Callable[[], None]) -> None:
        pass

    async def fetch(self, link: str, destination: Path, expected: Expected) -> Outcome:
        call = partial(fetch, link, destination, expected=expected, stop=lambda: self._broken_off, client=self._client)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def break_off(self) -> None:
        self._broken_off = True

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()


class ProcessFetcher:
    """In threads at first, and in a process of their own once there are many downloads.

    Downloads that are lost with the process are fetched again in another one, each alone: so a file that ends it takes
    no other with it, and is known. Where no such process can be had, threads do it all.
    """

    away = False

    def __init__(self, threads: int, *, lock: int, environ: Mapping[str, str], to_come: int = 0) -> None:
        """`lock` is the descriptor that holds the batch: the process holds it too, for as long as it may write.

        `environ` is what the process may know of the environment. With many downloads to come it starts now, and is
        ready before the first of them.
        """
        self.room = threads
        self._inside = ThreadFetcher(threads)
        self._start = partial(_Worker.start, threads, lock=lock, environ=environ)
        self._starting: asyncio.Task[_Worker | None] | None = None
        self._begun = 0
        self._in_vain = False
        """A process ended by itself, without a crash: it cannot do its work, and another one could not."""
        self._broken_off = False
        self._alone = asyncio.Lock()
        self._lost = 0
        """Downloads that were lost with a process, and are not over yet."""
        self._calm = asyncio.Event()
        """Set while there are none: as long as there are any, no other begins."""
        self._calm.set()
        if to_come >= WORKER_AT_ONCE:
            self._starting = asyncio.create_task(self._begin())

    def listen(self, changed: Callable[[], None]) -> None:
        pass

    async def fetch(self, link: str, destination: Path, expected: Expected) -> Outcome:
        self._begun += 1
        await self._calm.wait()
        if self._broken_off:
            return Stopped()
        worker = self._ready_worker()
        if worker is None:
            return await self._inside.fetch(link, destination, expected)
        try:
            return await worker.fetch(link, destination, expected)
        except _EndedError as ended:
            self._in_vain |= ended.by_itself
            return await self._fetch_alone(link, destination, expected)

    def break_off(self) -> None:
        self._broken_off = True
        self._inside.break_off()
        if (worker := self._ready_worker()) is not None:
            worker.break_off()

    def close(self) -> None:
        self._inside.close()
        if self._starting is None:
            return
        self._starting.cancel()
        if self._starting.done() and not self._starting.cancelled() and not self._starting.exception():
            worker = self._starting.result()
            if worker is not None:
                worker.close()

    async def _fetch_alone(self, link: str, destination: Path, expected: Expected) -> Outcome:
        self._lost += 1
        self._calm.clear()
        try:
            async with self._alone:
                if self._broken_off:
                    return Stopped()
                worker = await self._living_worker()
                if worker is None:
                    return await self._inside.fetch(link, destination, expected)
                return await worker.fetch(link, destination, expected)
        except _EndedError as ended:
            self._in_vain |= ended.by_itself
            return Broken(reason=f"the process that fetches and checks files ended over this one: {ended}")
        finally:
            self._lost -= 1
            if not self._lost:
                self._calm.set()

    def _ready_worker(self) -> _Worker | None:
        """The process, where it is there by now; it is started once it is worth it."""
        if self._in_vain:
            return None
        if self._starting is None and self._begun > WORKER_FROM and not self._broken_off:
            self._starting = asyncio.create_task(self._begin())
        if self._starting is None or not self._starting.done() or self._starting.cancelled():
            return None
        return self._starting.result()

    async def _living_worker(self) -> _Worker | None:
        """The process, or another one where it has ended. None where none can be had."""
        if self._in_vain:
            return None
        worker = self._ready_worker()
        if worker is not None and worker.ended is not None:
            self._starting = asyncio.create_task(self._begin())
        return None if self._starting is None else await asyncio.shield(self._starting)

    async def _begin(self) -> _Worker | None:
        try:
            return await self._start()
        except (OSError, _EndedError):
            return None


class FetchBugError(RuntimeError):
    """An exception that `fetch` does not know of, with its traceback."""


class _EndedError(Exception):
    """The process has ended, and what it was fetching is not done."""

    def __init__(self, code: int | None) -> None:
        """`code` as `subprocess` has it; None where the process does not even end when it is killed."""
        super().__init__(_how(code))
        self.by_itself = code is not None and code >= 0


class _Worker(asyncio.Protocol):
    """A process that fetches, seen from this one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.ended: _EndedError | None = None
        self._process = process
        self._unpacker = Unpacker()
        self._transport: asyncio.Transport | None = None
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: dict[int, asyncio.Future[Outcome | Bug]] = {}
        self._numbers = itertools.count()

    @classmethod
    async def start(cls, threads: int, *, lock: int, environ: Mapping[str, str]) -> Self:
        """One that is ready. OSError or _EndedError where none can be had."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(True)  # noqa: FBT003 - whatever `socket.setdefaulttimeout` was told
        with ExitStack() as undo:
            undo.callback(ours.close)
            with theirs:
                # -P: a file of the user's may have the name of a module.
                command = [sys.executable, "-P", "-m", WORKER, str(theirs.fileno()), str(threads)]
                process = subprocess.Popen(  # noqa: ASYNC220, S603 - a millisecond; nothing of it comes from outside
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), lock),
                    process_group=0,  # Ctrl-C is for this process, which tells that one
                    env=dict(environ),
                )
            worker = cls(process)
            undo.callback(worker.close)
            async with asyncio.timeout(STARTS_WITHIN):
                await asyncio.get_running_loop().create_unix_connection(lambda: worker, sock=ours)
                await worker._greeted
            undo.pop_all()
        return worker

    async def fetch(self, link: str, destination: Path, expected: Expected) -> Outcome:
        """_EndedError where the process ends first."""
        if self.ended is not None:
            raise self.ended
        wish = Wish(next(self._numbers), link, destination, expected)
        future: asyncio.Future[Outcome | Bug] = asyncio.get_running_loop().create_future()
        self._waiting[wish.number] = future
        self._send(wish)
        outcome = await future
        if isinstance(outcome, Bug):
            raise FetchBugError(f"in the process that fetches:\n{outcome.text}")
        return outcome

    def break_off(self) -> None:
        self._send(BreakOff())

    def close(self) -> None:
        """End it at once: what it leaves on disk is what a kill leaves, and the next run goes on there."""
        if self._transport is not None:
            self._transport.abort()
        self._kill()

    def _ended_with(self) -> int | None:
        """Its exit code. Its socket is closed: it has ended, or is of no use any more."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(ENDS_WITHIN)
        return self._kill()

    def _kill(self) -> int | None:
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(ENDS_WITHIN)
        return None

    def _send(self, message: object) -> None:
        if self._transport is not None and self.ended is None:
            self._transport.write(packed(message))

    # Called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for message in self._unpacker.feed(data):
            if isinstance(message, Ready):
                self._greet(message)
                continue
            for number, outcome in message:
                if not (future := self._waiting.pop(number)).done():  # it is, where nobody waits any more
                    future.set_result(outcome)

    def _greet(self, ready: Ready) -> None:
        if self._greeted.done():
            return
        if ready.version == VERSION:
            self._greeted.set_result(None)
        else:
            self._greeted.set_exception(_EndedError(0))

    def connection_lost(self, _: Exception | None) -> None:
        ended = self.ended = _EndedError(self._ended_with())
        if not self._greeted.done():
            self._greeted.set_exception(ended)
            self._greeted.exception()  # perhaps nobody waits for it any more
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ended)
        self._waiting.clear()


def _how(code: int | None) -> str:
    """How a process ended, for people."""
    if code is None:
        return "it answers no more"
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"
