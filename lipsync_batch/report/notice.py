"""What people are told when a run has ended: a subject that says it all, and a body to act by. Pure."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lipsync_batch import exits
from lipsync_batch.errors import LipsyncBatchError
from lipsync_batch.jobs import State, StopReason
from lipsync_batch.masking import mask
from lipsync_batch.report.advice import UNFINISHED

Kind = Literal["success", "warning", "failure"]

LONGEST_TITLE = 200
"""Characters of an error's first line in a subject."""
_KINDS: Mapping[int, Kind] = {exits.DONE: "success", exits.LOOK: "warning", exits.AGAIN: "warning"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """One notification, in plain text."""

    subject: str
    body: str
    kind: Kind


def of_end(
    name: str,
    counts: Mapping[State, int],
    *,
    stop_reason: StopReason,
    exit_code: int,
    summary: str,
    fault: LipsyncBatchError | None = None,
) -> Notice:
    """A run that ended, whatever way. `fault` kept it from submitting; it may name a thousand rows, and is cut.

    >>> of_end("spring", {State.DONE: 498, State.FAILED: 2}, stop_reason=StopReason.FINISHED, exit_code=1,
    ...        summary="").subject
    'spring: 498 of 500 done, 2 failed'
    """
    parts = [f"{counts.get(State.DONE, 0):,} of {sum(counts.values()):,} done"]
    parts += [f"{counts[state]:,} {state}" for state in (State.FAILED, State.UNCLEAR) if counts.get(state)]
    if left := sum(counts.get(state, 0) for state in UNFINISHED):
        parts.append(f"{left:,} left")
    why = "" if stop_reason is StopReason.FINISHED else f" ({stop_reason.replace('_', ' ')})"
    return Notice(
        subject=f"{name}: {', '.join(parts)}{why}",
        body="\n".join([summary, *([f"Error:   {mask(str(fault))}"] if fault else []), _signed(exit_code)]),
        kind=_KINDS.get(exit_code, "failure"),
    )


def of_error(name: str, error: LipsyncBatchError) -> Notice:
    """A run that came to nothing, for a reason that a person can mend."""
    told = mask(str(error))
    title = told.partition("\n")[0][:LONGEST_TITLE]
    hint = f"\nHint: {error.hint}" if error.hint else ""
    return Notice(
        subject=f"{name}: did not start: {title}",
        body=f"Error: {told}{hint}\n{_signed(error.exit_code)}",
        kind=_KINDS.get(error.exit_code, "failure"),
    )


def of_bug(name: str) -> Notice:
    """A run that broke off before its work began, or while its end was being written down."""
    return Notice(
        subject=f"{name}: broke off",
        body="This is a bug in lipsync-batch; what it printed says more. Nothing that was paid for is lost: run the "
        f"same command again.\n{_signed(exits.BUG)}",
        kind="failure",
    )


def of_interrupt(name: str) -> Notice:
    """Ctrl-C before the work began, or while its end was being written down."""
    return Notice(
        subject=f"{name}: interrupted",
        body=f"Nothing that was paid for is lost: run the same command again to go on.\n{_signed(exits.INTERRUPTED)}",
        kind="failure",
    )


def _signed(exit_code: int) -> str:
    return f"Exit:    {exit_code}, on {socket.gethostname()}"
