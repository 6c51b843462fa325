"""The process that fetches for a run: `python -m lipsync_batch.fetching.worker SOCKET THREADS`.

Requests come in over a socket, outcomes go back over it. It ends when its socket does, at once: what it leaves on disk
then is what a kill leaves, and the next download goes on there. It never outlives the process that started it.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from lipsync_batch.fetching.fetch import Outcome, download_client, fetch
from lipsync_batch.fetching.messages import Answers, BreakOff, Bug, Ready, Unpacker, Wish, packed
from lipsync_batch.version import VERSION

MOST_ANSWERS = 64
"""In a message."""


class Worker:
    """The worker's end of the socket."""

    def __init__(self, wire: socket.socket, threads: int) -> None:
        self._wire = wire
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="download")
        self._client = download_client()
        self._broken_off = threading.Event()
        self._answers: queue.SimpleQueue[tuple[int, Outcome | Bug]] = queue.SimpleQueue()

    def run(self) -> None:
        """Until the socket is closed at the other end."""
        threading.Thread(target=self._answer, daemon=True).start()
        self._wire.sendall(packed(Ready(VERSION)))
        unpacker = Unpacker()
        while piece := self._wire.recv(64 * 1024):
            for message in unpacker.feed(piece):
                if isinstance(message, BreakOff):
                    self._broken_off.set()
                else:
                    self._pool.submit(self._fetch, message)

    def _fetch(self, wish: Wish) -> None:
        outcome: Outcome | Bug
        try:
            outcome = fetch(
                wish.link,
                wish.destination,
                expected=wish.expected,
                stop=self._broken_off.is_set,
                client=self._client,
            )
        except Exception:  # noqa: BLE001 - raised where the run is, which ends by it
            outcome = Bug(traceback.format_exc())
        self._answers.put((wish.number, outcome))

    def _answer(self) -> None:
        """Send what there is, many at once where they come quickly: each message wakes the other process."""
        with _ending_with_it():
            while True:
                answers: Answers = [self._answers.get()]
                while len(answers) < MOST_ANSWERS and not self._answers.empty():
                    answers.append(self._answers.get())
                self._wire.sendall(packed(answers))


def main() -> None:
    """Serve until the socket is closed. A signal to the whole group is the other process's to answer."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

    os.nice(5)  # what keeps the account busy goes first
    descriptor, threads = map(int, sys.argv[1:])
    with _ending_with_it():
        Worker(socket.socket(fileno=descriptor), threads).run()


@contextmanager
def _ending_with_it() -> Iterator[None]:
    """The process ends with what the block does, at once: no thread is waited for."""
    code = 1
    try:
        yield
        code = 0
    except OSError:  # the other process is gone
        code = 0
    except BaseException:  # noqa: BLE001 - told below; the other process goes on without this one
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
