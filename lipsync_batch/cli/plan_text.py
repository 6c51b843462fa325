"""A plan as people read it in 80 columns, and as a JSON document."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from lipsync_batch.cli.tables import table
from lipsync_batch.clock import iso
from lipsync_batch.estimate import Estimate, Origin
from lipsync_batch.jobs import Selection
from lipsync_batch.location import Location
from lipsync_batch.plan import Part, Plan
from lipsync_batch.report.figures import counted, dollars
from lipsync_batch.store.remedy_reads import RetryPrice
from lipsync_batch.store.staging import PAID, Change, Reason
from lipsync_batch.ui.lines import duration, plain

SHOWN_VALUES = 40
"""Of the label that was asked for; the document has more."""
_CHANGES = {
    Change.NEW: "to be submitted",
    Change.CHANGED: "another video is wanted under the same key",
    Change.WAITING: "known, not submitted yet",
    Change.RESUMING: "at the provider or finished there; fetched for nothing",
    Change.DONE: "nothing to do",
    Change.FAILED: "stay so until `retry`",
    Change.UNCLEAR: "may have been accepted; looked up, never sent again",
    Change.REMOVED: "no longer in the manifest; what was paid for is kept",
}
_TIMES = {
    Origin.GIVEN: "--typical-seconds",
    Origin.LEARNED: "learned in this account's runs",
    Origin.BATCH: "as those of this batch took",
    Origin.DEFAULT: "a first guess; runs learn it",
}
_LEARNED = {Origin.GIVEN: "", Origin.DEFAULT: "", Origin.LEARNED: ", learned in this account's runs"}


def plan_lines(
    plan: Plan,
    place: Location,
    selection: Selection,
    *,
    by: str | None,
    width: int,
    now: datetime,
    command: Sequence[str],
) -> Iterator[str]:
    """A plan for the terminal. `command` is the run that would carry it out."""
    jobs = counted(plan.jobs, "job")
    which = jobs if selection.is_all else plain(f"{plan.selected:,} of {jobs} ({selection})")
    yield f"{'RESUMED' if place.exists else 'NEW'} {place.folder.root}: {which}"
    for change, number in plan.changes.items():
        if number:
            yield f"  {number:>9,}  {change:<9} {_CHANGES[change]}"
            yield from _named(change, plan)
    if by is not None:
        yield ""
        yield from _by_lines(plan, by, width)
    yield ""
    if (retried := plan.retried) != RetryPrice():
        held = f"; {retried.held.pairs:,} only by `retry --pay-again`" if retried.held.pairs else ""
        yield f"Retried:    {retried.polled:,} polled again, {retried.submitted.pairs:,} submitted again{held}"
    yield from _cost_lines(plan)
    yield from _time_lines(plan, now)
    if plan.remade:
        yield f"Made anew:  {plan.remade:,} of {plan.finished:,} finished videos; the old ones are kept aside"
    if plan.leftovers:
        yield plain(f"Lost?       There is no jobs.db, but {plan.leftovers}")
        yield f"            If it was run before: lipsync-batch rebuild {place.named}"
    yield from (plain(f"Warning: {warning}") for warning in plan.warnings)
    if plan.warning_count > len(plan.warnings):
        yield f"Warning: ... and {plan.warning_count - len(plan.warnings):,} more"
    yield from (plain(f"Skipped: {problem}") for problem in plan.problems)
    yield f"Next:       {shlex.join(command)}"


def _named(change: Change, plan: Plan) -> Iterator[str]:
    """The first jobs by name, where their number alone says too little."""
    if change is Change.CHANGED:
        yield from (f"{'':13}{_reason(reason)}" for reason in plan.changed)
    elif change is Change.REMOVED:
        yield f"{'':13}{_keys(plan.removed, plan.changes[change])}"


def _reason(reason: Reason) -> str:
    inputs = " and ".join(reason.inputs) or "nothing that is known"
    return f"{reason.jobs:,} in {inputs}: {_keys(reason.keys, reason.jobs)}"


def _keys(keys: Sequence[str], number: int) -> str:
    return plain(", ".join(keys)) + (", ..." if number > len(keys) else "")


def _by_lines(plan: Plan, label: str, width: int) -> Iterator[str]:
    shown = dict(list(plan.by.items())[:SHOWN_VALUES])
    named = [change for change in Change if any(part.changes[change] for part in shown.values())]
    rows = {plain(value) or "-": _cells(part, named, priced=plan.cost is not None) for value, part in shown.items()}
    costs = ["to pay", "cost"] if plan.cost is not None else ["to pay"]
    yield from table(plain(label), [*named, *costs], rows, most=width)
    if (more := len(plan.by) - len(shown) + plan.more_values) > 0:
        yield f"... and {more:,} more values of {plain(label)}"


def _cells(part: Part, named: Sequence[Change], *, priced: bool) -> list[str]:
    cells = [f"{part.changes[change]:,}" for change in named]
    return [*cells, f"{part.paid_pairs:,}", *([dollars(part.cost)] if priced else [])]


def _cost_lines(plan: Plan) -> Iterator[str]:
    if not plan.paid_pairs:
        yield "Nothing to pay for."
        return
    cost = "what it costs is not known" if plan.cost is None else f"about {dollars(plan.cost)}"
    source = (
        "the API publishes none, or cannot be reached; say price_per_job in the settings"
        if plan.cost is None
        else plan.price_source
    )
    yield f"To pay for: {counted(plan.paid_pairs, 'video')}, {cost}"
    yield f"            price: {source}"
    if plan.budget is not None:
        yield f"Budget:     {dollars(plan.budget)}, {dollars(plan.spent)} of it spent: {_enough(plan)}"
    yield f"To upload:  {_size(plan.upload_bytes)} inside requests"


def _enough(plan: Plan) -> str:
    if plan.cost is None or plan.budget is None:
        return "whether that is enough is not known"
    left = max(0, plan.budget - plan.spent)
    if plan.cost <= left:
        return "enough"
    return f"enough for about {left * plan.paid_pairs // plan.cost:,} of the {plan.paid_pairs:,}"


def _size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _time_lines(plan: Plan, now: datetime) -> Iterator[str]:
    estimate, speed = plan.estimate, plan.estimate.speed
    if not estimate.seconds:
        return
    yield f"Time:       about {duration(estimate.seconds)}, beside uploads and downloads"
    yield f"            {speed.typical_seconds:.0f} s a video ({_TIMES[speed.times_from]})"
    yield f"            {speed.slots:,} at once (--max-in-flight{_LEARNED[speed.slots_from]})"
    yield f"            {_rate(estimate)}"
    if estimate.night is not None and plan.paid_pairs:
        until = estimate.night.deadline.astimezone()
        left = duration((until - now).total_seconds())
        yield f"Finish by:  {until:%a %H:%M}, in {left}: {_nights(plan, estimate)}"


def _rate(estimate: Estimate) -> str:
    rate = estimate.speed.per_second
    if rate is None:
        return "the rate of requests is not known yet, and left out of this"
    per = f"{rate:,.1f} requests a second" if rate >= 1 else f"{rate * 60:,.1f} requests a minute"
    source = "--rate" if estimate.speed.rate_from is Origin.GIVEN else "learned in this account's runs"
    return f"{per} ({source})" + ("; that is what it waits for" if estimate.short_of_requests else "")


def _nights(plan: Plan, estimate: Estimate) -> str:
    night = estimate.night
    assert night is not None
    if night.nights is None:
        return "too soon to make even one"
    if night.nights <= 1:
        return "time for all"
    return f"about {night.pairs:,} of {plan.paid_pairs:,}; {night.nights:,} such nights for all"


def plan_document(plan: Plan, place: Location, *, command: Sequence[str]) -> dict[str, Any]:
    """A plan as JSON; docs/plan-and-status.md names what is in it. Money in micro-USD, sizes in bytes."""
    estimate, speed = plan.estimate, plan.estimate.speed
    return {
        "folder": str(place.folder.root),
        "resumed": place.exists,
        "jobs": plan.jobs,
        "selected": plan.selected,
        "changes": plan.changes,
        "changed": [asdict(reason) for reason in plan.changed],
        "removed": plan.removed,
        "by": {value: _part_document(part) for value, part in plan.by.items()},
        "more_values": plan.more_values,
        "listed": [{"key": key, "change": change} for key, change in plan.listed],
        "to_submit": sum(plan.changes[change] for change in PAID),
        "paid_pairs": plan.paid_pairs,
        "cost_micro_usd": plan.cost,
        "price_source": plan.price_source,
        "budget_micro_usd": plan.budget,
        "spent_micro_usd": plan.spent,
        "upload_bytes": plan.upload_bytes,
        "retried": asdict(plan.retried),
        "remade": plan.remade,
        "finished": plan.finished,
        "leftovers": asdict(plan.leftovers),
        "time": {
            "seconds": round(estimate.seconds, 1),
            "short_of": "requests" if estimate.short_of_requests else "slots",
            "typical_seconds": round(speed.typical_seconds, 1),
            "typical_seconds_from": speed.times_from,
            "slots": speed.slots,
            "slots_from": speed.slots_from,
            "requests_per_second": speed.per_second,
            "requests_per_second_from": speed.rate_from,
        },
        "finish_by": _night_document(estimate),
        "warnings": plan.warnings,
        "warning_count": plan.warning_count,
        "problems": [str(problem) for problem in plan.problems],
        "problem_count": plan.problem_count,
        "next": shlex.join(command),
    }


def _part_document(part: Part) -> Mapping[str, Any]:
    return {
        "changes": part.changes,
        "paid_pairs": part.paid_pairs,
        "cost_micro_usd": part.cost,
        "upload_bytes": part.upload_bytes,
    }


def _night_document(estimate: Estimate) -> Mapping[str, Any] | None:
    night = estimate.night
    if night is None:
        return None
    return {"deadline": iso(night.deadline.astimezone(UTC)), "pairs": night.pairs, "nights": night.nights}
