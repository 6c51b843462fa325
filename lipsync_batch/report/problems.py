"""What went wrong, grouped by cause."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from lipsync_batch.jobs import JobRecord, State

KEPT_GROUPS = 100
KEPT_MESSAGES = 20
KEPT_KEYS = 5
OTHER = "other"
"""Stands for the codes beyond the first hundred, should a provider invent a new one for each job."""


@dataclass(kw_only=True, slots=True)
class Problem:
    """The jobs that stopped for one cause."""

    state: State
    """FAILED or UNCLEAR."""
    code: str
    count: int = 0
    keys: list[str] = field(default_factory=list)
    """The first few, in manifest order."""
    messages: Counter[str] = field(default_factory=Counter)

    @property
    def message(self) -> str:
        """The most frequent one; of equally frequent ones the one that came first."""
        return max(self.messages, key=lambda text: self.messages[text], default="")

    def add(self, job: JobRecord) -> None:
        self.count += 1
        if len(self.keys) < KEPT_KEYS:
            self.keys.append(job.key)
        message = job.error_message or ""
        if message and (message in self.messages or len(self.messages) < KEPT_MESSAGES):
            self.messages[message] += 1


class Problems:
    """Gathers failed and unclear jobs by their error code; bounded memory."""

    def __init__(self) -> None:
        self._groups: dict[tuple[State, str], Problem] = {}

    def add(self, job: JobRecord) -> None:
        if job.state not in {State.FAILED, State.UNCLEAR}:
            return
        code = job.error_code or "unknown"
        if (job.state, code) not in self._groups and len(self._groups) >= KEPT_GROUPS:
            code = OTHER
        self._groups.setdefault((job.state, code), Problem(state=job.state, code=code)).add(job)

    def by_count(self) -> list[Problem]:
        """The most frequent cause first."""
        return sorted(self._groups.values(), key=lambda problem: -problem.count)
