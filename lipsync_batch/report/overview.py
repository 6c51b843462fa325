"""What the page tells about all jobs, gathered while they pass by once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lipsync_batch.jobs import JobRecord
from lipsync_batch.report.breakdown import Breakdown
from lipsync_batch.report.problems import Problems
from lipsync_batch.report.rows import Rows, is_suspect
from lipsync_batch.report.schema import seconds
from lipsync_batch.report.spread import GenerationTimes
from lipsync_batch.report.timeline import Timeline


class Overview:
    """Every part has a bound of its own: a million jobs take no more memory than fifty thousand."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.problems = Problems()
        self.breakdown = Breakdown()
        self.timeline = Timeline()
        self.times = GenerationTimes()
        self.suspects = 0
        self.seconds = 0.0
        """Of finished video, together."""

    def watching(self, jobs: Iterable[JobRecord]) -> Iterator[JobRecord]:
        """Pass the jobs on, having looked at each."""
        for job in jobs:
            self._add(job)
            yield job

    def _add(self, job: JobRecord) -> None:
        for part in (self.rows, self.problems, self.breakdown, self.timeline, self.times):
            part.add(job)
        self.suspects += is_suspect(job)
        self.seconds += seconds(job.duration_seconds) or 0.0
