"""Why a run ended and why jobs stopped, in words, and the commands that go on. Pure.

Nothing here may lead round law 1: a pair that is failed or unclear is never to be submitted again but through the verb
that knows what may be paid for.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lipsync_batch.jobs import State, StopReason
from lipsync_batch.report.figures import counted
from lipsync_batch.report.problems import Problem

UNFINISHED = (State.PENDING, State.SUBMITTING, State.SUBMITTED, State.READY)
"""States that a run moves on by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Something to do, and the command for it."""

    text: str
    command: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """Why jobs stopped, and what to do about it."""

    title: str
    remedy: str
    """Commands between backticks."""


STATE_MEANINGS: Mapping[State, str] = {
    State.PENDING: "waiting; nothing is running, nothing is owed",
    State.SUBMITTING: "on its way to the provider",
    State.SUBMITTED: "the provider is making the video",
    State.READY: "made; the video is not on disk yet",
    State.DONE: "the video is on disk, whole and checked",
    State.FAILED: "stopped, and needs a person",
    State.UNCLEAR: "may have been accepted and charged; looked up, never sent again",
}

CLIENT_MEANINGS: Mapping[State, str] = {
    **dict.fromkeys(STATE_MEANINGS, "not here yet"),
    State.DONE: "here, and plays",
    State.FAILED: "could not be made",
}
"""What a client is told of them."""

STOPS: Mapping[StopReason, str] = {
    StopReason.RUNNING: "A run is going on.",
    StopReason.FINISHED: "The run went to its end.",
    StopReason.DEADLINE: "The run stopped in time for its deadline (--finish-by).",
    StopReason.PATIENCE: "The run ended because the generations that were left did not move any more.",
    StopReason.OUTAGE: "The run ended because the API could not be reached.",
    StopReason.DISK_FULL: "The run stopped because the disk is full, or nearly so.",
    StopReason.DISK_ERROR: "The run stopped because the batch could not be written to disk, or read from it.",
    StopReason.CREDENTIALS: "The run stopped because the API refused the key.",
    StopReason.CREDITS: "The run stopped because the account is out of credits.",
    StopReason.BUDGET: "The run stopped because the budget is used up.",
    StopReason.INTERRUPTED: "The run was interrupted (Ctrl-C). Nothing that was paid for is lost.",
    StopReason.TERMINATED: "The run was told to stop (SIGTERM). Nothing that was paid for is lost.",
    StopReason.CRASHED: "The run broke off without saying why. Nothing that was paid for is lost.",
}
"""Why a run ended, in a sentence."""

_GO_ON: Mapping[StopReason, str] = {
    StopReason.RUNNING: "",
    StopReason.FINISHED: "Make those that were not part of this run",
    StopReason.DEADLINE: "Go on, tonight or now",
    StopReason.PATIENCE: "Ask for them again later; nothing is submitted twice",
    StopReason.OUTAGE: "Go on when the API answers again",
    StopReason.DISK_FULL: "Free some space (512 MiB at the least), then go on",
    StopReason.DISK_ERROR: "Mend what the message above names, then go on",
    StopReason.CREDENTIALS: "Set a valid key (AIMLAPI_API_KEY, or your provider's own), then go on",
    StopReason.CREDITS: "Top up the account, then go on",
    StopReason.BUDGET: "Allow more, then go on",
    StopReason.INTERRUPTED: "Go on where it stopped",
    StopReason.TERMINATED: "Go on where it stopped",
    StopReason.CRASHED: "Go on where it stopped; the end of _batch/run.log may say what happened",
}

_AGAIN = "`retry` fetches it again, for nothing; `retry --pay-again` has a new one made, for its price."

_CAUSES: Mapping[str, Cause] = {
    "too_large": Cause(
        title="The input is too large to be sent",
        remedy="Make the file smaller, or offer it by a link (`media_base_url` in the manifest), then run again.",
    ),
    "forbidden": Cause(
        title="The provider does not allow these",
        remedy="Others were accepted with the same key, so look at the video and the words of these ones.",
    ),
    "lost": Cause(
        title="The provider no longer knows the generation",
        remedy="It may have been charged. `retry` asks for the same generation once more; `retry --pay-again` has "
        "another one made.",
    ),
    "no_link": Cause(
        title="The provider says finished, and not where the video is",
        remedy="It was paid for. `retry` asks for the same generation once more, for nothing.",
    ),
    "link_dead": Cause(title="The provider gives no working link to the video", remedy=f"It was paid for. {_AGAIN}"),
    "download_failed": Cause(title="The video could not be fetched", remedy=f"It was paid for. {_AGAIN}"),
    "bad_file": Cause(title="What the provider made is no usable video", remedy=f"It was paid for. {_AGAIN}"),
    "output_gone": Cause(
        title="The video is gone from this disk and from the provider",
        remedy="It was paid for. Look for a copy of it. `retry --pay-again` has a new one made, for its price.",
    ),
    "output_blocked": Cause(
        title="The video cannot be put in its place",
        remedy="It was paid for. Clear the path that the message names, or give the job another output; then `retry`.",
    ),
    "given_up": Cause(
        title="Nobody knows whether these were accepted, and a person gave them up",
        remedy="They may have been charged. `retry --pay-again` submits them anew.",
    ),
    "interrupted": Cause(
        title="The program ended while these were being submitted",
        remedy="They may have been accepted and charged. `run` and `resolve` look for them in the provider's log, and "
        "send none of them again; `resolve --help` says what a person may decide.",
    ),
}
"""Causes of our own, by code. The provider's are told in its own words."""


def cause_of(problem: Problem) -> Cause:
    """What to say about a group of jobs that stopped for one cause."""
    if known := _CAUSES.get(problem.code):
        return known
    if problem.state is State.UNCLEAR:
        return Cause(
            title=problem.message or "The answer to the submit never came",
            remedy="They may have been accepted and charged. `run` and `resolve` look for them in the provider's log, "
            "and send none of them again; `resolve --help` says what a person may decide.",
        )
    return Cause(
        title=problem.message or "Stopped without a word",
        remedy="If the words point at the video or the speech, mend the row in the manifest and run again. Otherwise "
        "`retry`: it asks for what was paid for, and submits again only what was not charged.",
    )


def command(verb: str, folder: Path, *options: str) -> str:
    """A command line for this batch, to be pasted into a shell."""
    return shlex.join(["lipsync-batch", verb, str(folder)]) + "".join(f" {option}" for option in options)


def next_steps(stop_reason: StopReason, counts: Mapping[State, int], folder: Path) -> list[Step]:
    """What a person does next, the first thing first; empty when nothing is left to do, or a run is at it."""
    if stop_reason is StopReason.RUNNING:
        return []
    return [
        *_run_again(stop_reason, counts, folder),
        *_resolve(counts, folder),
        *_retry(counts, folder),
    ]


def _run_again(stop_reason: StopReason, counts: Mapping[State, int], folder: Path) -> Iterator[Step]:
    """One `run` goes on with what is unfinished, and looks up what is unclear as well."""
    unfinished = sum(counts.get(state, 0) for state in UNFINISHED)
    if unfinished:
        options = ("--budget USD",) if stop_reason is StopReason.BUDGET else ()
        text = f"{_GO_ON[stop_reason]} ({counted(unfinished, 'job')} left)"
        yield Step(text=text, command=command("run", folder, *options))


def _resolve(counts: Mapping[State, int], folder: Path) -> Iterator[Step]:
    if unclear := counts.get(State.UNCLEAR, 0):
        text = f"Look the unclear ones up again ({unclear:,}), and say what else can be done; sends none of them again"
        yield Step(text=text, command=command("resolve", folder))


def by_hand(folder: Path) -> list[Step]:
    """What a person may decide about an unclear job that the provider's log does not name."""
    return [
        Step(text="look once more", command=command("resolve", folder)),
        Step(
            text="the provider's own pages show which generation it is",
            command=command("resolve", folder, "KEY", "--adopt=ID"),
        ),
        Step(
            text="they show none, and you take the risk: it may be paid for twice",
            command=command("resolve", folder, "KEY", "--resubmit"),
        ),
        Step(text="failed, for good", command=command("resolve", folder, "KEY", "--give-up")),
    ]


def _retry(counts: Mapping[State, int], folder: Path) -> Iterator[Step]:
    if failed := counts.get(State.FAILED, 0):
        text = f"Take the failed ones up again ({failed:,}), once their cause is mended"
        yield Step(text=text, command=command("retry", folder))


def standing(counts: Mapping[State, int]) -> str:
    """Where a batch stands, in one sentence without an end: `463 of 480 videos are done, 12 failed, 5 are left`."""
    total, done = sum(counts.values()), counts.get(State.DONE, 0)
    if not total:
        return "There are no jobs"
    if done == total:
        return "The video is done" if total == 1 else f"All {total:,} videos are done"
    failed, unclear = counts.get(State.FAILED, 0), counts.get(State.UNCLEAR, 0)
    left = sum(counts.get(state, 0) for state in UNFINISHED)
    parts = [f"{done:,} of {counted(total, 'video')} {'is' if total == 1 else 'are'} done"]
    parts += [f"{failed:,} failed"] if failed else []
    parts += [f"{unclear:,} {'is' if unclear == 1 else 'are'} unclear"] if unclear else []
    parts += [f"{left:,} {'is' if left == 1 else 'are'} left"] if left else []
    return ", ".join(parts)
