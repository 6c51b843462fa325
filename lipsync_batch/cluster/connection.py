"""A Dask cluster as a run sees it: its scheduler, which of its workers can be used, and errands that are done there.

Dask's client has a thread and a loop of its own. What it does beside (reading messages, looking at packages, waiting
for a scheduler that hangs) then holds up neither polls nor submits.

An errand is handed out anew, to whoever is there, until somebody did it: when its worker dies, which Dask sees to, and
when the scheduler goes, which is seen to here. So it must be such that twice is no worse than once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any, Self, TypeVar

from lipsync_batch.cluster import errands
from lipsync_batch.cluster.crew import Crew
from lipsync_batch.cluster.local import LocalWorkers
from lipsync_batch.errors import MissingExtraError, UnreachableError, UsageError
from lipsync_batch.version import VERSION

Client = Any
"""Dask's, and so are its futures: it is imported when a cluster is asked for, and its types are not whole."""
T = TypeVar("T")

CONNECTS_WITHIN = 10.0
"""Seconds that a scheduler has to answer at all; the next ones likewise."""
ANSWERS_WITHIN = 10.0
CHECKED_WITHIN = 30.0
CLOSES_WITHIN = 3.0
HALTS_WITHIN = 1.0
LOOK = 1.0
"""Seconds between two looks at who is there."""
SOON = 0.1
"""Seconds in which a connection that breaks is noticed."""
CHECK_AGAIN = 10.0
"""Seconds until a worker that could not be used is asked again; one that did not answer is asked sooner."""
CHECK_SOON = 2.0
LOOK_WITHIN = 600.0
"""Seconds after which a worker that does not come back from inputs hangs."""
CHECKS_AT_ONCE = 32
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two attempts to reach a scheduler that has gone: they double."""
BREATH = 0.2
"""Seconds before an errand that was lost is handed out again."""
UNREAD = 4
"""Times that an errand may come back unread, before it is given up."""
SHOWN = 10
_GONE = (OSError, TimeoutError, CancelledError)
"""What Dask's client raises where the scheduler has gone. (This CancelledError is not asyncio's.)"""
_REMEDY = (
    "Install this version on the scheduler and on each worker (pip install 'lipsync-batch[dask,storage]'). "
    "Let each worker write to the batch folder, under the same path; or give --store, and credentials to each."
)


class GoneError(Exception):
    """Nobody is there who could do it."""


class HaltedError(Exception):
    """The run ends: nothing more is done."""


class ErrandError(Exception):
    """An errand that cannot be done, whoever it is given to: workers die over it, or cannot read it."""


class WorkerBugError(RuntimeError):
    """An exception on a worker that nobody knows of, with its traceback."""


class _LostError(Exception):
    """What was sent over a connection that has ended is lost."""


class _UnreadError(Exception):
    """A worker, or the scheduler, could not make anything of what it was sent."""


@dataclass(kw_only=True, slots=True)
class _Link:
    """One connection to a scheduler."""

    client: Client
    scheduler: str
    """The scheduler's own id: another one at the same address knows nothing of what was sent to the first."""
    over: asyncio.Future[None]
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Names the connection to the workers, so that what an earlier one had sent for ends."""
    handed_out: dict[Any, Sequence[str] | None] = field(default_factory=dict)
    """What is to be done, and by whom: None where any worker may do it."""
    checking: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @contextmanager
    def handing_out(self, future: Any, among: Sequence[str] | None) -> Iterator[None]:
        self.handed_out[future] = among
        try:
            yield
        finally:
            del self.handed_out[future]


class Cluster:
    """The cluster of one run. What has no `_` before its name is called by the run's own threads."""

    def __init__(self, home: LocalWorkers | str, *, at_once: int) -> None:
        """`home` is a scheduler's address, or workers of this machine; `at_once` the downloads of one worker."""
        self.trouble = ""
        """Why nothing can be done now; empty where it can."""
        self.room = 0
        """Errands that can be on their way at once, now."""
        self._home = home
        self._crew = Crew(at_once, again_after=CHECK_AGAIN, soon=CHECK_SOON)
        self._terms: Mapping[str, Any] = {"version": VERSION}
        self._link: _Link | None = None
        self._why_lost = ""
        self._usable = asyncio.Event()
        self._halted = False
        self._halting: asyncio.Task[None] | None = None
        self._tell: Callable[[str], None] = lambda _: None
        self._changed: Callable[[], None] = lambda: None
        self._keeping: asyncio.Task[None] | None = None
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="dask", daemon=True)

    @classmethod
    def connected(cls, home: LocalWorkers | str, *, at_once: int) -> Self:
        """One whose scheduler answers, and whose workers were looked at. UnreachableError, UsageError."""
        if any(find_spec(package) is None for package in ("dask", "distributed")):
            raise MissingExtraError("--dask", "dask")
        cluster = cls(home, at_once=at_once)
        cluster._thread.start()
        try:
            cluster._now(cluster._connect())
        except BaseException:
            cluster.close()
            raise
        return cluster

    def engage(self, terms: Mapping[str, Any]) -> Sequence[str]:
        """Check every worker on these terms; why some cannot be used. UsageError where none can."""
        return self._now(self._engage({"version": VERSION, **terms}))

    def listen(self, *, changed: Callable[[], None], tell: Callable[[str], None]) -> None:
        """Who hears, in this cluster's own thread, that `room` or `trouble` is another, and what people shall hear."""
        self._changed, self._tell = changed, tell

    async def do(self, function: Callable[..., T], errand: Callable[[str], object], *, within: float) -> T:
        """Have a function done by a worker, however long there is none. HaltedError, ErrandError, WorkerBugError.

        `errand` makes its argument, of the name of the connection that it goes over. Whoever answers `Unfit` is asked
        no more for a while, and another one is; so it is where one does not come back within so many seconds.
        """
        doing = asyncio.run_coroutine_threadsafe(self._do(function, errand, within=within), self._loop)
        return await asyncio.wrap_future(doing)

    def map(self, function: Callable[..., T], errands: Sequence[object]) -> list[T]:
        """A function of each, in their order, so many at a time as there is room. Blocks. GoneError, ErrandError."""
        return self._now(self._map(function, errands))

    def halt(self) -> None:
        """What is on its way ends as soon as it can, and nothing more begins."""
        self._loop.call_soon_threadsafe(self._begin_to_halt)

    def close(self) -> None:
        """Hang up. Workers end what they are at for this run."""
        if self._thread.is_alive():
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(2 * CLOSES_WITHIN)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSES_WITHIN)
        if isinstance(self._home, LocalWorkers):
            self._home.end()

    # In the thread of the cluster

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _now(self, step: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(step, self._loop).result()

    async def _connect(self) -> None:
        try:
            self._link = await self._open()
            await self._look_and_wait(self._link)
        except _GONE as error:
            raise UnreachableError(
                f"the Dask scheduler {self._home} cannot be reached: {_words(error)}",
                hint="Start it (dask scheduler), or look at the address and at what stands between. "
                "Without --dask this machine fetches by itself.",
            ) from error
        self._note()
        self._keeping = asyncio.ensure_future(self._keep())

    async def _open(self) -> _Link:
        """A new connection. UsageError where the scheduler cannot be used; any of _GONE."""
        from distributed import Client as DaskClient

        _quiet()
        address = self._home if isinstance(self._home, str) else await asyncio.to_thread(self._home.address)
        client: Client = DaskClient(
            address, asynchronous=True, set_as_default=False, timeout=CONNECTS_WITHIN, name="lipsync-batch"
        )
        try:
            async with asyncio.timeout(CONNECTS_WITHIN + ANSWERS_WITHIN):
                await _connected(client)
                identity = await client.scheduler.identity(n_workers=0)
                await self._check_scheduler(client)
        except BaseException:
            await _hang_up(client)
            raise
        return _Link(client=client, scheduler=identity["id"], over=self._loop.create_future())

    async def _check_scheduler(self, client: Client) -> None:
        """It reads what it hands on, so it needs the program, too."""
        try:
            theirs = await client.run_on_scheduler(errands.program_version)
        except _GONE:
            raise
        except Exception as error:
            fault = f"lipsync-batch is not installed there ({_words(error)})"
            raise UsageError(f"the Dask scheduler {self._home} cannot be used: {fault}", hint=_REMEDY) from error
        if theirs != VERSION:
            fault = f"lipsync-batch {theirs} is installed there, and {VERSION} here"
            raise UsageError(f"the Dask scheduler {self._home} cannot be used: {fault}", hint=_REMEDY)

    async def _engage(self, terms: Mapping[str, Any]) -> Sequence[str]:
        self._terms = terms
        self._crew.doubt()
        if self._link is not None:
            with suppress(*_GONE):
                await self._look_and_wait(self._link)
        problems = self._crew.problems()
        self._note()
        if self._crew.hopeless:
            lines = [f"no worker of the Dask cluster {self._home} can be used", *problems[:SHOWN]]
            raise UsageError("\n".join(lines), hint=_REMEDY)
        return problems

    async def _keep(self) -> None:
        """Look at who is there, again and again; connect anew where nobody answers."""
        pause = FIRST_PAUSE
        while True:
            await asyncio.sleep(LOOK if self._link is not None else pause)
            try:
                if self._link is None:
                    link = await self._open()
                    self._crew.doubt()
                    self._link, pause = link, FIRST_PAUSE
                await self._look(self._link)
            except Exception as error:  # noqa: BLE001 - whatever Dask says, without this nobody would look again
                pause = min(LONGEST_PAUSE, 2 * pause) if self._link is None else FIRST_PAUSE
                await self._lose(_words(error))
            self._note()

    async def _look(self, link: _Link) -> None:
        """Who is there now; new ones begin to be checked, and what only those who left might do is given to others."""
        threads = await _while_connected(link, self._threads(link))
        for address in self._crew.see(threads, time.monotonic()):
            if address not in link.checking:
                link.checking[address] = asyncio.ensure_future(self._check(link, address))
        stuck = [future for future, among in link.handed_out.items() if among and threads.keys().isdisjoint(among)]
        if stuck:
            await link.client.cancel(stuck)

    async def _threads(self, link: _Link) -> Mapping[str, int]:
        """The threads of each worker."""
        async with asyncio.timeout(ANSWERS_WITHIN):
            identity = await link.client.scheduler.identity(n_workers=0)
            if identity["id"] != link.scheduler:
                raise ConnectionResetError("it was started anew")
            threads: Mapping[str, int] = await link.client.nthreads()
            return threads

    async def _look_and_wait(self, link: _Link) -> None:
        await self._look(link)
        if link.checking:
            await asyncio.wait(link.checking.values(), timeout=CHECKED_WITHIN)

    async def _check(self, link: _Link, address: str) -> None:
        """Whether a worker can be used."""
        terms, silent = {**self._terms, "token": link.token}, False
        try:
            async with self._checks, asyncio.timeout(CHECKED_WITHIN):
                said = await link.client.run(errands.fit, terms, workers=[address], on_error="return")
            problem = _problem(said[address])
        except Exception as error:  # noqa: BLE001 - whatever it is, this worker cannot be used now
            problem, silent = f"it does not answer ({_words(error)})", True
        finally:
            del link.checking[address]
        self._found(address, problem, silent=silent)

    def _found(self, address: str, problem: str | None, *, silent: bool = False) -> None:
        if self._crew.found(address, problem, time.monotonic(), silent=silent) and self._keeping is not None:
            word = f"is not used: {problem}" if problem else "is used again"
            self._tell(f"the Dask worker {address} {word}")
        self._note()

    async def _lose(self, why: str) -> None:
        """The scheduler does not answer: what was sent to it is lost."""
        if (link := self._link) is None:
            return
        self._link, self._why_lost = None, why
        self._note()
        if not link.over.done():
            link.over.set_result(None)
        for checking in link.checking.values():
            checking.cancel()
        await _hang_up(link.client)

    def _note(self) -> None:
        """Reckon anew what can be done, and say so where that is another thing."""
        trouble = self._trouble()
        room = 0 if self._link is None else self._crew.room
        if self._halted or (self._link is not None and (self._crew.fit or not len(self._crew))):
            self._usable.set()
        else:
            self._usable.clear()
        if (room, trouble) == (self.room, self.trouble):
            return
        before, self.room, self.trouble = self.trouble, room, trouble
        if self._keeping is not None and trouble != before:
            waiting = f"{trouble}: downloads wait until that is over; submits and polls go on"
            self._tell(waiting if trouble else f"the Dask cluster {self._home} is there again: downloads go on")
        self._changed()

    def _trouble(self) -> str:
        if self._link is None:
            return f"the Dask scheduler {self._home} does not answer ({self._why_lost})"
        if not len(self._crew):
            return f"the Dask cluster {self._home} has no worker"
        if self._crew.fit:
            return ""
        if self._crew.in_doubt:
            return self.trouble  # as it was, until that is known
        return f"no worker of the Dask cluster {self._home} can be used ({self._crew.problems()[0]})"

    async def _do(
        self, function: Callable[..., T], errand: Callable[[str], object], *, within: float, patient: bool = True
    ) -> T:
        unread = 0
        while True:
            link = await self._ready(patient=patient)
            try:
                done = await self._done_by_a_worker(link, function, errand, within=within)
            except _LostError:
                await asyncio.sleep(BREATH)
            except _UnreadError as error:
                unread += 1
                if unread >= UNREAD:
                    raise ErrandError(f"nobody in the cluster can read what it is sent: {error}") from error
                self._crew.doubt()  # a new worker, perhaps, that was handed something before it was looked at
                self._note()
            else:
                if await self._holds(done):
                    return done

    async def _ready(self, *, patient: bool) -> _Link:
        """The connection, once somebody is there who can be used. HaltedError; GoneError where nobody waits for it."""
        while True:
            if not patient and not self._usable.is_set():
                raise GoneError(self.trouble)
            await self._usable.wait()
            if self._halted:
                raise HaltedError
            if self._link is not None:
                return self._link

    async def _holds(self, done: object) -> bool:
        """Whether that is an answer, or one of another worker is needed. WorkerBugError."""
        match done:
            case errands.Bug(text=text):
                raise WorkerBugError(f"on a worker of the cluster:\n{text}")
            case errands.Unfit(worker=worker, reason=reason):
                self._found(worker, reason)
                return False
            case errands.Ended(worker=worker):  # it knows of an earlier connection alone, until it is checked
                self._crew.doubt(worker)
                self._note()
                await asyncio.sleep(LOOK)
                return False
            case errands.NotKept(worker=worker):
                self._crew.doubt(worker)  # perhaps it is not let into the store any more
                self._note()
                return True
            case _:
                return True

    async def _done_by_a_worker(
        self, link: _Link, function: Callable[..., T], errand: Callable[[str], object], *, within: float
    ) -> T:
        from distributed import KilledWorker

        among = self._crew.among()
        try:
            # A key without any meaning: it is shown on the cluster's pages.
            future = link.client.submit(
                function, errand(link.token), key=f"lipsync-batch-{uuid.uuid4().hex}", pure=False, workers=among
            )
        except Exception as error:
            if link.client.status == "running":
                raise
            raise _LostError from error
        with link.handing_out(future, among):
            result: asyncio.Future[T] = asyncio.ensure_future(future.result())
            try:
                either: set[asyncio.Future[Any]] = {result, link.over}
                await asyncio.wait(either, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not result.done():
                    result.cancel()
        if not result.done() or result.cancelled():
            raise _LostError
        if (fault := result.exception()) is None:
            return result.result()
        if isinstance(fault, KilledWorker):
            died, last = fault.allowed_failures + 1, fault.last_worker.address
            raise ErrandError(f"{died} workers ended over this one, the last of them {last}")
        if isinstance(fault, _GONE):
            raise _LostError from fault
        raise _UnreadError(_words(fault)) from fault

    async def _map(self, function: Callable[..., T], errands: Sequence[object]) -> list[T]:
        results: dict[int, T] = {}
        left = iter(enumerate(errands))

        async def lane() -> None:
            for number, errand in left:
                results[number] = await self._do(function, partial(_whoever, errand), within=LOOK_WITHIN, patient=False)

        lanes = [asyncio.ensure_future(lane()) for _ in range(min(len(errands), max(1, self.room)))]
        try:
            await asyncio.gather(*lanes)
        finally:
            for one in lanes:
                one.cancel()
        return [results[number] for number in range(len(errands))]

    def _begin_to_halt(self) -> None:
        if self._halted:
            return
        self._halted = True
        self._usable.set()
        if (link := self._link) is not None and not link.over.done():
            link.over.set_result(None)
            self._halting = asyncio.ensure_future(self._halt(link))

    async def _halt(self, link: _Link) -> None:
        """Workers end what they are at for this run: what they would bring is wanted no more."""
        with suppress(Exception):
            async with asyncio.timeout(HALTS_WITHIN):
                await link.client.cancel(list(link.handed_out))
                if (batch := self._terms.get("batch")) is not None:
                    await link.client.run(errands.halt, batch, link.token, on_error="ignore")

    async def _close(self) -> None:
        self._loop.set_exception_handler(lambda *_: None)  # what is left of Dask's own is nobody's now
        self._begin_to_halt()
        if self._keeping is not None:
            self._keeping.cancel()
        if self._halting is not None:
            await self._halting
        if self._link is not None:
            await _hang_up(self._link.client)
        if rest := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in rest:
                task.cancel()
            await asyncio.wait(rest, timeout=SOON)


def _whoever(errand: object, _: str) -> object:
    """An errand that is the same over each connection."""
    return errand


async def _connected(client: Client) -> None:
    """UsageError where what Dask is told of certificates does not do."""
    try:
        await client
    except (TypeError, ValueError, FileNotFoundError) as error:
        raise UsageError(
            f"the certificates for a Dask scheduler by tls:// are wrong, or are not there: {_words(error)}",
            hint="Dask is told where they are by DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ..._TLS__CLIENT__CERT and "
            "..._TLS__CLIENT__KEY.",
        ) from error


async def _while_connected(link: _Link, question: Coroutine[Any, Any, T]) -> T:
    """An answer, unless the connection breaks first: the question alone would go on trying for some time."""
    asking = asyncio.ensure_future(question)
    while not asking.done() and link.client.status == "running":
        await asyncio.wait([asking], timeout=SOON)
    if not asking.done():
        asking.cancel()
        raise ConnectionResetError("the connection broke")
    return asking.result()


def _problem(said: object) -> str | None:
    """What a worker answered to whether it is fit."""
    if isinstance(said, Exception):
        return f"lipsync-batch {VERSION} cannot be loaded there ({_words(said)})"
    return None if said is None else str(said)


async def _hang_up(client: Client) -> None:
    """Whatever stands in the way: one that hangs is left to itself."""
    with suppress(Exception):
        async with asyncio.timeout(CLOSES_WITHIN):
            await client.close()


def _words(error: BaseException) -> str:
    """What went wrong, for people."""
    first = str(error).strip().partition("\n")[0]
    if type(error).__name__ == "CommClosedError":  # Dask's, whose words name its own parts
        return "the connection broke"
    if isinstance(error, TimeoutError) and not first:
        return f"no answer within {ANSWERS_WITHIN:g} s"
    return first or type(error).__name__


def _quiet() -> None:
    """What Dask says of lost connections is said by us, in the run's own words and places."""
    from distributed.versions import VersionMismatchWarning

    for name in ("distributed", "distributed.client", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", VersionMismatchWarning)
