"""From rows to jobs: each row times its grid, times the files that its globs match."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from lipsync_batch.capabilities import LIP_SYNC, Capabilities
from lipsync_batch.errors import Problem
from lipsync_batch.jobs import Job
from lipsync_batch.manifest.build import Draft, JobBuilder, Scope, lay
from lipsync_batch.manifest.faults import FieldError
from lipsync_batch.manifest.fields import Layer, Row, read_layer
from lipsync_batch.manifest.grid import combinations
from lipsync_batch.manifest.plain import plain_job
from lipsync_batch.manifest.sources import UNKNOWN, Kind, Matches, Media
from lipsync_batch.manifest.tables import Table
from lipsync_batch.manifest.templates import escape
from lipsync_batch.storage.stores import Stores


class Expander:
    """Expands the rows of one reading of a manifest, in order; it counts the jobs and the overrides used."""

    def __init__(
        self,
        *,
        base: Path,
        defaults: Layer | None,
        tables: Mapping[str, Table],
        overrides: Mapping[str, Layer],
        capabilities: Capabilities = LIP_SYNC,
    ) -> None:
        self._base = base
        self._capabilities = capabilities
        self._below = () if defaults is None else (defaults,)
        self._tables = tables
        self._overrides = overrides
        self._unused = dict(overrides)
        self._count = 0
        self._stores = Stores()
        self.asked_disk = False
        """Whether what some row means depended on more than the manifest and its tables: a glob, a home folder."""

    def plain(self, row: Row) -> Job | None:
        """The job of a row that needs no expanding; None where `expand` is to be asked."""
        job = None if self._below else plain_job(row, self._base, self._count, self._capabilities)
        if job is None or job.key in self._overrides:
            return None
        self._count += 1
        return job

    def expand(self, row: Row) -> Iterator[Job | Problem]:
        """The jobs of a row, and its problems, each once however many of the row's jobs have it."""
        layer = read_layer(row)
        reported: set[Problem] = set()
        matches = Matches(self._stores)
        for above in combinations(row):
            if isinstance(above, Problem):
                self._count += 1
                yield from (*layer.problems, above)
                return
            for item in self._combine(lay(row, (*self._below, layer, *above)), matches):
                if isinstance(item, Job):
                    yield item
                elif item not in reported:
                    reported.add(item)
                    yield item
        self.asked_disk |= matches.asked_disk

    def unused_overrides(self) -> Iterator[Problem]:
        """Overrides of keys that no job had: to be asked at the end."""
        for key, layer in self._unused.items():
            cause, remedy = f'no job has the key "{key}"', "correct the key, or remove the override"
            yield Problem(place=layer.row.place, field=f"overrides.{key}", cause=cause, remedy=remedy)

    def _combine(self, draft: Draft, matches: Matches) -> Iterator[Job | Problem]:
        """The jobs of one combination: one for each video, and for each of its audio files."""
        scope = Scope(self._base, self._tables, matches, draft.labels, self._count + 1)
        video_problems: list[Problem] = []
        for video in self._videos(draft, scope, video_problems):
            scope.video, scope.audio, scope.key = video, None, None
            problems = [*video_problems]
            for audio in self._audios(draft, scope, problems):
                self._count += 1
                scope.index, scope.audio, scope.key = self._count, audio, None
                yield from self._finish(draft, scope, problems)

    def _videos(self, draft: Draft, scope: Scope, problems: list[Problem]) -> Collection[Media]:
        if "video" in draft.values:
            return _find(draft, scope, "video", problems)
        if not draft.excuses("video"):
            remedy = "add video: a path, a glob, an https link, an object (s3://bucket/key) or a data URI"
            error = FieldError("there is no video", remedy)
            problems.append(draft.problem("video", error))
        return [UNKNOWN]

    def _audios(self, draft: Draft, scope: Scope, problems: list[Problem]) -> Collection[Media | None]:
        return _find(draft, scope, "audio", problems) if "audio" in draft.values else [None]

    def _finish(self, draft: Draft, scope: Scope, problems: list[Problem]) -> Iterator[Job | Problem]:
        builder = JobBuilder(draft, scope, self._capabilities, problems)
        job = builder.build()
        override = self._overrides.get(builder.key) if builder.key is not None else None
        if override is not None and builder.key is not None:
            self._unused.pop(builder.key, None)
            yield from self._override(draft, scope, override, builder.key, problems)
        elif job is not None:
            yield job
        else:
            yield from builder.problems

    def _override(
        self, draft: Draft, scope: Scope, override: Layer, key: str, problems: list[Problem]
    ) -> Iterator[Job | Problem]:
        """The job once more, with the override on top. Its key stays, and so do files that are not overridden."""
        again = lay(draft.row, (*draft.layers, override))
        again.values["key"] = escape(key)
        problems = [problem for problem in problems if problem.field.rpartition(".")[2] not in override.values]
        scope = replace(scope, labels=again.labels, key=None)
        if "video" in override.values:
            scope.video = _find_one(again, scope, "video", problems)
        if "audio" in override.values:
            scope.audio = _find_one(again, scope, "audio", problems)
        builder = JobBuilder(again, scope, self._capabilities, problems)
        job = builder.build()
        if job is not None:
            yield job
        else:
            yield from builder.problems


def _find(draft: Draft, scope: Scope, kind: Kind, problems: list[Problem]) -> Collection[Media]:
    """What a field names; [UNKNOWN] if that is wrong, so that the rest is checked all the same."""
    try:
        return scope.find(draft.values[kind], kind)
    except FieldError as error:
        problems.append(draft.problem(kind, error))
        return [UNKNOWN]


def _find_one(draft: Draft, scope: Scope, kind: Kind, problems: list[Problem]) -> Media:
    """What a field of an override names: for one job, so one file."""
    found = _find(draft, scope, kind, problems)
    if len(found) > 1:
        error = FieldError(f"the pattern matches {len(found)} files", "an override changes one job: name one file")
        problems.append(draft.problem(kind, error))
    return next(iter(found))
