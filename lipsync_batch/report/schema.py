"""What `report.json` holds: these models write it, and docs/report.schema.json is `json_schema_text()` of them.

Instants are ISO 8601 in UTC with milliseconds and `Z`, durations are seconds, money is integer micro-USD.
Every change of the fields needs a new `schema_version`.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema

from lipsync_batch.clock import iso
from lipsync_batch.jobs import Costs, JobRecord, State, StopReason

SCHEMA_VERSION: Literal[1] = 1

Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Count = Annotated[int, Field(json_schema_extra={"minimum": 0})]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )


class Counts(_Model):
    """Jobs by state. Every state is listed, those without jobs as 0."""

    pending: Count = 0
    """Wanted; nothing is running, nothing is owed."""
    submitting: Count = 0
    """The paid call is on its way."""
    submitted: Count = 0
    """The provider is making the video."""
    ready: Count = 0
    """The provider is done; the video is not on disk yet."""
    done: Count = 0
    """The video is on disk, whole and checked."""
    failed: Count = 0
    """Stopped; the job's error says why."""
    unclear: Count = 0
    """The submit may have been accepted and charged. Runs look it up in the provider's log, and never send it again."""


class Cost(_Model):
    """What the batch costs over all its runs; null where nobody has said so yet."""

    unit: Literal["micro-USD"] = "micro-USD"
    """1,000,000 of these are one US dollar, so that sums are exact."""
    estimated: int | None
    """By the published price, before anything is sent."""
    quoted: int | None
    """Named by the provider when it accepted the pairs. Not a charge yet."""
    settled: int | None
    """Charged in the end."""

    @classmethod
    def of(cls, costs: Costs) -> Cost:
        return cls(estimated=costs.estimated, quoted=costs.quoted, settled=costs.settled)


class JobError(_Model):
    """Why a job failed or is unclear, or what its last setback was."""

    code: str
    """A short word that stays the same for the same cause."""
    message: str
    """In the provider's words where it gave any, without links and secrets."""


class ReportJob(_Model):
    """One job, in the state of the pair that it wants."""

    key: str
    """The job's name, unique in the batch."""
    state: State
    output: str
    """Where the video lies or shall lie: relative to the batch folder, `/` between its parts."""
    labels: dict[str, str]
    """What the manifest says about the job, such as its language."""
    pair: str
    """Fingerprint of the video and speech that are paid for. Jobs that want the same pair share it."""
    generation_id: str | None
    """The provider's id of the newest generation."""
    client_request_id: str | None
    """Our id of it, sent as `X-Client-Request-Id`."""
    attempts: Count
    """Generations asked for so far."""
    error: JobError | None
    bytes: Count | None
    """Of the finished video."""
    sha256: str | None
    """Of the finished video, in hex."""
    duration_seconds: float | None
    """Of the finished video."""
    generation_seconds: float | None
    """From accepted to noticed as finished."""
    submitted_at: Instant | None
    finished_at: Instant | None
    suspect: str | None
    """Why the video looks wrong although it plays; null where it does not."""

    @classmethod
    def of(cls, job: JobRecord) -> ReportJob:
        return cls(
            key=job.key,
            state=job.state,
            output=job.output,
            labels=dict(job.labels),
            pair=job.fingerprint,
            generation_id=job.generation_id,
            client_request_id=job.client_request_id,
            attempts=job.attempts,
            error=_error(job),
            bytes=job.bytes,
            sha256=job.sha256,
            duration_seconds=seconds(job.duration_seconds),
            generation_seconds=seconds(job.generation_seconds),
            submitted_at=instant(job.submitted_at),
            finished_at=instant(job.finished_at),
            suspect=job.suspect,
        )


class ReportHead(_Model):
    """What stands before the jobs."""

    schema_version: Literal[1] = SCHEMA_VERSION
    batch_id: str
    """Random, made with the batch; part of every `client_request_id`."""
    manifest: str
    """The manifest that the batch is bound to."""
    stop_reason: StopReason
    """Why the last run ended; `running` in a report that was written while it goes on."""
    counts: Counts
    cost: Cost


class Report(ReportHead):
    """A batch as it stood when its report was written."""

    model_config = ConfigDict(title="lipsync-batch report.json")

    jobs: list[ReportJob]
    """In manifest order, one a line."""


class _WithoutTitles(GenerateJsonSchema):
    """Titles that only repeat a field's name are noise."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of `report.json`."""
    schema = Report.model_json_schema(mode="serialization", schema_generator=_WithoutTitles)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


def json_schema_text() -> str:
    """docs/report.schema.json, byte for byte."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def seconds(value: float | None) -> float | None:
    """To the millisecond; JSON knows no infinity and no NaN, which damaged media can bring."""
    return None if value is None or not math.isfinite(value) else round(value, 3)


def instant(value: datetime | None) -> str | None:
    return None if value is None else iso(value)


def _error(job: JobRecord) -> JobError | None:
    if job.error_code is None and job.error_message is None:
        return None
    return JobError(code=job.error_code or "unknown", message=job.error_message or "")
