"""The live view: a few lines at the foot of the terminal, drawn in place; what is said stands above them.

rich draws each line. Which lines to take back before the next drawing is decided here: a terminal that was made
narrower has wrapped what was drawn, and only by its new width is known how many rows that takes now.
"""

from __future__ import annotations

import io
import os
import textwrap
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from lipsync_batch.events import Event, RunEnded, RunStarted, Stopping
from lipsync_batch.jobs import State
from lipsync_batch.ui.tally import Tally, duration

REFRESH = 0.25
"""Seconds between two drawings."""
NARROWEST = 20
ERASE_LINE, ERASE_BELOW = "\x1b[2K", "\x1b[J"
"""The first one whole, so that no terminal takes it for the rest of a wrapped line any more. The second one never at
the top of the screen: some terminals then keep what was there as history."""
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class LiveView:
    """Listens to a run and draws it, from its start to its end.

    A thread draws, and the run never waits for it: a terminal that was halted (Ctrl-S) takes nothing for hours.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._tally = Tally()
        self._lock = threading.Lock()
        """Of what is counted."""
        self._terminal = threading.RLock()
        """Of what is drawn. Who waits for an event of the run never waits for this one."""
        self._drawn: Sequence[int] = ()
        """How many cells each line takes that stands there now."""
        self._over = threading.Event()
        self._due = threading.Event()
        """Set where the next drawing shall not wait."""
        self._thread: threading.Thread | None = None

    def listen(self, event: Event) -> None:
        with self._lock:
            self._tally.listen(event)
        if isinstance(event, RunStarted):
            self.start()  # not before: until then there may be questions to answer
        elif isinstance(event, RunEnded):
            self.stop()  # the process may end at once after this, and the terminal needs its cursor back
        elif isinstance(event, Stopping):
            self._due.set()  # who pressed Ctrl-C must see at once that it was heard

    def say(self, line: str) -> None:
        """A line that stays, above what is drawn."""
        with self._terminal:
            self._write(f"{self._to_the_first()}{ERASE_LINE}{line}\n{ERASE_BELOW}")
            self._drawn = ()
            if self._thread is not None:
                self._draw()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._keep_drawing, name="live view", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wipe out what is drawn, and give the cursor back. May be called again."""
        if self._thread is None:
            return
        self._over.set()
        self._due.set()
        self._thread.join()
        self._thread = None
        below = f"\n\r{ERASE_BELOW}\x1b[A" if len(self._drawn) > 1 else ""
        self._write(f"{self._to_the_first()}{ERASE_LINE}{below}{SHOW_CURSOR}")
        self._drawn = ()

    def _keep_drawing(self) -> None:
        self._write(HIDE_CURSOR)
        while not self._over.is_set():
            self._due.clear()
            self._draw()
            self._due.wait(0.0 if self._over.is_set() else REFRESH)

    def _draw(self) -> None:
        with self._terminal:
            if self._over.is_set() or self._thread is None:
                return
            columns, rows = self._size()
            # A cell less than there are: where a full line ends, terminals disagree about the cursor.
            with self._lock:
                lines = self.lines(columns - 1)[: max(1, rows - 1)]
            text = "\n".join(f"{ERASE_LINE}{line}" for line in lines)
            self._write(f"{self._to_the_first()}{text}{ERASE_BELOW}")
            self._drawn = [cell_len(Text.from_ansi(line).plain) for line in lines]

    def _to_the_first(self) -> str:
        """What brings the cursor to the begin of the lines that stand there, as they are wrapped now."""
        if not self._drawn:
            return ""
        columns, _ = self._size()
        rows = sum(max(1, -(-cells // columns)) for cells in self._drawn)
        return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "")

    def _size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return max(NARROWEST, columns), max(2, rows)

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        with suppress(OSError, ValueError):  # whoever watched has gone: the run goes on without them
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()

    def lines(self, width: int) -> list[str]:
        """What is drawn now, each line in at most so many cells."""
        console = Console(file=io.StringIO(), width=width, force_terminal=True, highlight=False, legacy_windows=False)
        with console.capture() as captured:
            for text in (_bar(self._tally, width), *(Text(line, style) for line, style in _texts(self._tally, width))):
                console.print(text, no_wrap=True, overflow="ellipsis")
        return captured.get().splitlines()


def _bar(tally: Tally, width: int) -> Text:
    """Done, failed or unclear, and left; told apart without colours as well."""
    pairs, total = tally.pairs, max(1, tally.total)
    done = width * pairs[State.DONE] // total
    stopped = width * (pairs[State.DONE] + pairs[State.FAILED] + pairs[State.UNCLEAR]) // total - done
    left = "─" * (width - done - stopped)
    return Text.assemble(("━" * done, "green"), ("x" * stopped, "red"), (left, "dim"))


def _texts(tally: Tally, width: int) -> list[tuple[str, str]]:
    """The lines under the bar, each with its style."""
    pairs, pulse = tally.pairs, tally.pulse
    slots = f" of {pulse.slots:,}" if pulse else ""
    progress = [f"{pairs[State.DONE]:,}/{tally.total:,} done"]
    progress += [f"{pairs[state]:,} {state}" for state in (State.FAILED, State.UNCLEAR) if pairs[state]]
    if (pace := tally.per_minute()) is not None:
        progress.append(f"{pace:,.1f} a minute")
    if (eta := tally.eta_seconds()) is not None:
        progress.append(f"about {duration(eta)} left")
    work = [f"{tally.in_flight:,}{slots} in flight", f"{pairs[State.READY]:,} to fetch, {_speed(tally)}"]
    requests = [f"{tally.requests_per_second:.1f} requests/s{_allowed(tally)}"]
    requests.append(f"{tally.refused:,} refused")
    if pulse is not None:
        limit = "" if pulse.budget is None else f" of ${pulse.budget / 1e6:,.2f}"
        requests.append(f"${pulse.spent / 1e6:,.2f}{limit} spent")
    lines = [(line, "") for parts in (progress, work, requests) for line in _filled(parts, width)]
    if tally.stopping:
        lines += [(line, "bold") for line in textwrap.wrap(f"stopping: {tally.stopping}", width)]
    shown = [line for line in tally.problems if not line.startswith("stopping: ")]
    return [*lines, *((f"  {line}", "yellow") for line in shown)]


def _filled(parts: Sequence[str], width: int) -> list[str]:
    """Parts beside each other where they fit, below each other where they do not."""
    lines = [parts[0]]
    for part in parts[1:]:
        if cell_len(lines[-1]) + 3 + cell_len(part) <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return lines


def _speed(tally: Tally) -> str:
    return f"{tally.bytes_per_second / 1e6:.1f} MB/s"


def _allowed(tally: Tally) -> str:
    if tally.pulse is None or tally.pulse.allowed_per_second is None:
        return ""
    return f" of {tally.pulse.allowed_per_second:.1f}"
