"""What the page tells about all jobs, gathered while they pass by once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from lipsync_batch.jobs import JobRecord, State
from lipsync_batch.report.breakdown import Breakdown
from lipsync_batch.report.problems import Problems
from lipsync_batch.report.rows import Rows, is_suspect
from lipsync_batch.report.schema import seconds
from lipsync_batch.report.spread import GenerationTimes
from lipsync_batch.report.timeline import Timeline


class Overview:
    """Every part has a bound of its own: a million jobs take no more memory than fifty thousand."""

    def __init__(self, *, posters: Collection[str] = (), refused_at: Iterable[float] = ()) -> None:
        """`posters` are the pictures of videos that there are, by the names of their files.

        `refused_at` is when requests were refused for their number, in seconds since 1970.
        """
        self.rows = Rows(posters)
        self.problems = Problems()
        self.breakdown = Breakdown()
        self.timeline = Timeline()
        self.times = GenerationTimes()
        self.states: Counter[State] = Counter()
        self.suspects = 0
        self.seconds = 0.0
        """Of finished video, together."""
        for instant in refused_at:
            self.timeline.add_refusal(instant)

    def watching(self, jobs: Iterable[JobRecord]) -> Iterator[JobRecord]:
        """Pass the jobs on, having looked at each."""
        for job in jobs:
            self._add(job)
            yield job

    def _add(self, job: JobRecord) -> None:
        for part in (self.rows, self.problems, self.breakdown, self.timeline, self.times):
            part.add(job)
        self.states[job.state] += 1
        self.suspects += is_suspect(job)
        self.seconds += seconds(job.duration_seconds) or 0.0
