"""One combination of a row becomes a job, or everything that is wrong with it.

Layers lie on top of each other: defaults, the row, the items of its grid, the override of its key. The topmost that
says anything about the speech decides its kind: `audio` takes away the text and speaker of the layers below, `text`
their audio. A speaker in the defaults is for rows with text, and no contradiction where a row has audio.

Names. `output` defaults to `{key}.mp4`, and `key` to the output's path without its ending. When neither is given:

| speech | key | example |
| --- | --- | --- |
| audio called like the video and something more | the audio's name | intro.mp4 + intro.de.wav → `intro.de` |
| audio called otherwise | video, audio | ada.mp4 + greeting.wav → `ada.greeting` |
| audio called like the video, or text | video, then the labels | intro.mp4 + text, language fr → `intro.fr` |
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipsync_batch.capabilities import Capabilities
from lipsync_batch.errors import Problem
from lipsync_batch.jobs import Audio, Job, Speech, Text, Want
from lipsync_batch.manifest.faults import FieldError, nearest
from lipsync_batch.manifest.fields import Layer, Row
from lipsync_batch.manifest.outputs import as_part, checked_key, checked_output
from lipsync_batch.manifest.sources import UNKNOWN, Kind, Matches, Media, find, parent
from lipsync_batch.manifest.tables import Table
from lipsync_batch.manifest.templates import is_template, render

DEFAULTS = "defaults."
"""The path of the layer of defaults."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What the layers of one combination say together."""

    row: Row
    layers: tuple[Layer, ...]
    """Lowest first."""
    values: dict[str, Any]
    labels: dict[str, str]

    @property
    def problems(self) -> list[Problem]:
        return [problem for layer in self.layers for problem in layer.problems]

    def excuses(self, *names: str) -> bool:
        """Whether one of these fields was complained about already."""
        return any(name in layer.excused for layer in self.layers for name in names)

    def problem(self, name: str, error: FieldError) -> Problem:
        """A problem with a field, at the topmost place that gives it, else at the row."""
        for layer in reversed(self.layers):
            if name in layer.values and layer.path != DEFAULTS:
                return layer.problem(name, error)
        return Problem(place=self.row.place, field=name, cause=error.cause, remedy=error.remedy)


def lay(row: Row, layers: tuple[Layer, ...]) -> Draft:
    """Put layers on top of each other."""
    if len(layers) == 1:
        return Draft(row, layers, layers[0].values, layers[0].labels)
    values: dict[str, Any] = {}
    labels: dict[str, str] = {}
    speaker_is_a_default = False
    for layer in layers:
        if ("audio" in layer.values) != ("text" in layer.values):
            for replaced in ("text", "speaker") if "audio" in layer.values else ("audio",):
                values.pop(replaced, None)
        if "speaker" in layer.values:
            speaker_is_a_default = layer.path == DEFAULTS
        values.update(layer.values)
        labels.update(layer.labels)
    if speaker_is_a_default and "text" not in values:
        values.pop("speaker", None)
    return Draft(row, layers, values, labels)


@dataclass(slots=True)
class Scope:
    """What templates may name, as far as it is known yet."""

    base: Path
    tables: Mapping[str, Table]
    matches: Matches
    labels: Mapping[str, str]
    index: int
    """Of the job in the manifest, from 1."""
    video: Media = UNKNOWN
    audio: Media | None = None
    key: str | None = None

    def fill(self, text: str) -> str:
        return render(text, self._names(), self.tables) if is_template(text) else text

    def find(self, text: str, kind: Kind) -> Collection[Media]:
        return find(self.fill(text), kind, self.base, self.matches)

    def _names(self) -> dict[str, str]:
        names = {**self.labels, "index": str(self.index)}
        for kind, media in (("video", self.video), ("audio", self.audio)):
            if media is not None and media.path:  # a data URI has no name
                names[f"{kind}.stem"] = media.stem
                names[f"{kind}.name"] = media.name
                names[f"{kind}.parent"] = parent(media, self.base)
        if self.key is not None:
            names["key"] = self.key
        return names


class JobBuilder:
    """Builds one job; `problems` holds what stands against it, and `key` its key if that can be told."""

    __slots__ = ("_capabilities", "_draft", "_scope", "key", "problems")

    def __init__(self, draft: Draft, scope: Scope, capabilities: Capabilities, problems: Iterable[Problem]) -> None:
        self._draft = draft
        self._scope = scope
        self._capabilities = capabilities
        self.key: str | None = None
        self.problems = [*draft.problems, *problems]

    def build(self) -> Job | None:
        """The job; None if something stands against it."""
        draft, scope = self._draft, self._scope
        speech = self._speech()
        output = self._name()
        if (
            self.problems
            or draft.row.excused
            or scope.video is UNKNOWN
            or speech is None
            or self.key is None
            or output is None
        ):
            return None
        return Job(
            key=self.key,
            output=output,
            want=Want(
                video=scope.video.source,
                speech=speech,
                take=draft.values.get("take", 1),
                model=self._capabilities.model,
            ),
            position=scope.index - 1,
            labels=draft.labels,
            priority=draft.values.get("priority", 0),
            place=draft.row.place,
        )

    def _note(self, name: str, error: FieldError) -> None:
        self.problems.append(self._draft.problem(name, error))

    def _speech(self) -> Speech | None:
        values = self._draft.values
        if "audio" in values:
            return self._recorded()
        if "text" in values:
            return self._spoken(values["text"], values.get("speaker"))
        if not self._draft.excuses("audio", "text"):
            if "speaker" in values:
                self._note("text", FieldError("there is a speaker, but no text", "add text, or give audio instead"))
            else:
                cause = "there is no speech: neither audio nor text is given"
                self._note("audio", FieldError(cause, "give audio, or text and speaker"))
        return None

    def _recorded(self) -> Speech | None:
        values = self._draft.values
        if "text" in values:
            self._note("text", FieldError("audio and text are both given", "keep one of them"))
        elif "speaker" in values:
            self._note("speaker", FieldError("audio and a speaker are both given", "remove the speaker"))
        audio = self._scope.audio
        return None if audio is None or audio is UNKNOWN else Audio(source=audio.source)

    def _spoken(self, text: str, speaker: str | None) -> Speech | None:
        text = self._filled("text", text).strip()
        if speaker is None:
            if not self._draft.excuses("speaker"):
                remedy = f"add speaker: one of {', '.join(self._capabilities.speakers)}"
                self._note("speaker", FieldError("there is a text, but no speaker", remedy))
            return None
        speaker = self._filled("speaker", speaker)
        if speaker and speaker not in self._capabilities.speakers:
            self._note("speaker", _unknown_speaker(speaker, self._capabilities.speakers))
        return Text(text=text, speaker=speaker)

    def _filled(self, name: str, template: str) -> str:
        try:
            return self._scope.fill(template)
        except FieldError as error:
            self._note(name, error)
            return ""

    def _name(self) -> str | None:
        """Find out the key, and return the output; None if either is wrong or cannot be known."""
        values, scope = self._draft.values, self._scope
        blamed = "key" if "key" in values or "output" not in values else "output"
        try:
            if blamed == "key":
                self.key = scope.key = self._own_key()
                if scope.key is None or "output" not in values:
                    return scope.key and output_of(scope.key)
                blamed = "output"
            output = checked_output(scope.fill(values["output"]))
            self.key = scope.key or checked_key(output.rpartition(".")[0])
        except FieldError as error:
            self._note(blamed, error)
            return None
        return output

    def _own_key(self) -> str | None:
        """The key as it is given, or else from the inputs' names; None if one of these is not known."""
        values, scope = self._draft.values, self._scope
        if "key" in values:
            return checked_key(scope.fill(values["key"]))
        if UNKNOWN in (scope.video, scope.audio):
            return None
        return default_key(scope.video, scope.audio, self._draft.labels)


def default_key(video: Media, audio: Media | None, labels: Mapping[str, str]) -> str:
    """A key from the names of the inputs, as the table at the top of this module says."""
    stem = video.stem
    if not stem:
        raise FieldError("there is no name: the video is a data URI", "add key or output")
    spoken = audio.stem if audio is not None else ""
    if not spoken or spoken == stem:
        return as_part(".".join([stem, *labels.values()]))
    tells_the_video = spoken.startswith(stem) and not spoken[len(stem)].isalnum()
    return as_part(spoken if tells_the_video else f"{stem}.{spoken}")


def output_of(key: str) -> str:
    """The output of a job that only has a key."""
    try:
        return checked_output(f"{key}.mp4")
    except FieldError as error:
        raise FieldError(f'the output would be "{key}.mp4": {error.cause}', f"{error.remedy}, or add output") from error


def _unknown_speaker(speaker: str, speakers: Sequence[str]) -> FieldError:
    meant = nearest(speaker, speakers)
    remedy = f'did you mean "{meant}"?' if meant else f"there are {', '.join(speakers)}"
    return FieldError(f'unknown speaker "{speaker}"', remedy)
