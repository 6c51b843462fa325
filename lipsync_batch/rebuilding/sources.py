"""Which files a batch is made again from: those in its folder, and copies that a person names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lipsync_batch import files
from lipsync_batch.errors import UsageError
from lipsync_batch.location import Location
from lipsync_batch.rebuilding.journal import is_journal

LOG = "run.log"
REPORT = "report.json"
_DATABASE = b"SQLite format 3"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """By kind, in the order in which they are to be read."""

    copies: Sequence[Path]
    """Of jobs.db; at most one."""
    journals: Sequence[Path]
    reports: Sequence[Path]

    @classmethod
    def of(cls, place: Location, named: Sequence[Path]) -> Sources:
        """Those that are named, then those of the folder. UsageError where one that is named can be nothing of use."""
        given = [path.resolve() for path in named]
        copies = [path for path in given if _is_database(path)]
        if len(copies) > 1:
            raise UsageError("several copies of jobs.db are named", hint="Name the newest of them alone.")
        journals = [path for path in given if path not in copies and is_journal(path)]
        reports = [path for path in given if path not in (*copies, *journals)]
        for path, kind in ((place.folder.state / LOG, journals), (place.folder.root / REPORT, reports)):
            if path.is_file() and path not in kind:
                kind.append(path)
        return cls(copies=copies, journals=journals, reports=reports)


def _is_database(path: Path) -> bool:
    if not path.is_file():
        raise UsageError(
            f"{path}: there is no such file", hint="--from names a copy of run.log, of report.json or of jobs.db."
        )
    with files.disk_faults(path), path.open("rb") as file:
        return file.read(len(_DATABASE)) == _DATABASE
