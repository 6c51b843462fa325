"""report.csv: one row a job, for spreadsheets.

UTF-8 with a byte-order mark and CRLF, because that is what spreadsheets expect. Cells that one would run as a formula
are defused by a leading apostrophe; a cell that begins with an apostrophe of its own gets another. So the way back is
one rule: **drop the first character of a cell that begins with an apostrophe.**
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TextIO

from lipsync_batch.jobs import JobRecord
from lipsync_batch.report.schema import instant, seconds

BEFORE_LABELS = ("key", "state", "output")
AFTER_LABELS = (
    "error_code",
    "error_message",
    "suspect",
    "duration_seconds",
    "generation_seconds",
    "bytes",
    "attempts",
    "estimated_usd",
    "quoted_usd",
    "settled_usd",
    "submitted_at",
    "finished_at",
    "video",
    "speech",
    "speaker",
    "generation_id",
    "client_request_id",
    "pair",
    "sha256",
)

# Spreadsheets skip blanks and quotes before they look for a formula; Excel takes the full-width signs for the same;
# zero-width characters are dropped by some importers. https://owasp.org/www-community/attacks/CSV_Injection
_DANGEROUS = re.compile(r"""'|[\s"\u200b-\u200f\u2060\ufeff]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]""")

Cell = str | int | float | Decimal | None


def writing_csv(out: TextIO, labels: Sequence[str], jobs: Iterable[JobRecord]) -> Iterator[JobRecord]:
    """Header and rows; each job is passed on when its row is written, so that all is written once all are taken.

    `labels` are the names that become columns. `out` must not translate line ends.
    """
    rows = csv.writer(out, lineterminator="\r\n")
    rows.writerow([defused(name) for name in header(labels)])
    for job in jobs:
        rows.writerow([defused(cell) for cell in _cells(job, labels)])
        yield job


def header(labels: Sequence[str]) -> list[str]:
    """Column names; a label that is called like one of our columns is set apart."""
    ours = {*BEFORE_LABELS, *AFTER_LABELS}
    return [*BEFORE_LABELS, *(f"label.{name}" if name in ours else name for name in labels), *AFTER_LABELS]


def defused(cell: Cell) -> Cell:
    """The cell as no spreadsheet runs it. Numbers are ours, and stay numbers."""
    if isinstance(cell, str) and _DANGEROUS.match(cell):
        return "'" + cell
    return cell


def _cells(job: JobRecord, labels: Sequence[str]) -> Iterator[Cell]:
    yield from (job.key, job.state.value, job.output)
    yield from (job.labels.get(name) for name in labels)
    yield from (job.error_code, job.error_message, job.suspect)
    yield from (seconds(job.duration_seconds), seconds(job.generation_seconds), job.bytes, job.attempts)
    yield from (_usd(job.estimated), _usd(job.quoted), _usd(job.settled))
    yield from (instant(job.submitted_at), instant(job.finished_at))
    yield from (job.video, job.speech, job.speaker)
    yield from (job.generation_id, job.client_request_id, job.fingerprint, job.sha256)


def _usd(micro: int | None) -> Decimal | None:
    """Dollars, exactly: a spreadsheet shall sum them."""
    return None if micro is None else Decimal(micro) / 1_000_000
