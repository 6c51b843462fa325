"""A folder of media: each video with the recordings or texts that are called like it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.drafting.draft import OUTPUT, Draft, Entry
from lipsync_batch.drafting.languages import is_language, language_after
from lipsync_batch.drafting.media import Found, found_in
from lipsync_batch.drafting.subtitles import text_of
from lipsync_batch.errors import UsageError
from lipsync_batch.manifest.templates import escape

MIRRORED = "{language}/{video.parent}/{video.stem}.mp4"


@dataclass(frozen=True, slots=True)
class _Pair:
    video: Path
    language: str
    speech: Path


def draft_of_folder(folder: Path) -> Draft:
    """One job for each recording or text that belongs to a video. UsageError where there is none."""
    found = found_in(folder)
    if not found.videos:
        kinds = " or ".join(sorted(LIP_SYNC.video_endings))
        raise UsageError(f"{folder}: holds no videos ({kinds})", hint="Name the folder where they are.")
    left_out = [f"{path}: a kind of media that the API does not take" for path in found.others]
    pairs = _pairs(found, left_out)
    if not pairs:
        first = found.videos[0]
        raise UsageError(
            f"{folder}: none of its {len(found.videos)} videos has a recording or a text that is called like it",
            hint=f"Call them like {first.stem}.de.wav, {first.stem}.fr.srt or de/{first.stem}.wav.",
        )
    output = MIRRORED if _outputs_meet(pairs) else OUTPUT
    texts = {pair: text_of(folder / pair.speech) for pair in pairs if pair.speech in set(found.texts)}
    silent = [pair for pair, text in texts.items() if not text]
    left_out += [f"{pair.speech}: says nothing" for pair in silent]
    entries = [_entry(pair, texts.get(pair), output) for pair in pairs if pair not in silent]
    defaults = {"output": output} | ({"speaker": "Auto"} if texts else {})
    about = f"a folder with {len(found.videos):,} video{'s' * (len(found.videos) != 1)}"
    return Draft(folder=folder, about=about, entries=entries, defaults=defaults, left_out=left_out)


def _pairs(found: Found, left_out: list[str]) -> list[_Pair]:
    """What belongs together, video by video; what does not is told."""
    taken: dict[tuple[Path, str], Path] = {}
    for speech in [*found.audios, *found.texts]:
        owners = list(_owners(speech, found.videos))
        if not owners:
            left_out.append(f"{speech}: no video is called like it")
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


def _order(pair: _Pair) -> tuple[Path, str]:
    return pair.video, pair.language


def _owners(speech: Path, videos: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """The videos that a recording may belong to, with its language: those of the longest name, the nearest ones."""
    fitting = []
    for video in videos:
        language = language_after(speech.stem, video.stem)
        if language is not None:
            fitting.append((len(video.stem), _nearness(speech, video), video, language or _language_of_folder(speech)))
    best = max((one[:2] for one in fitting), default=None)
    return ((video, language) for length, near, video, language in fitting if (length, near) == best)


def _nearness(speech: Path, video: Path) -> int:
    """How much of their folders they have in common, languages aside."""
    one, other = ([part for part in path.parent.parts if not is_language(part)] for path in (speech, video))
    common = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        common += 1
    return common - abs(len(one) - len(other))


def _language_of_folder(speech: Path) -> str:
    return next((part for part in reversed(speech.parent.parts) if is_language(part)), "")


def _outputs_meet(pairs: Sequence[_Pair]) -> bool:
    counts = Counter((pair.language, pair.video.stem) for pair in pairs)
    return max(counts.values()) > 1


def _entry(pair: _Pair, text: str | None, output: str) -> Entry:
    fields: dict[str, str | list[str]] = {"video": escape(pair.video.as_posix())}
    fields |= {"audio": escape(pair.speech.as_posix())} if text is None else {"text": escape(text)}
    if pair.language:
        fields["language"] = pair.language
    else:
        fields["output"] = output.removeprefix("{language}/")
    return Entry(fields=fields)
