"""Everything that stops a command on purpose.

    LipsyncBatchError          exit 2 unless a class says otherwise
    ├── UsageError             a flag, an environment variable or an argument is wrong
    ├── ManifestError          rows that cannot become jobs, all of them at once; nothing was sent
    ├── BatchError             the batch folder cannot be used as asked: bound to something else, damaged, too new
    │   ├── BatchHeldError     another run holds it (exit 4)
    │   └── DiskError          its disk does not take what must be written, or give it back (exit 3)
    │       ├── OutputStoreError  the object storage for its videos does not (exit 3)
    │       │   └── UnlistableError  a name in it allows no listing (exit 3)
    │       └── DamagedError   jobs.db is not a database any more (exit 2)
    ├── UnreachableError       the API does not answer, and without it the command can do nothing (exit 3)
    ├── ActionNeededError      a person must act first: credentials, credits, budget, --remake (exit 5)
    ├── MissingExtraError      an optional part of the program is not installed
    └── StalePairError         a pair was not in the state that its move starts from; a bug, or another writer

A class exists when a caller acts differently on it. Expected failures of one job are values, never exceptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lipsync_batch.jobs import Place, StopReason

SHOWN_PROBLEMS = 1_000


class LipsyncBatchError(Exception):
    """Base of the tree: a message for people, a hint that says what to do, and the exit code."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LipsyncBatchError):
    """A flag, an environment variable or an argument is wrong. Nothing was sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong with a manifest: where, what, and what would be right.

    >>> str(Problem(place=Place(line=7, column=5), field="speaker", cause='unknown speaker "Emilly"',
    ...             remedy='did you mean "Emily"?'))
    'line 7, column 5, speaker: unknown speaker "Emilly"; did you mean "Emily"?'
    """

    place: Place
    cause: str
    remedy: str
    field: str = ""
    file: Path | None = None
    """Set where the fault is in another file than the manifest, such as a table."""

    def __str__(self) -> str:
        where = ", ".join(part for part in (str(self.place), self.field) if part)
        what = f"{self.cause}; {self.remedy}" if self.remedy else self.cause
        return f"{where}: {what}" if where else what


class ManifestError(LipsyncBatchError):
    """Rows that cannot become jobs, all of them at once. Nothing was sent."""

    def __init__(self, path: Path, problems: Sequence[Problem], *, total: int | None = None, hint: str = "") -> None:
        self.path = path
        self.problems = list(problems)
        self.total = len(self.problems) if total is None else total
        lines = [_told(problem.file or path, problem) for problem in self.problems[:SHOWN_PROBLEMS]]
        if self.total > len(lines):
            lines.append(f"... and {self.total - len(lines):,} more")
        super().__init__("\n".join(lines), hint=hint)


def _told(path: Path, problem: Problem) -> str:
    has_place = problem.place != Place() or problem.field
    return f"{path}, {problem}" if has_place else f"{path}: {problem}"


class BatchError(LipsyncBatchError):
    """The batch folder cannot be used as asked. Nothing was sent, nothing was changed."""


class BatchHeldError(BatchError):
    """Another run holds this batch."""

    exit_code = 4


class DiskError(BatchError):
    """The disk under a batch does not take what must be written, or give it back: full, broken, read-only, locked.

    Nothing that was written before is lost, and running again may help. `stop_reason` is what a run ends with.
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str, full: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.stop_reason = StopReason.DISK_FULL if full else StopReason.DISK_ERROR


class OutputStoreError(DiskError):
    """The object storage of a batch does not take what is to be written, or give it back. It may do so later."""


class UnlistableError(OutputStoreError):
    """Somebody put an object there whose name no listing can be made with. All else can be asked for by its name."""


class DamagedError(DiskError):
    """jobs.db is not a database any more. Running again does not help: it needs a copy."""

    exit_code = 2


class UnreachableError(LipsyncBatchError):
    """The API does not answer, and without it the command can do nothing. Run it again later."""

    exit_code = 3


class ActionNeededError(LipsyncBatchError):
    """A person must act before the run can go on: credentials, credits, budget, --remake."""

    exit_code = 5


class MissingExtraError(LipsyncBatchError):
    """An optional part of the program is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs packages that are not installed",
            hint=f"pip install 'lipsync-batch[{extra}]'",
        )


class StalePairError(LipsyncBatchError):
    """A pair was not in the state that its move starts from: a bug, or someone else wrote to jobs.db."""

    exit_code = 70
