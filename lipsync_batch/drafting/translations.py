"""A sheet of translations, one row a clip and one column a language: a grid that looks its texts up there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.drafting.draft import OUTPUT, Draft, Entry
from lipsync_batch.drafting.languages import is_language
from lipsync_batch.drafting.media import found_in
from lipsync_batch.errors import ManifestError, UsageError
from lipsync_batch.manifest.tables import Table
from lipsync_batch.manifest.templates import escape

TABLE = "lines"


def draft_of_sheet(path: Path) -> Draft:
    """A grid of clips and languages. UsageError where the sheet has no such columns; ManifestError for its faults."""
    if path.suffix.lower() in {".xlsx", ".xls", ".ods", ".numbers"}:
        raise UsageError(f"{path}: is a workbook", hint='In the spreadsheet, save the sheet as "CSV UTF-8".')
    table = Table.load(TABLE, path, None)
    if table.problems:
        raise ManifestError(path, table.problems)
    key, *columns = table.columns
    _refuse_manifest(path, [key, *columns])
    languages = [column for column in columns if is_language(column)]
    if not languages:
        raise UsageError(
            f"{path}: no column is named by a language",
            hint=f"Name them by codes such as de, fr, pt-BR. Columns here: {', '.join([key, *columns])}.",
        )
    left_out = [f'column "{column}": is no language' for column in columns if column not in languages]
    by_name = any(Path(row).suffix.lower() in LIP_SYNC.video_endings for row in table.rows)
    videos = _videos(path.parent, by_name=by_name)
    rows = _rows(table, languages, videos, left_out)
    if not rows:
        raise UsageError(
            f"{path}: none of its {len(table.rows)} rows has a video below {path.parent}",
            hint=f'The column "{key}" names them: ada is ada.mp4, wherever it lies below the sheet\'s folder.',
        )
    place = f"{TABLE}[video.{'name' if by_name else 'stem'}][language]"
    return Draft(
        folder=path.parent,
        about=f"{path.name}: {len(rows)} clips in {len(languages)} languages",
        entries=_entries(rows, languages, videos),
        defaults={"speaker": "Auto", "output": OUTPUT, "text": f"{{{place}}}"},
        table=(path.name, key),
        left_out=left_out,
    )


def _refuse_manifest(path: Path, columns: list[str]) -> None:
    if {"video"} & {column.casefold() for column in columns}:
        raise UsageError(
            f'{path}: is a manifest already: it has a column "video"', hint=f"Go on with: lipsync-batch plan {path}"
        )


def _videos(folder: Path, *, by_name: bool) -> Mapping[str, list[Path]]:
    videos: defaultdict[str, list[Path]] = defaultdict(list)
    for video in found_in(folder).videos:
        videos[video.name if by_name else video.stem].append(video)
    return videos


def _rows(
    table: Table, languages: list[str], videos: Mapping[str, list[Path]], left_out: list[str]
) -> dict[Path, list[str]]:
    """The video of each row, with the languages that have a text; the rest is told."""
    rows: dict[Path, list[str]] = {}
    for name, record in table.rows.items():
        filled = [language for language in languages if record.cells[table.columns[language]].strip()]
        found = videos.get(name, [])
        if len(found) != 1:
            paths = ", ".join(map(str, found))
            left_out.append(
                f'row "{name}": {f"several videos are called so ({paths})" if found else "there is no video"}'
            )
        elif not filled:
            left_out.append(f'row "{name}": has no text in any language')
        else:
            rows[found[0]] = filled
            if missing := [language for language in languages if language not in filled]:
                left_out.append(f'row "{name}": has no text in {", ".join(missing)}')
    named = {path for paths in videos.values() for path in paths if path.stem in table.rows or path.name in table.rows}
    left_out += [f"{path}: has no row" for paths in videos.values() for path in paths if path not in named]
    return rows


def _entries(rows: Mapping[Path, list[str]], languages: list[str], videos: Mapping[str, list[Path]]) -> list[Entry]:
    """One grid where a glob says it all, else an entry a video."""
    folders = {video.parent for video in rows}
    endings = {video.suffix for video in rows}
    whole = all(filled == languages for filled in rows.values())
    if whole and len(folders) == len(endings) == 1:
        (folder,), (ending,) = folders, endings
        there = [video for paths in videos.values() for video in paths]
        if {video for video in there if video.parent == folder and video.suffix == ending} == set(rows):
            glob = (folder / f"*{ending}").as_posix()
            return [Entry(fields={"video": glob, "each": languages}, jobs=len(rows) * len(languages))]
    return [
        Entry(fields={"video": escape(video.as_posix()), "each": filled}, jobs=len(filled))
        for video, filled in sorted(rows.items())
    ]
