"""What a run ends with, as an exit code. Of several that hold, the most urgent one counts."""

from __future__ import annotations

from collections.abc import Mapping

from lipsync_batch.jobs import State, StopReason

DONE = 0
LOOK = 1
MANIFEST = 2
AGAIN = 3
HELD = 4
ACT = 5
BUG = 70
INTERRUPTED = 130
TERMINATED = 143

_OF_REASON = {
    StopReason.INTERRUPTED: INTERRUPTED,
    StopReason.TERMINATED: TERMINATED,
    StopReason.CREDENTIALS: ACT,
    StopReason.CREDITS: ACT,
    StopReason.BUDGET: ACT,
    StopReason.DEADLINE: AGAIN,
    StopReason.OUTAGE: AGAIN,
    StopReason.PATIENCE: AGAIN,
    StopReason.DISK_FULL: AGAIN,
    StopReason.DISK_ERROR: AGAIN,
    StopReason.CRASHED: BUG,
}


def exit_code(reason: StopReason, selected: Mapping[State, int], *, manifest_errors: bool, skipped: int) -> int:
    """`selected` counts the jobs that the run was for, by state; `skipped` those left out as invalid."""
    if reason in (StopReason.INTERRUPTED, StopReason.TERMINATED, StopReason.CRASHED):
        return _OF_REASON[reason]
    if manifest_errors:
        return MANIFEST
    if reason in _OF_REASON:
        return _OF_REASON[reason]
    if any(selected[state] for state in (State.PENDING, State.SUBMITTING, State.SUBMITTED, State.READY)):
        return AGAIN
    if selected[State.FAILED] or selected[State.UNCLEAR] or skipped:
        return LOOK
    return DONE
