"""A sheet of translations, one row a clip and one column a language: a grid that looks its texts up there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.drafting.draft import OUTPUT, Draft, Entry, counted
from lipsync_batch.drafting.languages import folded, language_of
from lipsync_batch.drafting.media import found_in
from lipsync_batch.errors import ManifestError, UsageError
from lipsync_batch.manifest import workbook
from lipsync_batch.manifest.sheet import Record
from lipsync_batch.manifest.tables import Table
from lipsync_batch.manifest.templates import escape

TABLE = "lines"
_SPECIAL = set("*?[]{}")
"""Characters that mean something in a glob or in a template."""
ROW = "row"
"""The label that says which row is a video's, where their names differ."""


@dataclass(frozen=True, slots=True)
class _Clip:
    """A row that has its video."""

    row: str
    video: Path
    languages: tuple[str, ...]
    """Those that have a text, as their columns are called."""


def draft_of_sheet(path: Path) -> Draft:
    """A grid of clips and languages. UsageError where the sheet has no such columns; ManifestError for its faults."""
    if path.suffix.lower() in {".xls", ".ods", ".numbers"}:
        raise UsageError(
            f"{path}: is a workbook of a kind that is not read",
            hint='In the spreadsheet, save it as .xlsx, or the sheet as "CSV UTF-8".',
        )
    table, others = _table(path)
    key, *columns = table.columns
    languages = [column for column in columns if language_of(column)]
    if not languages:
        raise _no_languages(path, table)
    if table.problems:
        raise ManifestError(path, table.problems)
    _refuse_manifest(path, [key, *columns])
    videos = found_in(path.parent).videos
    left_out: list[str] = []
    clips = _clips(table, languages, videos, left_out)
    if not clips:
        raise UsageError(
            f"{path}: none of its {len(table.rows)} rows has a video below {path.parent}",
            hint=f'The column "{key}" names them: ada is ada.mp4, wherever it lies below the sheet\'s folder.',
        )
    row = _how_rows_are_called(clips)
    speaker = next((column for column in columns if _names_speakers(table, column, clips)), None)
    if speaker:
        left_out += _no_speakers(table, speaker, clips)
    strangers = [column for column in columns if column not in languages and column != speaker]
    return Draft(
        folder=path.parent,
        about=f"{path.name}: {counted(len(clips), 'clip')} in {counted(len(languages), 'language')}",
        entries=_entries(clips, languages, videos, labelled=row == ROW),
        defaults={
            "speaker": f'{{{TABLE}[{row}]["{speaker}"]}}' if speaker else LIP_SYNC.speakers[-1],
            "output": OUTPUT,
            "text": f"{{{TABLE}[{row}][language]}}",
        },
        table=(path.name, key, table.sheet),
        left_out=others + [f'column "{column}": is no language' for column in strangers] + left_out,
    )


def _table(path: Path) -> tuple[Table, list[str]]:
    """The sheet, and which others of a workbook are left out: the first one with languages is meant."""
    if not workbook.is_workbook(path):
        return Table.load(TABLE, path, None), []
    names = workbook.sheet_names(path)
    tables: list[Table] = []
    faults: list[ManifestError] = []
    for name in names:
        try:
            tables.append(Table.load(TABLE, path, None, name))
        except ManifestError as error:  # an empty one, say: some workbooks begin with such
            faults.append(error)
    if not tables:
        raise faults[0]
    chosen = next((table for table in tables if any(map(language_of, table.columns))), tables[0])
    return chosen, [f'sheet "{name}": another one than "{chosen.sheet}"' for name in names if name != chosen.sheet]


def _refuse_manifest(path: Path, columns: Iterable[str]) -> None:
    if "video" in map(folded, columns):
        raise UsageError(
            f'{path}: is a manifest already: it has a column "video"', hint=f"Go on with: lipsync-batch plan {path}"
        )


def _no_languages(path: Path, table: Table) -> UsageError:
    """What the sheet seems to be instead, and what makes it one of a row a clip and a column a language."""
    _refuse_manifest(path, table.columns)
    header = [folded(column) for column in table.columns]
    hint = f"Name them by codes or names, such as de, pt-BR or German. Columns here: {', '.join(table.columns)}."
    buried = next((record for record in table.rows.values() if any(map(language_of, record.cells[1:]))), None)
    if any(map(language_of, table.rows)):
        hint = "It has a row a language: turn it round (transpose), to a row a clip and a column a language."
    elif {"language", "lang", "locale"} & set(header):
        hint = "It has a row a job, as manifests do: name its columns video, text, speaker and language, and plan it."
    elif buried is not None:
        hint = f"{'Row' if table.sheet else 'Line'} {buried.line} seems to name the columns: remove the lines above it."
    elif len(header) == 1:
        hint = "It has one column alone. Does it begin with a title? The first row must name the columns."
    return UsageError(f"{path}: no column is named by a language", hint=hint)


def _clips(table: Table, languages: Sequence[str], videos: Sequence[Path], left_out: list[str]) -> list[_Clip]:
    """The rows that have a video and a text, in the order of their videos; the rest is told."""
    named: defaultdict[str, list[Path]] = defaultdict(list)
    for video in videos:
        for name in {folded(video.stem), folded(video.name)}:
            named[name].append(video)
    clips: dict[Path, _Clip] = {}
    rowless = set(videos)
    for row, record in table.rows.items():
        found = named[folded(row)]
        rowless -= set(found)
        filled = tuple(language for language in languages if _cell(table, record, language))
        if not found:
            left_out.append(f'row "{row}": there is no video')
        elif len(found) > 1:
            left_out.append(f'row "{row}": several videos are called so ({", ".join(map(str, found))})')
        elif found[0] in clips:
            left_out.append(f'row "{row}": the row "{clips[found[0]].row}" is about the same video')
        elif not filled:
            left_out.append(f'row "{row}": has no text in any language')
        else:
            clips[found[0]] = _Clip(row, found[0], filled)
            if missing := [language for language in languages if language not in filled]:
                left_out.append(f'row "{row}": has no text in {", ".join(missing)}')
    left_out += [f"{video}: has no row" for video in videos if video in rowless]
    return [clips[video] for video in sorted(clips)]


def _cell(table: Table, record: Record, column: str) -> str:
    return record.cells[table.columns[column]].strip()


def _how_rows_are_called(clips: Sequence[_Clip]) -> str:
    """The name in templates that gives each video's row."""
    if all(clip.row == clip.video.stem for clip in clips):
        return "video.stem"
    return "video.name" if all(clip.row == clip.video.name for clip in clips) else ROW


def _names_speakers(table: Table, column: str, clips: Sequence[_Clip]) -> bool:
    """Whether a column says who speaks, at least of most clips: what else is in it are mistakes then."""
    if set('"{}') & set(column):
        return False  # it cannot be quoted in a template
    known = sum(_cell(table, table.rows[clip.row], column) in LIP_SYNC.speakers for clip in clips)
    return 2 * known > len(clips)


def _no_speakers(table: Table, column: str, clips: Sequence[_Clip]) -> Iterator[str]:
    """The cells of a column of speakers that name none: `plan` refuses their rows."""
    for clip in clips:
        if (cell := _cell(table, table.rows[clip.row], column)) not in LIP_SYNC.speakers:
            close = get_close_matches(cell, LIP_SYNC.speakers, 1)
            meant = f'; did you mean "{close[0]}"?' if close else ""
            yield f'row "{clip.row}": "{cell}" in the column "{column}" is no speaker{meant}'


def _entries(
    clips: Sequence[_Clip], languages: Sequence[str], videos: Sequence[Path], *, labelled: bool
) -> list[Entry]:
    """One grid where a glob says it all, else an entry a video."""
    folders = {clip.video.parent for clip in clips}
    endings = {clip.video.suffix for clip in clips}
    whole = not labelled and all(clip.languages == tuple(languages) for clip in clips)
    if whole and len(folders) == len(endings) == 1:
        (folder,), (ending,) = folders, endings
        there = {video for video in videos if video.parent == folder and video.suffix == ending}
        if there == {clip.video for clip in clips} and not _SPECIAL & set(str(folder)):
            glob = (folder / f"*{ending}").as_posix()
            return [Entry(fields={"video": glob, "each": list(languages)}, jobs=len(clips) * len(languages))]
    return [_entry(clip, labelled=labelled) for clip in clips]


def _entry(clip: _Clip, *, labelled: bool) -> Entry:
    fields: dict[str, str | list[str]] = {"video": escape(clip.video.as_posix())}
    if labelled:
        fields[ROW] = escape(clip.row)
    fields["each"] = list(clip.languages)
    return Entry(fields=fields, jobs=len(clip.languages))
