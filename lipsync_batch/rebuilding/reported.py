"""Reads a report.json as a record of the ledger: each job's newest generation, and what its video is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import ValidationError

from lipsync_batch.clock import from_iso, iso
from lipsync_batch.errors import BatchError
from lipsync_batch.files import disk_faults
from lipsync_batch.jobs import State
from lipsync_batch.report.schema import Report, ReportHead, ReportJob
from lipsync_batch.store.hearing import Hearing, RequestId, Told, ToldFile

_JOBS = '"jobs": ['
_OUTCOMES = {
    State.SUBMITTED: "accepted",
    State.READY: "finished",
    State.DONE: "finished",
    State.UNCLEAR: "unclear",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reported:
    """What a report says of its batch."""

    path: Path
    head: ReportHead


def read_report(path: Path, hearing: Hearing) -> Reported:
    """Tell all that a report knows. BatchError where it is none, DiskError where it cannot be read."""
    head, jobs = _parsed(path)
    for job in jobs:
        _take(job, hearing)
    return Reported(path=path, head=head)


def head_of(path: Path) -> ReportHead:
    """What stands before the jobs; see `read_report`."""
    return _parsed(path)[0]


def _parsed(path: Path) -> tuple[ReportHead, Iterator[ReportJob]]:
    """One job a line, as we write it, so that a million of them need not be held; else the whole of it."""
    try:
        with disk_faults(path), path.open(encoding="utf-8") as lines:
            before = "".join(_until_jobs(lines))
            if before.endswith("{}"):
                report = Report.model_validate_json(path.read_bytes())
                fields = {name: getattr(report, name) for name in ReportHead.model_fields}
                return ReportHead(**fields), iter(report.jobs)
        return ReportHead.model_validate_json(before), _jobs(path)
    except (ValidationError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise BatchError(
            f"{path}: not a report.json of this version of lipsync-batch ({first})",
            hint="Name another one, or a run.log, with --from.",
        ) from error


def _until_jobs(lines: Iterator[str]) -> Iterator[str]:
    """The head as a document of its own; it ends with `{}` where the jobs do not stand one a line."""
    kept: list[str] = []
    for line in lines:
        if line.strip() == _JOBS:
            yield "".join(kept).rstrip().rstrip(",") + "}"
            return
        kept.append(line)
    yield "{}"


def _jobs(path: Path) -> Iterator[ReportJob]:
    with disk_faults(path), path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip() == _JOBS:
                break
        for line in lines:
            text = line.strip().rstrip(",")
            if not text.startswith("{"):
                break
            yield ReportJob.model_validate_json(text)


def _take(job: ReportJob, hearing: Hearing) -> None:
    parts = RequestId.parse(job.client_request_id or "")
    if parts is not None:
        hearing.generation(
            Told(
                client_request_id=job.client_request_id or "",
                fingerprint=job.pair,
                intended_at=job.submitted_at,
                generation_id=job.generation_id,
                accepted_at=job.submitted_at if job.generation_id else None,
                finished_at=_finished_at(job),
                outcome=_OUTCOMES.get(job.state),
            )
        )
    hearing.reported(
        job.pair,
        job.state,
        attempt=parts.attempt if parts else 0,
        name=job.output,
        code=job.error.code if job.error else "",
        message=job.error.message if job.error else "",
    )
    if job.state is State.DONE and job.sha256 is not None:
        hearing.file(
            ToldFile(
                path=job.output,
                fingerprint=job.pair,
                bytes=job.bytes,
                sha256=job.sha256,
                duration_seconds=job.duration_seconds,
                suspect=job.suspect,
                finished_at=job.finished_at,
            )
        )


def _finished_at(job: ReportJob) -> str | None:
    if job.submitted_at is None or job.generation_seconds is None:
        return None
    return iso(from_iso(job.submitted_at) + timedelta(seconds=job.generation_seconds))
