"""`status --watch`: a standing that is shown anew until the run ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from rich.cells import cell_len, set_cell_size

from lipsync_batch.batch import Status
from lipsync_batch.cli.status_text import status_lines
from lipsync_batch.report.advice import standing

SECONDS = 2.0
"""Between two looks."""
OTHER_SCREEN, FIRST_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""What stood on the terminal before comes back at the end."""
HOME, ERASE_LINE, ERASE_BELOW = "\x1b[H", "\x1b[2K", "\x1b[J"


def watched(look: Callable[[], Status], stream: TextIO, *, sleep: Callable[[float], None] = time.sleep) -> Status:
    """Show a standing until no run holds the batch, or Ctrl-C; the last one, which is still to be told.

    On a terminal it is drawn in place; elsewhere each change is a line.
    """
    status = look()
    with suppress(KeyboardInterrupt):
        if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            with _screen(stream):
                while status.running:
                    _draw(status, stream)
                    sleep(SECONDS)
                    status = look()
        else:
            said = ""
            while status.running:
                if (line := standing(status.counts)) != said:
                    print(f"{time.strftime('%H:%M:%S')} {line}", file=stream, flush=True)
                    said = line
                sleep(SECONDS)
                status = look()
    return status


@contextmanager
def _screen(stream: TextIO) -> Iterator[None]:
    stream.write(OTHER_SCREEN)
    try:
        yield
    finally:
        stream.write(FIRST_SCREEN)
        stream.flush()


def _draw(status: Status, stream: TextIO) -> None:
    columns, rows = os.get_terminal_size(stream.fileno())
    lines = [*list(status_lines(status))[: rows - 3], "", "Ctrl-C leaves; the run goes on."]
    cut = [line if cell_len(line) < columns else set_cell_size(line, columns - 1) for line in lines]
    stream.write(HOME + "\n".join(f"{ERASE_LINE}{line}" for line in cut) + ERASE_BELOW)
    stream.flush()
