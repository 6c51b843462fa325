"""A manifest of any format, opened: its settings, and its jobs as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lipsync_batch.capabilities import LIP_SYNC, Capabilities
from lipsync_batch.errors import ManifestError, Problem
from lipsync_batch.jobs import Job, Place
from lipsync_batch.manifest import csv_rows, json_rows, workbook, yaml_rows
from lipsync_batch.manifest.encoding import ENDINGS, Checked, check_text
from lipsync_batch.manifest.expand import Expander
from lipsync_batch.manifest.fields import Row
from lipsync_batch.manifest.sections import Sections, read_sections


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A manifest that could be read. What is wrong with single rows comes with the jobs."""

    path: Path
    """Absolute."""
    checked: Checked = field(repr=False)
    sections: Sections = field(repr=False)
    rows: Callable[[Path], Iterator[Row | Problem]] = field(repr=False)

    @classmethod
    def load(cls, path: Path | str) -> Manifest:
        """Open a manifest: .yaml .yml .csv .tsv .jsonl .ndjson.

        ManifestError for what makes all of it unreadable: no such file, a folder, another encoding, no jobs in it,
        broken YAML, or sections (settings, tables, defaults, overrides) that are wrong.
        """
        path = Path(path).absolute()
        if path.is_file() and path.suffix.lower() not in ENDINGS:
            raise ManifestError(path, [_unknown_ending(path)])
        checked = check_text(path)
        sections, rows = Sections(), csv_rows.rows
        match path.suffix.lower():
            case ".yaml" | ".yml":
                sections, rows = read_sections(path, yaml_rows.sections(path)), yaml_rows.rows
            case ".csv" | ".tsv":
                csv_rows.check(path)
            case _:
                json_rows.check(path)
                rows = json_rows.rows
        return cls(path=path, checked=checked, sections=sections, rows=rows)

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def settings(self) -> Mapping[str, object]:
        """The `settings:` section, checked: as written, but for `out`, which is absolute."""
        return self.sections.settings

    @property
    def files(self) -> tuple[Checked, ...]:
        """All that it is written in: itself, and the sheets of its tables."""
        return (self.checked, *(table.checked for table in self.sections.tables.values()))

    def jobs(self, capabilities: Capabilities = LIP_SYNC) -> Reading:
        """Jobs and problems, in manifest order; memory does not grow with the manifest, nor with a grid.

        `capabilities` are those of the provider that the jobs are for.

        A row may yield several jobs and several problems. Whether keys and outputs are unique over all jobs, and
        whether files exist, is for the caller to find out.
        """
        return Reading(self, capabilities)


class Reading:
    """One reading of a manifest's rows, from the first to the last."""

    def __init__(self, manifest: Manifest, capabilities: Capabilities) -> None:
        self._manifest = manifest
        sections = manifest.sections
        self._expander = Expander(
            base=manifest.path.parent,
            defaults=sections.defaults,
            tables=sections.tables,
            overrides=sections.overrides,
            capabilities=capabilities,
        )
        self._items = self._read()

    def __iter__(self) -> Iterator[Job | Problem]:
        return self._items

    @property
    def asked_disk(self) -> bool:
        """Whether what was read so far depended on more than the manifest's files: a glob, say, finds others later."""
        return self._expander.asked_disk

    def _read(self) -> Iterator[Job | Problem]:
        expander = self._expander
        for row in self._manifest.rows(self._manifest.path):
            if isinstance(row, Problem):
                yield row
            elif (job := expander.plain(row)) is not None:
                yield job
            else:
                yield from expander.expand(row)
        yield from expander.unused_overrides()


def _unknown_ending(path: Path) -> Problem:
    ending = path.suffix.lower()
    remedy = f"a manifest ends in {', '.join(ENDINGS)}"
    if ending in workbook.ENDINGS:
        remedy = f'a sheet of translations: lipsync-batch init "{path.name}"; a sheet of jobs: save it as "CSV UTF-8"'
    elif ending in {".xls", ".ods", ".numbers"}:
        remedy = 'in the spreadsheet, save it as "CSV UTF-8"'
    elif ending == ".json":
        remedy = "write one object a line into a .jsonl: jq -c '.[]' FILE.json > FILE.jsonl"
    return Problem(place=Place(), cause=f'"{path.name}" is not a kind of manifest', remedy=remedy)
