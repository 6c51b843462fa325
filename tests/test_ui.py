"""What a person or a program sees while a run goes on."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

from click.testing import CliRunner

from lipsync_batch.cli import COMMANDS, cli
from lipsync_batch.cli.run import run
from lipsync_batch.clock import Clock
from lipsync_batch.events import Moved, Noticed, RateRefused, RunEnded, RunStarted
from lipsync_batch.jobs import State, StopReason
from lipsync_batch.ui.lines import JsonView, PlainView
from lipsync_batch.ui.tally import Tally, duration

PAIRS = dict.fromkeys(State, 0) | {State.PENDING: 3, State.DONE: 1}
STARTED = RunStarted(batch_id="b1", resumed=True, folder="/out", jobs=4, pairs=PAIRS)


def moved(old: State, new: State, **facts: str) -> Moved:
    return Moved(name="de/intro", pair="v1:ab", old=old, new=new, **facts)


def test_tally_follows_the_moves() -> None:
    """The line says where the run is, and pairs that no job wants are not in it."""
    tally = Tally()
    for event in (
        STARTED,
        moved(State.PENDING, State.SUBMITTING),
        moved(State.SUBMITTING, State.SUBMITTED),
        Moved(name="old", pair="v1:cd", old=State.READY, new=State.DONE, wanted=False),
        RateRefused(what="poll", pause=1.0),
    ):
        tally.listen(event)

    assert tally.line() == "1/4 done, 1 in flight, 1 refused"


def test_problems_are_said_at_once_and_in_one_line() -> None:
    """A provider's words must neither move the cursor nor hide among progress."""
    stream = io.StringIO()
    view = PlainView(stream, quiet=True, verbose=False)

    view.listen(STARTED)
    view.listen(moved(State.SUBMITTING, State.FAILED, code="http_400", message="no\x1b[2J face\nfound"))
    view.listen(Noticed(message="the log cannot be read"))

    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert "de/intro: failed (http_400): no" in lines[0]
    assert "\x1b" not in lines[0]


def test_events_are_json_lines() -> None:
    """`--events` is for programs: an object a line, the kind under `event`."""
    stream = io.StringIO()
    view = JsonView(stream, Clock())

    view.listen(STARTED)
    view.listen(RunEnded(stop_reason=StopReason.FINISHED, exit_code=0, jobs=PAIRS))

    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["run_started", "run_ended"]
    assert events[1]["stop_reason"] == "finished"


def test_durations_read_well() -> None:
    """Nobody counts 12,000 seconds."""
    assert [duration(seconds) for seconds in (5, 720, 12_000)] == ["5 s", "12 min", "3 h 20 min"]


def test_every_command_has_help() -> None:
    """A first line for the list, and options that say what they do."""
    for name in COMMANDS:
        result = CliRunner().invoke(cli, [name, "--help"], prog_name="lipsync-batch")
        assert result.exit_code == 0
        assert "Usage: lipsync-batch" in result.output


def test_help_of_run_begins_with_the_six_options_that_matter_first() -> None:
    """A newcomer reads six lines, not thirty; and no option is lost between the headings."""
    shown = CliRunner().invoke(cli, ["run", "--help"], prog_name="lipsync-batch").output
    blocks = {
        block.splitlines()[0]: re.findall(r"^  (?:-\w, )?--([a-z-]+)", block, re.M) for block in shown.split("\n\n")
    }

    assert blocks["The six that matter first:"] == ["out", "sandbox", "rate", "budget", "finish-by", "where"]
    options = [option for found in blocks.values() for option in found]
    assert sorted(options) == sorted({*options})
    assert {parameter.name for parameter in run.params} - {"batch"} == {
        option.replace("-", "_") for option in options if option != "help"
    }


def test_manifest_where_a_command_should_stand_is_understood(tmp_path: Path) -> None:
    """`lipsync-batch spring.csv` is what one types first."""
    manifest = tmp_path / "spring.csv"
    manifest.write_text("video\n", encoding="utf-8")

    result = CliRunner().invoke(cli, [str(manifest)], prog_name="lipsync-batch")

    assert result.exit_code == 2
    assert f"lipsync-batch run {manifest}" in result.output.replace("\n", "")
