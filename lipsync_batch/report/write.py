"""The three reports of a batch, written beside its videos; of a run that goes on, the page alone."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lipsync_batch.jobs import StopReason
from lipsync_batch.report import advice
from lipsync_batch.report.atomic import replacing
from lipsync_batch.report.csv_file import writing_csv
from lipsync_batch.report.json_file import write_json
from lipsync_batch.report.overview import Overview
from lipsync_batch.report.page import Page, write_page
from lipsync_batch.report.posters import Posters
from lipsync_batch.report.schema import Cost, Counts, ReportHead
from lipsync_batch.report.source import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """Where the reports of a batch lie."""

    json: Path
    csv: Path
    html: Path

    @property
    def all(self) -> tuple[Path, ...]:
        return (self.json, self.csv, self.html)

    @classmethod
    def inside(cls, folder: Path, where: Mapping[str, str] | None = None) -> Paths:
        """Those of the jobs with some labels have names of their own: `report.language-de.html`."""
        stem = "report" + "".join(f".{_as_name(label)}-{_as_name(value)}" for label, value in (where or {}).items())
        return cls(json=folder / f"{stem}.json", csv=folder / f"{stem}.csv", html=folder / f"{stem}.html")


def _as_name(text: str) -> str:
    """As every file system takes it; what had to be changed is told apart by a checksum."""
    plain = re.sub(r"[^\w-]+", "_", text)[:40]
    return plain if plain == text else f"{plain}_{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:6]}"


def write_reports(
    source: Source,
    folder: Path,
    *,
    stop_reason: StopReason,
    written_at: datetime,
    again_after: float | None = None,
    refused_at: Iterable[float] = (),
    where: Mapping[str, str] | None = None,
) -> Paths:
    """Write report.json, report.csv and report.html into the batch folder, each whole or not at all.

    The jobs are read once, and of all of them only what the page shows is held (see `Overview`). The same batch at the
    same instant gives the same bytes. `again_after` is in how many seconds a run writes the page again; `refused_at`
    when requests were refused for their number, in seconds since 1970. Raises OSError when the disk does not take them;
    the reports from before stay. `where` are the labels that all jobs of the source have, if it holds but some: their
    reports get names of their own.
    """
    paths = Paths.inside(folder, where)
    batch, counts, costs = source.batch(), source.counts(), source.costs()
    head = ReportHead(
        batch_id=batch.batch_id,
        manifest=batch.manifest,
        stop_reason=stop_reason,
        counts=Counts(**{state.value: number for state, number in counts.items()}),
        cost=Cost.of(costs),
    )
    overview = Overview(posters=Posters(folder).names, refused_at=refused_at)
    with replacing(paths.json) as document, replacing(paths.csv, encoding="utf-8-sig", newline="") as table:
        jobs = overview.watching(source.records())
        write_json(document, head, writing_csv(table, source.label_names(), jobs))
    with replacing(paths.html) as out:
        write_page(
            out,
            Page(
                name=folder.resolve().name,
                batch=batch,
                runs=source.runs(),
                counts=counts,
                costs=costs,
                stop_reason=stop_reason,
                written_at=written_at,
                overview=overview,
                steps=[] if where else advice.next_steps(stop_reason, counts, folder),
                again_after=again_after,
                part=", ".join(f"{label}={value}" for label, value in (where or {}).items()),
                csv=paths.csv.name,
                json=paths.json.name,
            ),
        )
    return paths


def write_live_page(
    source: Source,
    folder: Path,
    *,
    written_at: datetime,
    again_after: float,
    posters: Posters,
    refused_at: Iterable[float] = (),
) -> None:
    """Write report.html of a run that goes on, which will be written again after so many seconds.

    Of jobs that move meanwhile, some are shown as they were a moment before others. Raises OSError as `write_reports`.
    """
    overview = Overview(posters=posters.names, refused_at=refused_at)
    batch, counts, costs = source.batch(), source.counts(), source.costs()
    deque(overview.watching(source.records()), maxlen=0)
    with replacing(Paths.inside(folder).html) as out:
        write_page(
            out,
            Page(
                name=folder.resolve().name,
                batch=batch,
                runs=source.runs(),
                counts=counts,
                costs=costs,
                stop_reason=StopReason.RUNNING,
                written_at=written_at,
                overview=overview,
                steps=[],
                again_after=again_after,
            ),
        )
