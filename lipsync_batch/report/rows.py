"""The jobs as the page holds them: compact JSON, the ones that need a person first when there are too many."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime

from lipsync_batch.jobs import JobRecord, State
from lipsync_batch.report.posters import name_of
from lipsync_batch.report.schema import seconds

KEPT_ROWS = 50_000
"""A browser shows, searches and sorts so many without freezing; report.csv has all."""
KEPT_TEXT = 400

FIELDS = (
    "position",
    "key",
    "output",
    "state",
    "labels",
    "video",
    "speech",
    "speaker",
    "error",
    "message",
    "suspect",
    "generation",
    "attempts",
    "took",
    "length",
    "bytes",
    "size",
    "submitted",
    "finished",
    "quoted",
    "settled",
    "poster",
)
"""What the elements of a row are. page.js reads them by these names."""


class Rows:
    """Keeps the first rows in manifest order, or of too many jobs the most urgent ones."""

    def __init__(self, posters: Collection[str] = ()) -> None:
        """`posters` are the pictures that there are, by the names of their files."""
        self._posters = posters
        self._by_urgency: list[list[tuple[int, str]]] = [[], [], [], []]
        self.seen = 0
        self.kept = 0
        self.labels: list[str] = []
        """Every label's name, in order of appearance: what `labels` of a row follow."""

    def add(self, job: JobRecord) -> None:
        self.seen += 1
        self.labels += [name for name in job.labels if name not in self.labels]
        urgency = _urgency(job)
        if self.kept >= KEPT_ROWS and not self._give_way(urgency):
            return
        self._by_urgency[urgency].append((job.position, self._encoded(job)))
        self.kept += 1

    @property
    def complete(self) -> bool:
        return self.kept == self.seen

    def encoded(self) -> list[str]:
        """JSON arrays in manifest order, safe inside a `<script>` element."""
        return [text for _, text in sorted(row for rows in self._by_urgency for row in rows)]

    def _give_way(self, urgency: int) -> bool:
        """Drop the last of the least urgent rows for a more urgent one; whether there was one."""
        for rows in reversed(self._by_urgency[urgency + 1 :]):
            if rows:
                rows.pop()
                self.kept -= 1
                return True
        return False

    def _encoded(self, job: JobRecord) -> str:
        return embedded(
            [
                job.position,
                job.key,
                job.output,
                job.state.value,
                [job.labels.get(name) for name in self.labels],
                _cut(job.video),
                _cut(job.speech),
                job.speaker,
                job.error_code,
                _cut(job.error_message),
                _cut(job.suspect),
                job.generation_id,
                job.attempts,
                seconds(job.generation_seconds),
                seconds(job.duration_seconds),
                job.bytes,
                [job.width, job.height] if job.width and job.height else None,
                _epoch(job.submitted_at),
                _epoch(job.finished_at),
                job.quoted,
                job.settled,
                self._poster(job),
            ]
        )

    def _poster(self, job: JobRecord) -> str | None:
        if job.state is not State.DONE or job.sha256 is None:
            return None
        name = name_of(job.sha256)
        return name if name in self._posters else None


def embedded(value: object) -> str:
    """JSON that cannot end the `<script>` element it stands in, nor open a comment there."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def is_suspect(job: JobRecord) -> bool:
    """Whether the job's video is there and looks wrong."""
    return job.state is State.DONE and job.suspect is not None


def _urgency(job: JobRecord) -> int:
    if job.state in {State.FAILED, State.UNCLEAR}:
        return 0
    if is_suspect(job):
        return 1
    return 3 if job.state is State.DONE else 2


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= KEPT_TEXT else text[: KEPT_TEXT - 1] + "…"


def _epoch(instant: datetime | None) -> int | None:
    return None if instant is None else round(instant.timestamp())
