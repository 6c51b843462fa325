"""What a person must be asked before a new jobs.db is trusted: each question is one about money."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lipsync_batch.errors import ActionNeededError
from lipsync_batch.rebuilding.journal import Journal
from lipsync_batch.store.known import Candidate

SHOWN_CANDIDATES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What a person wants of one rebuilding."""

    sources: Sequence[Path] = ()
    """Copies of run.log, report.json or jobs.db, besides those that are in the batch folder."""
    batch_id: str | None = None
    """Which batch it was, where no file says so."""
    yes: bool = False
    """Every question is answered with yes, but for one that has several answers."""
    confirm: Callable[[str], bool] | None = field(default=None, repr=False)
    """Asks a person; None where nobody can be asked."""

    def must_agree(self, question: str, error: str) -> None:
        """ActionNeededError where nobody says yes."""
        if self.yes or (self.confirm is not None and self.confirm(question)):
            return
        raise ActionNeededError(f"{error}. Nothing was changed", hint="If it is so: the same command with --yes.")


def which_batch(candidates: Sequence[Candidate], wishes: Wishes, *, denied: str | None) -> str:
    """The id of the batch that the provider's log names, where no file of ours does."""
    if not candidates:
        why = f"cannot be read ({denied})" if denied else "names none of the manifest's pairs"
        raise ActionNeededError(
            f"there is neither a run.log nor a report.json, nor a copy of jobs.db, and the provider's log {why}: "
            "there is nothing to make jobs.db from",
            hint="Name a copy of one with --from. Generations that still run may not be in the log yet: try again "
            "in an hour. If it was never run, `lipsync-batch run` begins it, and pays.",
        )
    shown = "; ".join(map(_described, candidates[:SHOWN_CANDIDATES]))
    if len(candidates) > 1:
        raise ActionNeededError(
            f"the provider's log names several batches with pairs of this manifest: {shown}",
            hint=f"Say which one it was: --batch-id {candidates[0].batch_id}",
        )
    wishes.must_agree(
        f"The provider's log names one batch with pairs of this manifest: {shown}. Is it this one?",
        f"no file says which batch it was; the provider's log names {shown}",
    )
    return candidates[0].batch_id


def may_pay_again(
    wishes: Wishes,
    *,
    unsubmitted: int,
    ends: str | None,
    own: Journal | None,
    not_in_log: int,
    denied: str | None,
) -> None:
    """Ask where submits may be known to nobody: absence from the provider's log proves nothing.

    Only the run.log that the lost jobs.db was written with names all of them (`own`), and only if it is whole. `ends`
    is the last instant that any copy tells of.
    """
    if not unsubmitted:
        return
    if own is not None and not own.reaches_back:
        why = "run.log does not reach back to the beginning of the batch"
    elif own is not None and own.is_torn:
        why = "run.log ends in the middle of a line: what came after that is lost"
    elif own is not None and not_in_log:
        why = f"run.log does not know {not_in_log:,} submits that other records tell of: it is not the newest one"
    elif own is not None:
        return
    elif ends is not None:
        why = f"all that is left of run.log and jobs.db is a copy that ends at {ends}"
    else:
        why = "there is no run.log"
    if denied is not None:
        why += ", and the provider's log cannot be read"
    wishes.must_agree(
        f"{why[0].upper()}{why[1:]}. {unsubmitted:,} pairs of which no record says that they were submitted are "
        "left for the next run to pay for. One that still runs may be among them, since the provider's log "
        "lags: an hour from now it will not. Go on?",
        f"{why}, so {unsubmitted:,} pairs of which no record says that they were submitted may be paid for "
        "already; an hour after the last submit the provider's log should name all that it took",
    )


def _described(candidate: Candidate) -> str:
    return (
        f"{candidate.batch_id} ({candidate.generations:,} generations from {candidate.first[:10]} "
        f"to {candidate.last[:10]}, {candidate.pairs:,} pairs of this manifest)"
    )
