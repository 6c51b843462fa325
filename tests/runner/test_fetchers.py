"""The process that fetches for a run: real processes, real sockets, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from cdn import Answer, Cdn, Request, Wire, file

from lipsync_batch import lock
from lipsync_batch.fetching.fetch import Broken, Expected, Fetched, Outcome, Stopped
from lipsync_batch.fetching.messages import Unpacker, Wish, packed
from lipsync_batch.runner import fetchers
from lipsync_batch.runner.fetchers import WORKER_AT_ONCE, WORKER_FROM, FetchBugError, ProcessFetcher

CONTENT = b"\0\0\0\x18ftypmp42" + b"not a video, but of the right length" * 100
WHOLE = Expected(bytes=len(CONTENT), check="size")
PATIENCE = 20.0
"""Seconds that another process may take to start or to end, on a busy machine too."""


@pytest.fixture
def fetcher(tmp_path: Path):
    """Makes fetchers as a run has them, inside a running loop."""
    with lock.held(tmp_path) as descriptor:
        yield partial(ProcessFetcher, 8, lock=descriptor, environ={**os.environ, "SHOWN": "yes"})


class Unknown(Wish):
    """A message that the process cannot read."""

    def __reduce__(self):
        return (int, ("no number",))


def workers(parent: int | None = None) -> list[psutil.Process]:
    """The processes that fetch for a process; for this one where none is named."""
    children = psutil.Process(parent).children()
    return [child for child in children if "lipsync_batch.fetching.worker" in child.cmdline()]


async def until(condition: Callable[[], object]) -> None:
    """Wait for another process."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(0.01)


async def warmed_up(fetcher: ProcessFetcher, cdn: Cdn, folder: Path) -> psutil.Process:
    """The process of a fetcher, once it takes downloads."""
    for number in range(WORKER_FROM + 1):
        assert isinstance(await fetcher.fetch(cdn.url(f"/{number}"), folder / f"warm{number}", WHOLE), Fetched)
    await until(lambda: fetcher._ready_worker() is not None)
    (worker,) = workers()
    return worker


def by_path(answers: dict[str, Answer]) -> Answer:
    """A server that does something else for some paths."""

    def answer(request: Request, wire: Wire) -> None:
        answers.get(request.target, file(CONTENT))(request, wire)

    return answer


def test_few_downloads_are_threads_and_many_have_a_process(fetcher, tmp_path: Path) -> None:
    """A small batch is over before a process has started."""

    async def run() -> list[Outcome]:
        fetches = fetcher()
        for number in range(WORKER_FROM):
            await fetches.fetch(cdn.url(f"/{number}"), tmp_path / str(number), WHOLE)
        assert not workers()
        await warmed_up(fetches, cdn, tmp_path)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("download")]
        outcomes = await asyncio.gather(
            *(fetches.fetch(cdn.url(f"/more/{number}"), tmp_path / f"more{number}", WHOLE) for number in range(40))
        )
        assert [thread for thread in threading.enumerate() if thread.name.startswith("download")] == threads
        fetches.close()
        assert not workers()
        return outcomes

    with Cdn(file(CONTENT)) as cdn:
        outcomes = asyncio.run(run())

    assert all(isinstance(outcome, Fetched) and outcome.info.bytes == len(CONTENT) for outcome in outcomes)
    assert all((tmp_path / f"more{number}").read_bytes() == CONTENT for number in range(40))


def test_many_downloads_to_come_find_the_process_ready(fetcher) -> None:
    async def run(to_come: int) -> int:
        fetches = fetcher(to_come=to_come)
        if to_come >= WORKER_AT_ONCE:
            await until(lambda: fetches._ready_worker() is not None)
        await asyncio.sleep(0)
        started = len(workers())
        fetches.close()
        return started

    assert asyncio.run(run(WORKER_AT_ONCE)) == 1
    assert asyncio.run(run(WORKER_AT_ONCE - 1)) == 0


def test_process_knows_what_it_may_of_the_environment(fetcher, tmp_path: Path) -> None:
    """The key is not for it."""

    async def run() -> dict[str, str]:
        fetches = fetcher()
        told = (await warmed_up(fetches, cdn, tmp_path)).environ()
        fetches.close()
        return told

    with Cdn(file(CONTENT)) as cdn:
        assert asyncio.run(run())["SHOWN"] == "yes"


def test_what_is_lost_with_the_process_is_fetched_by_another(fetcher, tmp_path: Path) -> None:
    """Whatever ended it: nobody has to do anything, and no file is given up."""
    asked: list[str] = []

    def slow(request: Request, wire: Wire) -> None:
        asked.append(request.target)
        time.sleep(0.3)
        file(CONTENT)(request, wire)

    async def run() -> list[Outcome]:
        fetches = fetcher()
        first = await warmed_up(fetches, cdn, tmp_path)
        fetching = [
            asyncio.create_task(fetches.fetch(cdn.url(f"/slow/{number}"), tmp_path / f"slow{number}", WHOLE))
            for number in range(6)
        ]
        await until(lambda: len(asked) >= 6)
        first.kill()
        outcomes = await asyncio.gather(*fetching)
        (second,) = workers()
        assert second.pid != first.pid
        fetches.close()
        return outcomes

    with Cdn(by_path({f"/slow/{number}": slow for number in range(6)})) as cdn:
        outcomes = asyncio.run(run())

    assert all(isinstance(outcome, Fetched) for outcome in outcomes)
    assert all((tmp_path / f"slow{number}").read_bytes() == CONTENT for number in range(6))


def test_file_that_ends_the_process_takes_no_other_with_it(fetcher, tmp_path: Path) -> None:
    """A decoder that crashes over one video: the others are fetched, and it is known which one that was."""

    def crashing(request: Request, wire: Wire) -> None:
        time.sleep(0.2)
        for worker in workers():
            worker.send_signal(signal.SIGSEGV)
        wire.stall()

    async def run() -> list[Outcome]:
        fetches = fetcher()
        await warmed_up(fetches, cdn, tmp_path)
        paths = ["/good/0", "/crashing", "/good/1", "/good/2"]
        outcomes = await asyncio.gather(
            *(fetches.fetch(cdn.url(path), tmp_path / path.replace("/", "-"), WHOLE) for path in paths)
        )
        outcomes.append(await fetches.fetch(cdn.url("/later"), tmp_path / "later", WHOLE))
        fetches.close()
        return outcomes

    def slow(request: Request, wire: Wire) -> None:
        time.sleep(0.4)
        file(CONTENT)(request, wire)

    with Cdn(by_path({"/crashing": crashing, "/good/0": slow, "/good/1": slow})) as cdn:
        first, bad, *others = asyncio.run(run())

    assert isinstance(bad, Broken)
    assert "SIGSEGV" in bad.reason
    assert all(isinstance(outcome, Fetched) for outcome in (first, *others))


def test_without_a_process_threads_do_it_all(fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be started, or it ends at once."""

    async def run() -> list[Outcome]:
        fetches = fetcher()
        outcomes = [
            await fetches.fetch(cdn.url(f"/{number}"), tmp_path / str(number), WHOLE)
            for number in range(2 * WORKER_FROM)
        ]
        fetches.close()
        return outcomes

    with Cdn(file(CONTENT)) as cdn:
        for executable in ("/bin/false", str(tmp_path / "missing")):
            monkeypatch.setattr(sys, "executable", executable)
            assert all(isinstance(outcome, Fetched) for outcome in asyncio.run(run()))


@pytest.mark.parametrize("trouble", ["another version", "nothing it can do"])
def test_process_that_cannot_do_its_work_is_done_without(
    fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """The program was updated while the run went on: its new parts and the old ones do not go together."""
    if trouble == "another version":
        monkeypatch.setattr(fetchers, "VERSION", "0.0.1")
    else:
        monkeypatch.setattr(fetchers, "Wish", Unknown)

    async def run() -> list[Outcome]:
        fetches = fetcher()
        outcomes = []
        for number in range(3 * WORKER_FROM):
            outcomes.append(await fetches.fetch(cdn.url(f"/{number}"), tmp_path / str(number), WHOLE))
            await asyncio.sleep(0.05)
        fetches.close()
        await until(lambda: not workers())  # one that is still being started ends a little later
        return outcomes

    with Cdn(file(CONTENT)) as cdn:
        assert all(isinstance(outcome, Fetched) for outcome in asyncio.run(run()))


def test_process_starts_whatever_the_time_out_of_new_sockets_is(fetcher, tmp_path: Path) -> None:
    """Who uses the library may have set one for all that their program does."""

    async def run() -> Outcome:
        fetches = fetcher()
        await warmed_up(fetches, cdn, tmp_path)
        await asyncio.sleep(0.2)
        outcome = await fetches.fetch(cdn.url("/after"), tmp_path / "after", WHOLE)
        assert workers()
        fetches.close()
        return outcome

    before = socket.getdefaulttimeout()
    with Cdn(file(CONTENT)) as cdn:
        socket.setdefaulttimeout(30.0)
        try:
            assert isinstance(asyncio.run(run()), Fetched)
        finally:
            socket.setdefaulttimeout(before)


def test_downloads_break_off_where_they_stand(fetcher, tmp_path: Path) -> None:
    """A stop is told to the process as well, and what comes later is not begun."""
    begun: list[str] = []

    def dripping(request: Request, wire: Wire) -> None:
        begun.append(request.target)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while wire.alive:
            wire.send(CONTENT)
            time.sleep(0.01)

    async def run() -> tuple[Outcome, Outcome]:
        fetches = fetcher()
        await warmed_up(fetches, cdn, tmp_path)
        fetching = asyncio.create_task(fetches.fetch(cdn.url("/long"), tmp_path / "long", Expected(check="size")))
        await until(lambda: begun)
        fetches.break_off()
        outcomes = await fetching, await fetches.fetch(cdn.url("/late"), tmp_path / "late", WHOLE)
        fetches.close()
        return outcomes

    with Cdn(by_path({"/long": dripping})) as cdn:
        assert asyncio.run(run()) == (Stopped(), Stopped())
    assert not (tmp_path / "late").exists()


def test_signals_to_the_whole_group_are_not_for_the_process(fetcher, tmp_path: Path) -> None:
    """Ctrl-C lets what is being fetched come to its end, as far as the run allows."""

    async def run() -> Outcome:
        fetches = fetcher()
        worker = await warmed_up(fetches, cdn, tmp_path)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            worker.send_signal(number)
        outcome = await fetches.fetch(cdn.url("/after"), tmp_path / "after", WHOLE)
        assert workers() == [worker]
        fetches.close()
        return outcome

    with Cdn(file(CONTENT)) as cdn:
        assert isinstance(asyncio.run(run()), Fetched)


def test_bug_in_the_process_is_raised_where_the_run_is(fetcher, tmp_path: Path) -> None:
    """With its own traceback: the run ends by it, and run.log has it."""

    async def run() -> None:
        fetches = fetcher()
        await warmed_up(fetches, cdn, tmp_path)
        try:
            await fetches.fetch(cdn.url("/any"), "no path", WHOLE)  # type: ignore[arg-type]
        finally:
            fetches.close()

    with Cdn(file(CONTENT)) as cdn, pytest.raises(FetchBugError, match=r"worker\.py"):
        asyncio.run(run())


def test_process_holds_the_batch_and_ends_with_the_run(tmp_path: Path) -> None:
    """After kill -9 nobody else writes into the batch while the process may, and that is not for long."""
    script = textwrap.dedent(
        """
        import asyncio, os, sys
        from pathlib import Path
        from lipsync_batch import lock
        from lipsync_batch.fetching.fetch import Expected
        from lipsync_batch.runner.fetchers import WORKER_FROM, ProcessFetcher

        async def run(folder, descriptor):
            fetches = ProcessFetcher(4, lock=descriptor, environ=os.environ)
            fetches._begun = WORKER_FROM + 1
            while fetches._ready_worker() is None:
                await asyncio.sleep(0.01)
            print("ready", flush=True)
            await fetches.fetch(sys.argv[2], folder / "long", Expected(check="size"))

        folder = Path(sys.argv[1])
        with lock.held(folder) as descriptor:
            asyncio.run(run(folder, descriptor))
        """
    )

    def endless(_: Request, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        wire.stall()

    with Cdn(endless) as cdn:
        run = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), cdn.url("/long")], stdout=subprocess.PIPE, text=True
        )
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        (worker,) = workers(run.pid)
        worker.suspend()
        run.kill()
        run.communicate()
        assert lock.is_held(tmp_path)

        worker.resume()
        psutil.wait_procs([worker], timeout=PATIENCE)

    assert not worker.is_running()
    assert not lock.is_held(tmp_path)


def test_messages_are_whole_however_they_are_cut() -> None:
    """A socket keeps bytes in order, and nothing else."""
    wishes = [Wish(number, f"https://cdn.example/{number}", Path("x"), WHOLE) for number in range(3)]
    stream = b"".join(map(packed, wishes))
    for size in (1, 3, 4, 5, len(stream)):
        unpacker = Unpacker()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [message for piece in pieces for message in unpacker.feed(piece)] == wishes
