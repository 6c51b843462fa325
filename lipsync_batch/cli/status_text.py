"""Standings and histories as people read them in 80 columns, and as JSON documents."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from lipsync_batch.batch import History, Status
from lipsync_batch.clock import iso
from lipsync_batch.jobs import State, StopReason
from lipsync_batch.report.advice import Step, by_hand, command, next_steps
from lipsync_batch.report.figures import counted, dollars
from lipsync_batch.store.remedy_reads import Price
from lipsync_batch.ui.lines import plain

SHOWN_TROUBLES = 5


def status_lines(status: Status) -> Iterator[str]:
    """Where a batch stands, for the terminal."""
    total = sum(status.counts.values())
    chosen = "" if status.selection.is_all else f", {status.selection}"
    yield plain(f"{status.folder}  ({status.batch.manifest}{chosen})")
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
    if costs := status.costs.known():
        yield "Cost: " + ", ".join(f"{dollars(micro)} {name}" for name, micro in costs.items())
    yield from _price_lines(status)
    for step in _steps(status):
        yield f"Next: {step.command}   # {step.text}"


def _steps(status: Status) -> Sequence[Step]:
    """What goes on with the batch; nothing while a run is at it."""
    if status.running:
        return []
    reason = StopReason(_ended(status)) if status.runs else StopReason.FINISHED
    steps = next_steps(reason, status.counts, status.folder)
    where = "".join(f" --where {shlex.quote(f'{label}={value}')}" for label, value in status.selection.where.items())
    return [step if " resolve " in step.command else replace(step, command=step.command + where) for step in steps]


def _price_lines(status: Status) -> Iterator[str]:
    """What each verb would cost, where it has anything to do."""
    retry, prices = status.retry, []
    if status.to_submit.pairs:
        prices.append(("run", f"{counted(status.to_submit.pairs, 'video')} to pay for, {_about(status.to_submit)}"))
    if retry.polled:
        prices.append(("retry", f"{retry.polled:,} polled again, for nothing"))
    if retry.submitted.pairs:
        prices.append(("retry", f"{retry.submitted.pairs:,} submitted again, {_about(retry.submitted)}"))
    if retry.held.pairs:
        prices.append(("retry KEY --pay-again", f"{retry.held.pairs:,} perhaps paid for before, {_about(retry.held)}"))
    if status.resubmit.pairs:
        again = f"{status.resubmit.pairs:,}, {_about(status.resubmit)}; may be paid for twice"
        prices.append(("resolve KEY --resubmit", again))
    if status.redo.pairs and (each := _each(status.redo)) is not None:
        prices.append(("redo KEY", f"about {dollars(each)} a video"))
    yield from (
        f"  {'would cost:' if not number else '':<11} {verb:<22} {text}" for number, (verb, text) in enumerate(prices)
    )


def _about(price: Price) -> str:
    return "at an unknown price" if price.estimated is None else f"about {dollars(price.estimated)}"


def _each(price: Price) -> int | None:
    return None if price.estimated is None else price.estimated // price.pairs


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
        "selection": asdict(status.selection),
        "counts": status.counts,
        "cost_micro_usd": asdict(status.costs),
        "would_cost": {
            "run": asdict(status.to_submit),
            "retry": asdict(status.retry),
            "resubmit": asdict(status.resubmit),
            "redo": asdict(status.redo),
        },
        "left_behind": status.left_behind,
        "causes": [{"state": state, "code": code, "jobs": number} for state, code, number in status.causes],
        "troubled": [
            {"key": job.key, "state": job.state, "code": job.error_code, "message": job.error_message}
            for job in status.troubled
        ],
        "runs": [_plain_values(asdict(run)) for run in status.runs],
        "next": [asdict(step) for step in _steps(status)],
    }


def history_lines(history: History, folder: Path) -> Iterator[str]:
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
            yield f"    quoted    {dollars(generation.quote)}"
        if generation.settled is not None:
            yield f"    settled   {dollars(generation.settled)}"
    yield from (f"  stands at {path}" for path in history.outputs)
    for step in _steps_of(history, folder):
        yield plain(f"Next: {step.command}   # {step.text}")


def _steps_of(history: History, folder: Path) -> Sequence[Step]:
    """What can be done with one job, and what that would cost."""
    job, key = history.job, shlex.quote(history.job.key)
    about = "" if job.estimated is None else f", about {dollars(job.estimated)}"
    match job.state, history.retried_as:
        case State.DONE, _:
            text = f"another take, where it came out badly{about}"
            return [Step(text=text, command=command("redo", folder, key, "--reason WHY"))]
        case State.FAILED, State.SUBMITTED:
            return [Step(text="asks for it again, for nothing", command=command("retry", folder, key))]
        case State.FAILED, State.PENDING:
            return [Step(text=f"submits it again{about}; it was not charged", command=command("retry", folder, key))]
        case State.FAILED, _:
            text = f"pays for it again{about}"
            return [Step(text=text, command=command("retry", folder, key, "--pay-again"))]
        case State.UNCLEAR, _:
            steps = by_hand(folder)
            return [replace(step, command=step.command.replace("KEY", key)) for step in steps]
        case _:
            return [Step(text="goes on with it", command=command("run", folder))]


def history_document(history: History, folder: Path) -> dict[str, Any]:
    """One job's whole history, as JSON."""
    return {
        "job": _plain_values(asdict(history.job)),
        "generations": [_plain_values(asdict(generation)) for generation in history.generations],
        "outputs": [str(path) for path in history.outputs],
        "redone_for": history.redone_for,
        "next": [asdict(step) for step in _steps_of(history, folder)],
    }


def _plain_values(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _time(instant: datetime | None) -> str:
    return "-" if instant is None else instant.astimezone().strftime("%Y-%m-%d %H:%M:%S")
