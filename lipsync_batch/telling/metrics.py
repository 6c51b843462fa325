"""A file of metrics for Prometheus, as its node exporter's textfile collector reads them: `run --metrics FILE`.

It is written anew while a run goes on, in a thread of its own that asks jobs.db by a connection of its own: the lanes
wait for none of it. docs/nights.md names the metrics; whoever alerts on them relies on the names.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lipsync_batch import exits
from lipsync_batch.clock import Clock
from lipsync_batch.errors import LipsyncBatchError, UsageError
from lipsync_batch.events import Downloaded, Event, RateRefused
from lipsync_batch.jobs import RunRecord, State, StopReason
from lipsync_batch.report.atomic import replacing
from lipsync_batch.store import Store

EVERY = 20.0
"""Seconds between two writings."""
SHARE = 0.02
"""Of a million jobs the counting takes longer: no more than this share of the time is spent on it."""
NOT_STARTED = "not_started"
"""In the place of a stop reason: the last run ended before its work began."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """One metric: its samples differ in one label besides the batch's."""

    name: str
    help: str
    kind: str = "gauge"
    label: str = ""
    samples: Mapping[str, float | None]
    """By the value of `label`; None leaves a sample out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LastRun:
    """The newest run that has ended."""

    ended_at: float
    exit_code: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What is told of a batch. Instants in seconds since 1970, money in micro-USD."""

    jobs: Mapping[State, int] = field(default_factory=dict)
    spent: int = 0
    budget: int | None = None
    refused: int = 0
    downloaded: int = 0
    running: bool = False
    started_at: float | None = None
    last: LastRun | None = None
    succeeded_at: float = 0.0
    written_at: float


class Metrics:
    """Listens to a run, and writes what stands in jobs.db and what it heard. Without a path it does nothing."""

    def __init__(self, path: Path | None, *, batch: str, database: Path, budget: int | None, clock: Clock) -> None:
        self._path = path
        self._batch = batch
        self._database = database
        self._budget = budget
        self._clock = clock
        self._begun = clock.utc()
        self._refused = 0
        self._downloaded = 0
        self._writing = threading.Lock()

    def check(self) -> None:
        """UsageError where the file cannot be written: better now than in the morning."""
        if self._path is None:
            return
        folder = self._path.absolute().parent
        cause = (
            "is a folder"
            if self._path.is_dir()
            else "its folder does not exist"
            if not folder.is_dir()
            else "its folder cannot be written to"
            if not os.access(folder, os.W_OK | os.X_OK)
            else None
        )
        if cause is not None:
            raise UsageError(
                f"--metrics {self._path}: {cause}",
                hint="Name a file in the folder that the node exporter reads "
                "(--collector.textfile.directory), such as /var/lib/prometheus/node-exporter/spring.prom.",
            )

    def listen(self, event: Event) -> None:
        match event:
            case Downloaded(bytes=size):
                self._downloaded += size
            case RateRefused():
                self._refused += 1
            case _:
                pass

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While the work goes on: at its begin, and every so often."""
        if self._path is None:
            yield
            return
        over = threading.Event()
        keeping = threading.Thread(target=self._keep, args=(over,), name="metrics", daemon=True)
        keeping.start()
        try:
            yield
        finally:
            over.set()
            keeping.join(EVERY)

    def _keep(self, over: threading.Event) -> None:
        while True:
            began = time.monotonic()
            # The end of the run says what is wrong with the disk, or with jobs.db.
            with suppress(OSError, LipsyncBatchError):
                self._write(self._figures(running=True))
            if over.wait(max(EVERY, (time.monotonic() - began) / SHARE)):
                return

    def write_end(self, error: BaseException | None = None) -> str | None:
        """As it stands when a run is over, `error` having ended it, if any did. What went wrong, or None."""
        if self._path is None:
            return None
        try:
            self._write(self._figures(running=False, error=error))
        except (OSError, LipsyncBatchError) as fault:
            reason = fault.strerror if isinstance(fault, OSError) else str(fault)
            return f"the metrics were not written to {self._path}: {reason}"
        return None

    def _write(self, figures: Figures) -> None:
        assert self._path is not None
        with self._writing, replacing(self._path) as file:
            file.write(exposition(self._batch, figures))

    def _figures(self, *, running: bool, error: BaseException | None = None) -> Figures:
        now = self._clock.utc()
        if not self._database.exists():
            return Figures(
                budget=self._budget,
                started_at=_seconds(self._begun),
                last=_failed(now, error),
                written_at=_seconds(now),
            )
        with closing(Store.read_only(self._database, self._clock)) as store:
            reads = store.reads
            runs, jobs, spent = reads.runs(), reads.counts(), reads.spent()
        last = _last(runs)
        if not running and not any(run.ended_at is not None and run.ended_at >= self._begun for run in runs):
            last = _failed(now, error)  # it did not come as far as to be written down
        return Figures(
            jobs=jobs,
            spent=spent,
            budget=self._budget,
            refused=self._refused,
            downloaded=self._downloaded,
            running=running,
            started_at=_seconds(self._begun),
            last=last,
            succeeded_at=max(
                (_seconds(run.ended_at) for run in runs if run.exit_code == exits.DONE and run.ended_at), default=0.0
            ),
            written_at=_seconds(now),
        )


def exposition(batch: str, figures: Figures) -> str:
    """The figures in Prometheus' text format."""
    lines: list[str] = []
    for family in _families(figures):
        lines += (f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}")
        for value, number in family.samples.items():
            if number is not None:
                label = f',{family.label}="{_escaped(value)}"' if family.label else ""
                lines.append(f'{family.name}{{batch="{_escaped(batch)}"{label}}} {_number(number)}')
    return "\n".join(lines) + "\n"


def _families(figures: Figures) -> Iterator[Family]:
    def one(name: str, text: str, number: float | None, kind: str = "gauge") -> Family:
        return Family(name=f"lipsync_batch_{name}", help=text, kind=kind, samples={"": number})

    last = figures.last
    yield Family(
        name="lipsync_batch_jobs",
        help="Jobs of the batch by state.",
        label="state",
        samples={state.value: figures.jobs.get(state, 0) for state in State},
    )
    yield one("spent_usd", "What the batch has cost over all its runs, as the budget reckons.", figures.spent / 1e6)
    yield one("budget_usd", "What it may cost.", None if figures.budget is None else figures.budget / 1e6)
    yield one("requests_refused_total", "Requests that were answered with 429 in this run.", figures.refused, "counter")
    yield one("downloaded_bytes_total", "Bytes of videos fetched in this run.", figures.downloaded, "counter")
    yield one("running", "Whether a run is at work: 1 or 0.", int(figures.running))
    yield one("last_run_start_timestamp_seconds", "When the newest run began.", figures.started_at)
    yield one("last_run_end_timestamp_seconds", "When a run ended last.", last.ended_at if last else None)
    yield one("last_run_exit_code", "The exit code of the run that ended last.", last.exit_code if last else None)
    yield Family(
        name="lipsync_batch_last_run_stop_reason",
        help="Why the run that ended last did so: 1 for the reason that it was.",
        label="reason",
        samples={
            reason: None if last is None else int(reason == last.reason)
            for reason in (*(reason.value for reason in StopReason if reason is not StopReason.RUNNING), NOT_STARTED)
        },
    )
    yield one(
        "last_success_timestamp_seconds", "When a run last ended with every job done; 0: never.", figures.succeeded_at
    )
    yield one("updated_timestamp_seconds", "When these figures were written.", figures.written_at)


def _last(runs: list[RunRecord]) -> LastRun | None:
    ended = [run for run in runs if run.ended_at is not None]
    if not ended:
        return None
    newest = ended[-1]
    assert newest.ended_at is not None
    code = exits.BUG if newest.exit_code is None else newest.exit_code
    return LastRun(ended_at=_seconds(newest.ended_at), exit_code=code, reason=newest.stop_reason)


def _failed(at: datetime, error: BaseException | None) -> LastRun:
    """A run whose end is in no database."""
    code = error.exit_code if isinstance(error, LipsyncBatchError) else exits.BUG
    code = exits.INTERRUPTED if isinstance(error, KeyboardInterrupt) else code
    return LastRun(ended_at=_seconds(at), exit_code=code, reason=NOT_STARTED)


def _seconds(at: datetime) -> float:
    return at.timestamp()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(number: float) -> str:
    return str(int(number)) if math.isfinite(number) and number == int(number) else repr(float(number))
