"""Brings a copy of jobs.db up to date again and again, and breaks each of these updates in its own way.

    python tests/broken_updates.py killed DATABASE FOLDER         at the 1st moment that SQLite gives, the 2nd, …
    python tests/broken_updates.py full DATABASE FOLDER BYTES…    where no file may become longer than that

What each update leaves is in a folder of its own in FOLDER, and how it ended is a line of output: that folder and the
exit code, below zero for the signal that killed it. A process of its own without threads forks them, so that many of
them cost no imports.
"""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lipsync_batch.clock import Clock
from lipsync_batch.errors import LipsyncBatchError
from lipsync_batch.store import Store, connection
from lipsync_batch.store.faults import Connection

MOMENT = 100
"""Instructions of SQLite between two moments: some 40 in all."""


def leave(database: Path, folder: Path, breaking: Callable[[], None]) -> int:
    """Update a copy of the database in a new folder, after `breaking` what must break; the exit code."""
    folder.mkdir(parents=True)
    shutil.copyfile(database, folder / database.name)
    pid = os.fork()
    if not pid:
        os._exit(update(folder / database.name, breaking))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.stdout.write(f"{folder} {code}\n")
    sys.stdout.flush()
    return code


def update(path: Path, breaking: Callable[[], None]) -> int:
    """Open a jobs.db as a run does; the exit code."""
    breaking()
    try:
        Store.open(path, Clock()).close()
    except LipsyncBatchError as error:
        return error.exit_code
    return 0


def die_at(moment: int) -> None:
    """End the process at the n-th of the moments that SQLite gives from now on."""
    moments = itertools.count(1)
    connect = connection.connect

    def die_in_time() -> None:
        if next(moments) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(path: Path | str) -> Connection:
        opened = connect(path)
        opened.set_progress_handler(die_in_time, MOMENT)
        return opened

    connection.connect = watched


def limit_files(size: int) -> None:
    """Let no file of this process become longer than so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def main(how: str, database: str, folder: str, *sizes: str) -> None:
    """As the command line says."""
    if how == "full":
        for size in sizes:
            leave(Path(database), Path(folder, size), partial(limit_files, int(size)))
        return
    for moment in itertools.count(1):
        if leave(Path(database), Path(folder, f"{moment:03}"), partial(die_at, moment)) == 0:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
