"""The live view: what a person at a terminal sees, whatever the size of that."""

from __future__ import annotations

import io
import re
import threading

import pytest
from rich.cells import cell_len

from lipsync_batch.events import Moved, Pulse, RateRefused, RunEnded, RunStarted, Stopping
from lipsync_batch.jobs import State, StopReason
from lipsync_batch.ui import live_view
from lipsync_batch.ui.lines import PlainView, view
from lipsync_batch.ui.live_view import SHOW_CURSOR, LiveView

PAIRS = dict.fromkeys(State, 0) | {State.PENDING: 180, State.DONE: 20}
STARTED = RunStarted(batch_id="b1", resumed=True, folder="/out", jobs=200, pairs=PAIRS)
PULSE = Pulse(requests=100, allowed_per_second=2.5, slots=20, spent=4_800_000, budget=60_000_000)
PATIENCE = 5.0
"""Seconds after which something counts as never."""
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


class Watched(Terminal):
    """Says when it was given certain words."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self.shown = {word: threading.Event() for word in words}

    def write(self, text: str) -> int:
        written = super().write(text)
        for word, shown in self.shown.items():
            if word in ANSI.sub("", text):
                shown.set()
        return written


class Halted(Terminal):
    """Takes nothing until it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.met, self.goes_on = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.met.set()
        self.goes_on.wait()
        return super().write(text)


def failed(name: str) -> Moved:
    facts = {"code": "provider_error", "message": "No face found in the video of 日本語の長い名前"}
    return Moved(name=name, pair="v1:ab", old=State.SUBMITTED, new=State.FAILED, **facts)


@pytest.fixture
def drawn() -> LiveView:
    """A run that is some way along, with problems; not drawn yet."""
    live = LiveView(Terminal())
    live._tally.listen(STARTED)
    for number in range(30):
        for old, new in ((State.PENDING, State.SUBMITTING), (State.SUBMITTING, State.SUBMITTED)):
            live._tally.listen(Moved(name=f"job-{number}", pair="v1:ab", old=old, new=new))
    for number in range(6):
        live._tally.listen(failed(f"de/clip-{number}"))
    live._tally.listen(RateRefused(what="poll", pause=1.0))
    live._tally.listen(PULSE)
    return live


@pytest.mark.parametrize("width", [20, 40, 79, 200])
def test_view_fits_every_width_and_says_it_all(drawn: LiveView, width: int) -> None:
    """A tmux pane of 40 columns shows the same figures, below each other instead of beside each other."""
    lines = [ANSI.sub("", line) for line in drawn.lines(width)]

    assert all(cell_len(line) <= width for line in lines)
    text = "\n".join(lines)
    for figure in ("20/200 done", "6 failed", "24 of 20 in flight", "1 refused", "MB/s", "$4.80", "$60.00"):
        assert figure in text or width < 40
    assert len([line for line in lines if line.startswith("  ")]) == 4, "the last problems"


def test_view_stands_in_80_by_24(drawn: LiveView) -> None:
    """Nothing of it scrolls away on the smallest usual terminal."""
    assert len(drawn.lines(79)) <= 10


def test_colours_are_left_out_where_they_are_not_wanted(drawn: LiveView, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://no-color.org; done, failed and left differ by their characters as well."""
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = "".join(drawn.lines(79))
    monkeypatch.setenv("NO_COLOR", "1")
    plain = drawn.lines(79)

    assert "\x1b[32m" in coloured
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", "".join(plain))
    assert {"━", "x", "─"} <= set(ANSI.sub("", plain[0]))


def test_line_that_is_said_stays_above_and_the_cursor_comes_back() -> None:
    """A warning in the middle of a run is not painted over, and the shell is usable afterwards."""
    terminal = Terminal()
    live = LiveView(terminal)

    live.listen(STARTED)
    live.say("Warning: the log cannot be read")
    live.listen(RunEnded(stop_reason=StopReason.FINISHED, exit_code=0, jobs=PAIRS))

    text = terminal.getvalue()
    assert "Warning: the log cannot be read\n" in text
    assert "20/200 done" in text[text.index("Warning") :], "and the view is drawn again below it"
    assert text.endswith(SHOW_CURSOR)


def test_stop_is_drawn_at_once(drawn: LiveView, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who pressed Ctrl-C must see that it was heard, and what a second one does."""
    monkeypatch.setattr(live_view, "REFRESH", 600.0)
    terminal = drawn._stream = Watched("20/200 done", "once more to end at once")
    drawn.start()
    assert terminal.shown["20/200 done"].wait(PATIENCE)

    message = "recording the answers on the wire; once more to end at once"
    drawn.listen(Stopping(reason=StopReason.INTERRUPTED, message=message))

    assert terminal.shown["once more to end at once"].wait(PATIENCE)
    drawn.stop()
    assert f"stopping: {message}" in ANSI.sub("", terminal.getvalue())


def test_terminal_that_takes_nothing_holds_no_lane_up() -> None:
    """Ctrl-S, or a connection that is gone: what the run does goes on, and is shown afterwards."""
    terminal = Halted()
    live = LiveView(terminal)
    live.listen(STARTED)
    assert terminal.met.wait(PATIENCE)

    events = [failed("clip"), PULSE, Stopping(reason=StopReason.INTERRUPTED, message="stopped")]
    telling = threading.Thread(target=lambda: list(map(live.listen, events)), daemon=True)
    telling.start()
    telling.join(PATIENCE)
    is_held_up = telling.is_alive()
    terminal.goes_on.set()
    live.stop()

    assert not is_held_up


def test_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor's shell window cannot move its cursor."""
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()

    with view(events=False, quiet=False, verbose=False, clock=None, stderr=terminal) as shown:  # type: ignore[arg-type]
        for listen in shown.listeners:
            listen(STARTED)

    assert "\x1b" not in terminal.getvalue()
    assert "20/200 done" in terminal.getvalue()


def test_many_problems_of_one_cause_are_gathered() -> None:
    """500 failures of one cause are five lines in cron's mail, not 500; another cause is said at once."""
    stream = io.StringIO()
    plain = PlainView(stream, quiet=True, verbose=False)

    plain.listen(STARTED)
    for number in range(500):
        plain.listen(failed(f"job-{number}"))
    plain.listen(
        Moved(name="x", pair="v1:cd", old=State.SUBMITTED, new=State.FAILED, code="lost", message="unknown id")
    )
    plain.listen(RunEnded(stop_reason=StopReason.FINISHED, exit_code=1, jobs=PAIRS))

    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert "x: failed (lost): unknown id" in lines[3]
    assert lines[4].endswith("... and 497 more: failed (provider_error)")
