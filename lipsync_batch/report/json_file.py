"""report.json: written as it is read, one job a line, so that two of them can be compared with `diff`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TextIO

from lipsync_batch.jobs import JobRecord
from lipsync_batch.report.schema import ReportHead, ReportJob


def write_json(out: TextIO, head: ReportHead, jobs: Iterable[JobRecord]) -> None:
    """One JSON document by docs/report.schema.json; of all jobs only one is held at a time."""
    out.write("{\n")
    for name, value in head.model_dump(mode="json").items():
        out.write(f"{_text(name)}: {_text(value)},\n")
    out.write('"jobs": [')
    separator = "\n"
    for job in jobs:
        out.write(separator + _text(ReportJob.of(job).model_dump()))
        separator = ",\n"
    out.write("\n]\n}\n")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
