"""The closing summary: short, plain, and true for every way a run can end."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from report_factory import FakeSource, failed, make_record, many, source_of, unfinished

from lipsync_batch.cli import COMMANDS
from lipsync_batch.jobs import Costs, State, StopReason
from lipsync_batch.report import advice, summary

FOLDER = Path("out/spring launch")


def commands(text: str) -> list[str]:
    """The verbs of all commands that a summary names."""
    return [part.split()[0] for part in text.split("lipsync-batch ")[1:]]


@pytest.mark.parametrize("stop_reason", list(StopReason))
@pytest.mark.parametrize("states", [(), *((state,) for state in State), tuple(State)], ids="+".join)
def test_summary_is_short_and_its_commands_exist(stop_reason: StopReason, states: tuple[State, ...]) -> None:
    """Whatever happened, the last lines fit the screen and name commands that can be typed."""
    records = [
        unfinished(number, state, error_code=f"code-{number}", error_message="m")
        for number, (state, _) in enumerate(itertools.product(states, range(6)))
    ]

    text = summary(source_of(*records), FOLDER, stop_reason=stop_reason)

    assert len(text.splitlines()) <= 12
    assert set(commands(text)) <= set(COMMANDS)
    assert advice.STOPS[stop_reason] in text


def test_finished_batch_needs_nothing() -> None:
    """A good night is told in a few lines that say where the videos are."""
    text = summary(many(3), FOLDER, stop_reason=StopReason.FINISHED)

    assert text.splitlines() == [
        "All 3 videos are done. The run went to its end.",
        "Cost:    $0.48 settled, $1.00 quoted, $0.40 estimated",
        "Videos:  out/spring launch",
        "Report:  out/spring launch/report.html (and .csv, .json)",
    ]


def test_jobs_are_read_only_where_something_went_wrong() -> None:
    """A million finished jobs are not read once more for nothing."""
    source = FakeSource(make=lambda: pytest.fail("the jobs were read"))
    source.counts = lambda: {State.DONE: 1_000_000}  # type: ignore[method-assign]  # a store counts by itself

    assert summary(source, FOLDER, stop_reason=StopReason.FINISHED).startswith("All 1,000,000 videos are done")


def test_failures_are_told_by_cause_the_most_frequent_first() -> None:
    """Eight jobs with one cause are one thing to mend, not eight."""
    records = [failed(number, "GenerationError", "No face found") for number in range(8)]
    records += [
        failed(8, "lost", "unknown id"),
        unfinished(9, State.UNCLEAR, error_code="no_answer", error_message="-"),
    ]

    lines = summary(source_of(*records, make_record(10)), FOLDER, stop_reason=StopReason.FINISHED).splitlines()

    assert lines[0].startswith("1 of 11 videos are done, 9 failed, 1 is unclear.")
    assert lines[4] == "Causes:  8 failed: No face found (GenerationError)"
    assert any("The provider no longer knows the generation (lost)" in line for line in lines)


def test_more_causes_than_lines_are_counted() -> None:
    """What is not shown is said to be missing."""
    records = [failed(number, f"code-{number}", "m") for number in range(7)]

    text = summary(source_of(*records), FOLDER, stop_reason=StopReason.FINISHED)

    assert "4 jobs for other causes; the report has them all" in text


def test_command_can_be_pasted() -> None:
    """A folder with a blank in its name is one argument."""
    text = summary(source_of(failed()), FOLDER, stop_reason=StopReason.FINISHED)

    assert "lipsync-batch retry 'out/spring launch'" in text


@pytest.mark.parametrize(
    ("stop_reason", "words"),
    [
        (StopReason.CREDENTIALS, "AIMLAPI_API_KEY"),
        (StopReason.CREDITS, "Top up"),
        (StopReason.BUDGET, "--budget USD"),
        (StopReason.DISK_FULL, "512 MiB"),
        (StopReason.DEADLINE, "Go on"),
    ],
)
def test_stopped_run_says_what_must_be_done_first(stop_reason: StopReason, words: str) -> None:
    """A cron mail at 06:00 is enough to know what to do at 09:00."""
    assert words in summary(source_of(unfinished()), FOLDER, stop_reason=stop_reason)


def test_unclear_jobs_are_never_told_to_be_sent_again() -> None:
    """Law 1 holds for words as well: what may have been paid for is looked up, not tried again."""
    text = summary(source_of(unfinished(0, State.UNCLEAR)), FOLDER, stop_reason=StopReason.FINISHED)

    assert commands(text) == ["resolve"]
    assert "sends none of them again" in text
    assert "retry" not in text


def test_running_batch_names_no_command() -> None:
    """Another run would only be told that this one holds the batch."""
    assert advice.next_steps(StopReason.RUNNING, {State.PENDING: 3, State.FAILED: 1}, FOLDER) == []


def test_unknown_cost_is_said_to_be_unknown() -> None:
    """No figure is better than a zero that looks like one."""
    assert "Cost:    unknown" in summary(source_of(spent=Costs()), FOLDER, stop_reason=StopReason.FINISHED)


def test_providers_words_cannot_write_on_the_terminal() -> None:
    """An error message with control characters moves no cursor and colours nothing."""
    text = summary(
        source_of(failed(message="\x1b[2J\x1b[31mred\nnext line\u202e", code="\x07bell")),
        FOLDER,
        stop_reason=StopReason.FINISHED,
    )

    assert all(character.isprintable() or character == "\n" for character in text)
    assert "[2J [31mred next line (bell)" in text


def test_every_state_and_every_stop_is_put_into_words() -> None:
    """A new one is given its words before it is given to users."""
    assert set(advice.STOPS) == set(StopReason)
    assert set(advice.STATE_MEANINGS) == set(State)
    for stop_reason in StopReason:
        advice.next_steps(stop_reason, dict.fromkeys(State, 1), FOLDER)
