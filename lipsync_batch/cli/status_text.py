"""Standings and histories as people read them in 80 columns, and as JSON documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from lipsync_batch.batch import History, Status
from lipsync_batch.clock import iso
from lipsync_batch.jobs import State, StopReason
from lipsync_batch.report.advice import next_steps
from lipsync_batch.ui import plain

SHOWN_TROUBLES = 5


def status_lines(status: Status) -> Iterator[str]:
    """Where a batch stands, for the terminal."""
    total = sum(status.counts.values())
    yield f"{status.folder}  ({status.batch.manifest})"
    yield f"{status.counts[State.DONE]:,} of {total:,} jobs done" + ("; a run is going on" if status.running else "")
    for state, number in status.counts.items():
        if number and state is not State.DONE:
            yield f"  {number:>9,}  {state}"
    if status.left_behind:
        left = ", ".join(f"{number:,} {state}" for state, number in status.left_behind.items())
        yield f"Of rows that are gone: {left}; `run` collects them, `resolve` looks up what is unclear"
    if status.runs:
        last = status.runs[-1]
        ended = "still going on" if status.running else f"ended {_time(last.ended_at)}: {_ended(status)}"
        yield f"Last run: started {_time(last.started_at)}, {ended}"
    for state, code, number in status.causes[:5]:
        yield f"{number:,} {state}: {code}"
    for job in status.troubled[:SHOWN_TROUBLES]:
        yield plain(f"  {job.key}: {job.error_message}")[:200]
    if (more := status.counts[State.FAILED] + status.counts[State.UNCLEAR] - SHOWN_TROUBLES) > 0:
        yield f"  ... and {more:,} more; the report has them all"
    if not status.running:
        reason = status.runs[-1].stop_reason if status.runs else StopReason.FINISHED
        for step in next_steps(reason, status.counts, status.folder):
            yield f"Next: {step.command}   # {step.text}"


def _ended(status: Status) -> str:
    reason = status.runs[-1].stop_reason
    return StopReason.CRASHED if reason is StopReason.RUNNING else reason


def status_document(status: Status) -> dict[str, Any]:
    """Where a batch stands, as JSON."""
    return {
        "batch_id": status.batch.batch_id,
        "folder": str(status.folder),
        "manifest": status.batch.manifest,
        "running": status.running,
        "counts": status.counts,
        "left_behind": status.left_behind,
        "causes": [{"state": state, "code": code, "jobs": number} for state, code, number in status.causes],
        "runs": [_plain_values(asdict(run)) for run in status.runs],
    }


def history_lines(history: History) -> Iterator[str]:
    """One job's whole history, for the terminal."""
    job = history.job
    yield f"{job.key}: {job.state}"
    facts: Sequence[tuple[str, object]] = (
        ("video", job.video),
        ("speech", job.speech if job.speaker is None else f"{job.speaker}: {job.speech}"),
        ("output", job.output),
        ("labels", ", ".join(f"{name}={value}" for name, value in job.labels.items())),
        ("pair", job.fingerprint),
        ("redone", history.redone_for),
        ("error", job.error_message and f"{job.error_code}: {job.error_message}"),
        ("suspect", job.suspect),
        ("file", job.sha256 and f"{job.bytes:,} bytes, {job.duration_seconds} s, sha256 {job.sha256}"),
    )
    yield from (plain(f"  {name:<8} {value}") for name, value in facts if value)
    for generation in history.generations:
        yield f"  attempt {generation.attempt}: {generation.outcome or 'on its way'}"
        times = (
            ("intended", generation.intended_at),
            ("accepted", generation.accepted_at),
            ("finished", generation.finished_at),
        )
        yield from (f"    {name:<9} {_time(instant)}" for name, instant in times if instant)
        yield f"    request   {generation.client_request_id}"
        if generation.generation_id:
            yield plain(f"    id        {generation.generation_id}")
        if generation.quote is not None:
            yield f"    quoted    {_usd(generation.quote)}"
        if generation.settled is not None:
            yield f"    settled   {_usd(generation.settled)}"
    yield from (f"  stands at {path}" for path in history.outputs)


def history_document(history: History) -> dict[str, Any]:
    """One job's whole history, as JSON."""
    return {
        "job": _plain_values(asdict(history.job)),
        "generations": [_plain_values(asdict(generation)) for generation in history.generations],
        "outputs": [str(path) for path in history.outputs],
        "redone_for": history.redone_for,
    }


def _plain_values(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _usd(micro: int) -> str:
    return f"${micro / 1_000_000:,.2f}"


def _time(instant: datetime | None) -> str:
    return "-" if instant is None else instant.astimezone().strftime("%Y-%m-%d %H:%M:%S")
