"""A folder of media: each video with the recordings or texts that are called like it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.drafting.draft import OUTPUT, Draft, Entry, counted
from lipsync_batch.drafting.kinship import Family
from lipsync_batch.drafting.languages import folded, rest_after
from lipsync_batch.drafting.media import Found, found_in
from lipsync_batch.drafting.subtitles import ENDINGS as TEXT_ENDINGS
from lipsync_batch.drafting.subtitles import text_of
from lipsync_batch.drafting.translations import draft_of_sheet
from lipsync_batch.errors import ManifestError, MissingExtraError, UsageError
from lipsync_batch.manifest.templates import escape

SHEET_ENDINGS = frozenset({".csv", ".tsv", ".xlsx"})
SHOWN = 5
"""Reasons in an error."""
MIRRORED = "{language}/{video.parent}/{video.stem}.mp4"


@dataclass(frozen=True, slots=True)
class _Pair:
    video: Path
    language: str
    speech: Path


def draft_of_folder(folder: Path) -> Draft:
    """One job for each recording or text that belongs to a video; where there are none, by a sheet that lies there.

    UsageError where nothing of it can be made.
    """
    found = found_in(folder)
    if not found.videos:
        kinds = " or ".join(sorted(LIP_SYNC.video_endings))
        raise UsageError(f"{folder}: holds no videos ({kinds})", hint="Name the folder where they are.")
    left_out = [f"{path}: a kind of media that the API does not take" for path in found.others]
    pairs = _pairs(found, left_out)
    texts = _texts(folder, [pair for pair in pairs if pair.speech.suffix.lower() in TEXT_ENDINGS], left_out)
    pairs = [pair for pair in pairs if texts.get(pair, "a recording")]
    sheets = list(_drafts_of_sheets(folder))
    if not pairs:
        return _only(sheets, folder, found, left_out)
    told = [f"{sheet.name}: a sheet of translations; of it alone: lipsync-batch init {sheet}" for sheet, _ in sheets]
    output = MIRRORED if _outputs_meet(pairs) else OUTPUT
    entries = [_entry(pair, texts.get(pair), output) for pair in pairs]
    defaults = {"output": output} | ({"speaker": "Auto"} if texts else {})
    about = f"a folder with {counted(len(found.videos), 'video')}"
    return Draft(folder=folder, about=about, entries=entries, defaults=defaults, left_out=told + left_out)


def _drafts_of_sheets(folder: Path) -> Iterator[tuple[Path, Draft]]:
    """The sheets of translations that lie in the folder itself, each with the manifest that can be made of it."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SHEET_ENDINGS and not path.name.startswith("."):
            with suppress(UsageError, ManifestError, MissingExtraError):
                yield path, draft_of_sheet(path)


def _only(sheets: Sequence[tuple[Path, Draft]], folder: Path, found: Found, left_out: Sequence[str]) -> Draft:
    """The draft of the one sheet there is; else why there is nothing to make a manifest of."""
    if len(sheets) == 1:
        return sheets[0][1]
    if sheets:
        names = ", ".join(sheet.name for sheet, _ in sheets)
        hint = f"Name the one that is meant: lipsync-batch init {sheets[0][0]}"
        raise UsageError(f"{folder}: holds several sheets of translations ({names})", hint=hint)
    first = found.videos[0]
    why = [f"{folder}: no recording or text goes with its {counted(len(found.videos), 'video')}", *left_out[:SHOWN]]
    raise UsageError(
        "\n  ".join(why),
        hint=f"Call them like {first.stem}.de.wav, {first.stem}.fr.srt or de/{first.stem}.wav. For a sheet of "
        "translations: lipsync-batch init SHEET.",
    )


def _pairs(found: Found, left_out: list[str]) -> list[_Pair]:
    """What belongs together, video by video; what does not is told."""
    taken: dict[tuple[Path, str], Path] = {}
    family = Family(found.videos)
    for speech in [*found.audios, *found.texts]:
        owners = family.owners_of(speech)
        if not owners:
            left_out.append(f"{speech}: {_why_no_video(speech, family.relatives(speech))}")
        elif len(owners) > 1:
            names = ", ".join(str(video) for video, _ in owners)
            left_out.append(f"{speech}: several videos are called like it ({names})")
        elif owners[0] in taken:
            left_out.append(f"{speech}: {taken[owners[0]]} is for the same video and language")
        else:
            taken[owners[0]] = speech
    with_speech = {video for video, _ in taken}
    left_out += [
        f"{video}: no recording or text is called like it" for video in found.videos if video not in with_speech
    ]
    return sorted((_Pair(video, language, speech) for (video, language), speech in taken.items()), key=_order)


def _why_no_video(speech: Path, relatives: Sequence[Path]) -> str:
    for video in relatives:
        if rest := rest_after(speech.stem, video.stem):
            return f'it is called like {video}, but "{rest}" is no language'
    return "no video is called like it"


def _texts(folder: Path, pairs: Sequence[_Pair], left_out: list[str]) -> dict[_Pair, str]:
    """What is said in the files of texts and subtitles; "" for those that say nothing, or that cannot be read."""
    texts = {}
    for pair in pairs:
        try:
            texts[pair] = text_of(folder / pair.speech)
        except ManifestError as error:
            texts[pair] = ""
            left_out += [f"{pair.speech}: {problem}" for problem in error.problems]
        else:
            if not texts[pair]:
                left_out.append(f"{pair.speech}: says nothing")
    return texts


def _order(pair: _Pair) -> tuple[Path, str]:
    return pair.video, pair.language


def _outputs_meet(pairs: Sequence[_Pair]) -> bool:
    counts = Counter((pair.language, folded(pair.video.stem)) for pair in pairs)
    return max(counts.values()) > 1


def _entry(pair: _Pair, text: str | None, output: str) -> Entry:
    fields: dict[str, str | list[str]] = {"video": escape(pair.video.as_posix())}
    fields |= {"audio": escape(pair.speech.as_posix())} if text is None else {"text": escape(text)}
    if pair.language:
        fields["language"] = pair.language
    else:
        fields["output"] = output.removeprefix("{language}/")
    return Entry(fields=fields)
