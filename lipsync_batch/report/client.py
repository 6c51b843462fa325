"""What is handed to a client: the finished videos and a page about them in one ZIP, and nothing else about the batch.

Each job is stripped before anything is made of it: what it costs, who made it and why one failed is in no file.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from lipsync_batch.jobs import Costs, JobRecord, State, StopReason
from lipsync_batch.report.atomic import replacing_bytes
from lipsync_batch.report.overview import Overview
from lipsync_batch.report.page import Page, write_page
from lipsync_batch.report.posters import FOLDER, Posters, name_of
from lipsync_batch.report.rows import is_suspect
from lipsync_batch.report.source import Source

NOT_MADE = "could not be made"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(kw_only=True, slots=True)
class Packed:
    """What is in the ZIP, and what whoever sends it should know."""

    videos: int = 0
    unfinished: int = 0
    """Jobs that are not done: the page shows them without a video."""
    missing: int = 0
    """Finished videos whose files are not in their places: the page calls them pending."""
    suspects: int = 0
    """Videos that look wrong. The client is not told."""


def write_client_zip(source: Source, root: Path, target: Path, *, name: str, written_at: datetime) -> Packed:
    """Pack the finished videos below `root`, with posters and a page, into `target`: whole, or not at all.

    One file after the other goes through, so that memory is bounded by the page and by a few hundred bytes a video.
    Raises OSError when a disk does not take or give them.
    """
    with replacing_bytes(target) as out:
        return _Packer(source, root, name).pack(out, written_at)


class _Packer:
    def __init__(self, source: Source, root: Path, name: str) -> None:
        self._source = source
        self._root = root
        self._name = name
        self._there: set[int] = set()
        """Positions of the jobs whose videos are packed: while a run goes on, others may be finished meanwhile."""
        self._packed = Packed()

    def pack(self, out: BinaryIO, written_at: datetime) -> Packed:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
            posters = self._pack_videos(archive)
            overview = Overview(posters=posters)
            deque(overview.watching(self._stripped()), maxlen=0)
            counts = dict.fromkeys(State, 0) | overview.states
            self._packed.unfinished = sum(counts.values()) - counts[State.DONE] - self._packed.missing
            page = Page(
                name=self._name,
                batch=None,
                runs=[],
                counts=counts,
                costs=Costs(),
                stop_reason=StopReason.FINISHED,
                written_at=written_at,
                overview=overview,
                steps=[],
            )
            with self._entry(archive, "report.html") as entry:
                write_page(entry, page)
        return self._packed

    def _pack_videos(self, archive: zipfile.ZipFile) -> Collection[str]:
        """The videos and their posters; the names of the posters."""
        known, posters = Posters(self._root), set[str]()
        for job in self._source.records():
            if job.state is not State.DONE:
                continue
            try:
                archive.write(self._root / job.output, self._inside(job.output))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                self._packed.missing += 1
                continue
            self._there.add(job.position)
            self._packed.videos += 1
            self._packed.suspects += is_suspect(job)
            poster = name_of(job.sha256 or "")
            if poster in known.names and poster not in posters:
                with suppress(FileNotFoundError):
                    archive.write(known.folder / poster, self._inside(f"{FOLDER}/{poster}"))
                    posters.add(poster)
        return posters

    def _stripped(self) -> Iterator[JobRecord]:
        return (stripped(job, there=job.position in self._there) for job in self._source.records())

    def _entry(self, archive: zipfile.ZipFile, path: str) -> io.TextIOWrapper:
        info = zipfile.ZipInfo(self._inside(path), date_time=(1980, 1, 1, 0, 0, 0))
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        return io.TextIOWrapper(
            archive.open(info, "w", force_zip64=True), encoding="utf-8", errors="backslashreplace", newline="\n"
        )

    def _inside(self, path: str) -> str:
        """All lies in one folder, so that unpacking it scatters nothing. As page.js links to it."""
        return _SURROGATE.sub("\ufffd", f"{self._name}/{path}")


def stripped(job: JobRecord, *, there: bool) -> JobRecord:
    """What a client may see of a job. `there`: whether its video is beside the page."""
    unfinished = State.FAILED if job.state is State.FAILED else State.PENDING
    state = State.DONE if there else unfinished
    return JobRecord(
        key=job.key,
        output=job.output,
        labels=job.labels,
        position=job.position,
        fingerprint=str(job.position),
        state=state,
        video=_name_alone(job.video),
        speech=job.speech if job.speaker is not None else _name_alone(job.speech),
        speaker=job.speaker,
        error_message=NOT_MADE if state is State.FAILED else None,
        bytes=job.bytes if there else None,
        sha256=job.sha256 if there else None,
        duration_seconds=job.duration_seconds if there else None,
        width=job.width if there else None,
        height=job.height if there else None,
    )


def _name_alone(source: str) -> str:
    """A path as the manifest names it; of a path or a link to elsewhere, the file's own name."""
    if source.startswith("data:"):
        return ""
    if "://" in source:
        return PurePosixPath(urlsplit(source).path).name
    path = PurePosixPath(source)
    return path.name if path.is_absolute() or ".." in path.parts else source
