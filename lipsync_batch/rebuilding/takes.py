"""Takes that a person had asked for by `redo`: the manifest does not name them, other records do."""

from __future__ import annotations

from dataclasses import replace

from lipsync_batch import inputs
from lipsync_batch.jobs import Pair, Want
from lipsync_batch.store.recovery import Recovery

FOUND = "found when jobs.db was made again"


def find_redone(recovery: Recovery, *, has_journal: bool, has_report: bool, now: str) -> None:
    """Let jobs want the takes that they wanted before, and not again the ones that the manifest names.

    A take is one that was asked for where the journal says so, or a report shows it as what a job wants; where there is
    neither, where the provider made one.
    """
    if not recovery.has_strangers():
        return
    found: list[tuple[Pair, Pair, str]] = []
    for named in recovery.wanted_pairs():
        wanted = named
        for take in _further(named, recovery):
            reason = recovery.redone_for(take.fingerprint)
            asked_for = reason is not None or (has_report and recovery.is_reported(take.fingerprint))
            if asked_for or not (has_journal or has_report):
                found.append((wanted, take, reason or FOUND))
                wanted = take
    for old, new, reason in found:
        recovery.redo(old, new, reason=reason, now=now)


def _further(pair: Pair, recovery: Recovery) -> list[Pair]:
    """The next takes of a pair, one after the other, as far as anything is told of them."""
    takes: list[Pair] = []
    want = Want(video=pair.video, speech=pair.speech, take=pair.take, model=pair.model)
    while True:
        want = replace(want, take=want.take + 1)
        fingerprint = inputs.fingerprint(want, video_sha256=pair.video_sha256, audio_sha256=pair.audio_sha256)
        if not recovery.knows(fingerprint):
            return takes
        takes.append(replace(pair, take=want.take, fingerprint=fingerprint))
