"""What people do by hand to jobs that failed, or that came out badly: retry and redo.

Nothing here submits. Each verb leaves pairs where the next run takes them up; what may cost money a second time happens
only where its name says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lipsync_batch import inputs
from lipsync_batch.errors import UsageError
from lipsync_batch.events import Moved
from lipsync_batch.jobs import Pair, State, Want
from lipsync_batch.runlog import RunLog
from lipsync_batch.store import Store
from lipsync_batch.store.remedy_reads import Wanted


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """What `retry` did with failed pairs."""

    polled: int = 0
    resubmitted: int = 0
    """Those that cost nothing before."""
    paid_again: int = 0
    """Those on which money may have been spent before."""
    left: Sequence[str] = ()
    """Keys of those that only `--pay-again` would take up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Redone:
    """What `redo` did."""

    keys: Sequence[str]
    """Of all jobs that get another video: those that share a pair share the new one."""
    pairs: int
    cost: int | None
    """What it should cost, in micro-USD; None where no price is known."""


async def retry(
    store: Store, log: RunLog, keys: Sequence[str] = (), *, pay_again: bool = False, selected: bool = False
) -> Again:
    """Move failed pairs back to where they can go on from: polled again if they have an id, else pending.

    With `pay_again` all of them are submitted anew, whatever may have been spent on them; with `selected` only those
    that the run is for are meant.
    """
    failed = store.reads.retryable(keys, selected=selected)
    with store.writing(log.durable) as ledger:
        for fingerprint, name, new in failed:
            if pay_again:
                await ledger.pay_again(fingerprint)
            elif new is not None:
                await ledger.retry(fingerprint)
            if pay_again or new is not None:
                log.listen(
                    Moved(
                        name=name,
                        pair=fingerprint,
                        old=State.FAILED,
                        new=State.PENDING if pay_again or new is None else new,
                    )
                )
    found = [new for _, _, new in failed]
    if pay_again:
        free = found.count(State.PENDING)
        return Again(resubmitted=free, paid_again=len(found) - free)
    return Again(
        polled=found.count(State.SUBMITTED),
        resubmitted=found.count(State.PENDING),
        left=[name for _, name, new in failed if new is None],
    )


async def redo(store: Store, log: RunLog, keys: Sequence[str], *, reason: str) -> Redone:
    """Want another take of finished pairs. UsageError, and nothing changed, if one of them is not finished."""
    chosen = store.reads.wanted_by(keys)
    for wanted in chosen:
        if wanted.state is not State.DONE:
            raise _not_finished(wanted)
    with store.writing(log.durable) as ledger:
        for wanted in chosen:
            another = _another_take(store, wanted.pair)
            await ledger.redo(wanted.pair.fingerprint, another, reason=reason)
            log.listen(
                Moved(
                    name=wanted.keys[0],
                    pair=another.fingerprint,
                    old=State.DONE,
                    new=State.PENDING,
                    message=f"redo: {reason}",
                )
            )
    estimates = [wanted.estimate for wanted in chosen]
    known = [estimate for estimate in estimates if estimate is not None]
    return Redone(
        keys=[key for wanted in chosen for key in wanted.keys],
        pairs=len(chosen),
        cost=sum(known) if len(known) == len(estimates) else None,
    )


def _another_take(store: Store, pair: Pair) -> Pair:
    """The same pair with the next take that was never made."""
    want = Want(video=pair.video, speech=pair.speech, take=pair.take, model=pair.model)
    while True:
        want = replace(want, take=want.take + 1)
        fingerprint = inputs.fingerprint(want, video_sha256=pair.video_sha256, audio_sha256=pair.audio_sha256)
        if not store.reads.has_pair(fingerprint):
            return replace(pair, take=want.take, fingerprint=fingerprint)


def _not_finished(wanted: Wanted) -> UsageError:
    remedy = {
        State.FAILED: "A failed one is taken up by `retry`; with --pay-again where money may have been spent.",
        State.UNCLEAR: "An unclear one is looked up by `resolve`.",
    }
    return UsageError(
        f"{wanted.keys[0]} is {wanted.state}: only a finished video can be made once more. Nothing was changed",
        hint=remedy.get(wanted.state, "`run` finishes it."),
    )
