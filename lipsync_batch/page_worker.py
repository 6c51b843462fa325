"""The process that writes the page while a run goes on: `python -m lipsync_batch.page_worker FOLDER`.

It ends when its standard input does, at once: it never outlives the process that started it. What fails, a full disk
say, is tried again the next time.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from lipsync_batch import location
from lipsync_batch.clock import Clock
from lipsync_batch.errors import LipsyncBatchError
from lipsync_batch.live_page import EVERY
from lipsync_batch.location import Location
from lipsync_batch.looking import looking
from lipsync_batch.report import Posters, write_live_page
from lipsync_batch.runlog import refused_at

SHARE = 6
"""A page that takes long to write is written more seldom: so many times as long passes from one to the next."""
POSTERS_FOR = 20.0
"""Seconds of each round that may go into posters."""


class Writer:
    """Writes the page of one batch again and again."""

    def __init__(self, place: Location) -> None:
        self._place = place
        self._posters = Posters(place.folder.root)
        self.pause = EVERY
        """Seconds from the beginning of one page to that of the next."""

    def write(self) -> None:
        """Posters first, then the page. OSError or LipsyncBatchError where the disk does not let it."""
        with looking(self._place) as store:
            self._posters.make(store.reads.videos(), seconds=POSTERS_FOR)
            begun = time.monotonic()
            write_live_page(
                store.reads,
                self._place.folder.root,
                written_at=Clock().utc(),
                again_after=self.pause,
                posters=self._posters,
                refused_at=refused_at(self._place.folder.state / "run.log"),
            )
        self.pause = max(EVERY, SHARE * (time.monotonic() - begun))


def main() -> None:
    """Write until standard input ends. A signal to the whole group is the other process's to answer."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_input, daemon=True).start()
    os.nice(19)  # whatever else wants the processor has it

    writer = Writer(location.find(Path(sys.argv[1])))
    while True:
        begun = time.monotonic()
        with suppress(OSError, LipsyncBatchError):
            writer.write()
        time.sleep(max(0.0, begun + writer.pause - time.monotonic()))


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
