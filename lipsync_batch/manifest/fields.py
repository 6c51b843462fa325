"""What a job may say: the names of its fields, their types, and how labels are told from misspelt names.

In CSV, YAML and JSONL alike, a name that is no field is a **label** (`language: de`), to be used in templates and
shown in reports. A name that is nearly a field (`vidoe`, `tts_text`) is an error instead, and so is one with a nested
value. Under `labels:` (YAML and JSONL) any name is a label.

The pydantic models check the fields of one row, all at once, and are what the JSON Schema is made of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from lipsync_batch.errors import Problem
from lipsync_batch.jobs import Place
from lipsync_batch.manifest.faults import CLOSE, FieldError, nearest
from lipsync_batch.manifest.marked import locate
from lipsync_batch.settings import withheld

MOST_WHOLE = 2**31 - 1
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _no_truth(value: object) -> object:
    """Python counts true as 1; a manifest that says `take: true` means something else."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "")
    return value


def _no_controls(text: str) -> str:
    """Nobody writes a NUL or an escape on purpose, and neither a voice nor a terminal should get one."""
    found = _CONTROL.search(text)
    if found is not None:
        raise PydanticCustomError("control_character", "", {"character": f"U+{ord(found[0]):04X}"})
    return text


Written = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1),
    AfterValidator(_no_controls),
    WithJsonSchema({"type": ["string", "number"], "minLength": 1}),
]
"""Text as it was written, trimmed: `text: 12` is the text "12", and `language: no` is Norwegian."""

Take = Annotated[int, Field(ge=1, le=MOST_WHOLE), BeforeValidator(_no_truth)]
Priority = Annotated[int, Field(ge=-MOST_WHOLE, le=MOST_WHOLE), BeforeValidator(_no_truth)]


class Fields(BaseModel):
    """What a job may say, or what holds for it. Any other name is a label."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Written] = Field(init=False)

    key: Written | None = Field(
        None, description="The job's name, unique in the manifest. Default: the output's path without its ending."
    )
    video: Written | None = Field(
        None,
        description="Path (relative to the manifest), glob (one job a match), https link, object "
        "(s3://bucket/key, gs://, az://; globs too) or data URI of the video.",
    )
    audio: Written | None = Field(
        None, description="The speech as a recording: path, glob, https link, object or data URI."
    )
    text: Written | None = Field(None, description="The speech as a text, spoken by `speaker`.")
    speaker: Written | None = Field(None, description="Who speaks `text`.", examples=["Emily", "Auto"])
    output: Written | None = Field(
        None,
        description="Where the video lands in the batch folder. Default: {key}.mp4.",
        examples=["{language}/{video.stem}.mp4"],
    )
    take: Take | None = Field(
        None, description="Counts from 1; another number asks for another result of the same pair."
    )
    priority: Priority | None = Field(None, description="Higher goes first.")
    labels: dict[str, Written] | None = Field(None, description="Labels of any name.")


def _axis_kind(value: object) -> str | None:
    return "list" if isinstance(value, list) else "mapping" if isinstance(value, dict) else None


Axis = Annotated[
    Annotated[list[Written], Tag("list")] | Annotated[dict[str, Fields | None], Tag("mapping")],
    Discriminator(_axis_kind),
]


class JobFields(Fields):
    """One job, or with globs and a grid many. Any other name is a label."""

    each: dict[str, Axis] | None = Field(
        None,
        description="The grid: one job an item. A list of values, or a mapping from values to the fields that they "
        "set. Several axes are multiplied.",
        examples=[{"language": ["fr", "ja"]}],
    )


class TableFields(BaseModel):
    """A sheet that templates look up: `{lines[video.stem][language]}`."""

    model_config = ConfigDict(extra="forbid")

    file: Written = Field(
        description="A CSV file or a workbook (.xlsx), relative to the manifest.",
        examples=["translations.csv", "translations.xlsx"],
    )
    key: Written | None = Field(None, description="The column that names the rows. Default: the first one.")
    sheet: Written | None = Field(
        None, description="Which sheet of a workbook; needless where only one can be seen.", examples=["Texts"]
    )


class ManifestFields(BaseModel):
    """Videos and the speech to put in their mouths."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = Field(1, description="The version of this format.")
    tables: dict[str, TableFields] | None = Field(
        None, description="Sheets that templates look up, by the names that templates call them by."
    )
    defaults: Fields | None = Field(None, description="What holds for every job that does not say otherwise.")
    jobs: list[JobFields] = Field(min_length=1, description="What is to be made; at least one item.")
    overrides: dict[str, Fields] | None = Field(None, description="Changes to single jobs, by key.")


FIELDS = frozenset(JobFields.model_fields)
_VALUES = tuple(name for name in Fields.model_fields if name != "labels")

MISNAMED: Mapping[str, str] = {
    **dict.fromkeys(("video_url", "video_path", "video_file", "videourl", "videofile"), "video"),
    **dict.fromkeys(("audio_url", "audio_path", "audio_file", "audiourl", "audiofile"), "audio"),
    **dict.fromkeys(("tts", "tts_text", "tts_content", "lip_sync_tts_content"), "text"),
    **dict.fromkeys(("voice", "voice_id", "tts_speaker", "lip_sync_tts_speaker", "speaker_name"), "speaker"),
    **dict.fromkeys(("out", "output_path", "output_file", "outfile"), "output"),
}
"""Names of other tools, and of the API itself: accepted silently, half of them would be labels by mistake."""

_SHUFFLED = {"".join(sorted(name)): name for name in FIELDS}
"""Fields by their letters in order: difflib finds `txet` and `tkae` less alike than two letters swapped are."""

_RESERVED = frozenset({"index", "model"})


@dataclass(frozen=True, slots=True)
class Misnamed:
    """A name that cannot be a label, and the field that was probably meant."""

    error: FieldError
    meant: str | None = None


@lru_cache(maxsize=4096)
def judge(name: str) -> Misnamed | None:
    """Why a name that is no field cannot be a label; None if it can."""
    folded = name.strip().casefold().replace(" ", "_").replace("-", "_")
    secret = withheld(name) if folded not in FIELDS else None
    if secret:
        return Misnamed(FieldError(f'"{name}" is never taken from a manifest', secret))
    meant = MISNAMED.get(folded) or nearest(name, FIELDS, CLOSE) or _SHUFFLED.get("".join(sorted(folded)))
    if meant:
        remedy = f'did you mean "{meant}"? (a label needs another name, or stands under labels:)'
        return Misnamed(FieldError(f'unknown field "{name}"', remedy), meant)
    error = name_error(name)
    return Misnamed(error) if error is not None else None


def name_error(name: str) -> FieldError | None:
    """Why templates could not name a label or a table so; None if they can."""
    if name in _RESERVED or name in FIELDS:
        return FieldError(f'"{name}" means something else here', "choose another name")
    if not re.fullmatch(r"\w[\w-]*", name):
        better = re.sub(r"[^\w-]+", "_", name).strip("_-")
        return FieldError(f'"{name}" cannot be a name', f'use letters, digits, _ and - only: "{better or "client"}"')
    return None


@dataclass(kw_only=True, slots=True)  # not frozen: that would double what making one takes, a million times
class Row:
    """One entry of a manifest as its reader hands it over: names and values as written."""

    given: Mapping[str, object]
    place: Place
    excused: frozenset[str] = frozenset()
    """Fields whose column is missing or misnamed. That was said once, for all rows; none of them can be a job."""
    problems: Sequence[Problem] = ()
    """What the reader found wrong with this entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """The checked fields and labels that one place in the manifest gives."""

    values: dict[str, Any]
    """By field, without `labels` and `each`: text, or whole numbers for take and priority."""
    labels: dict[str, str]
    row: Row
    path: str = ""
    """What goes before a field's name in a problem: `each.language.es.`, say."""
    problems: list[Problem] = field(default_factory=list)
    excused: frozenset[str] = frozenset()
    """Fields that were complained about already, and whose absence is therefore no news."""

    def problem(self, name: str, error: FieldError) -> Problem:
        place = locate(self.row.given, (name,), self.row.place)
        return Problem(place=place, field=self.path + name, cause=error.cause, remedy=error.remedy)


def read_layer(row: Row, path: str = "") -> Layer:
    """Check the names and types of one row. Fields that are wrong are left out, and are in `problems`."""
    problems = [*row.problems]
    given = {name: value for name, value in row.given.items() if value is not None and name != "each"}
    excused = row.excused
    for name in [name for name in given if name not in FIELDS]:
        if (misnamed := judge(name)) is not None:
            problems.append(_problem(row, path, (name,), misnamed.error))
            excused |= {misnamed.meant or name}
            del given[name]
    try:
        checked = Fields.model_validate(given)
    except ValidationError as error:
        wrong = set()
        for details in error.errors(include_url=False):
            problems.append(_problem(row, path, details["loc"], _translated(details)))
            wrong.add(str(details["loc"][0]))
        excused |= wrong
        checked = Fields.model_validate({name: value for name, value in given.items() if name not in wrong})
    stated = vars(checked)
    values = {name: value for name in _VALUES if (value := stated[name]) is not None}
    labels = checked.model_extra or {}
    if checked.labels:
        labels = labels | checked.labels
        problems += [
            _problem(row, path, ("labels", name), bad)
            for name in checked.labels
            if (bad := name_error(name)) is not None
        ]
    return Layer(values=values, labels=labels, row=row, path=path, problems=problems, excused=excused)


def _problem(row: Row, path: str, loc: tuple[str | int, ...], error: FieldError) -> Problem:
    name = ".".join(str(step) for step in loc)
    return Problem(place=locate(row.given, loc, row.place), field=path + name, cause=error.cause, remedy=error.remedy)


def _translated(details: ErrorDetails) -> FieldError:
    """A pydantic error in words for someone who writes a manifest."""
    name, given = str(details["loc"][-1]), details["input"]
    match details["type"]:
        case "control_character":
            return FieldError(f"holds the control character {details['ctx']['character']}", "remove it")
        case "string_too_short":
            return FieldError("is blank", "fill it in, or leave it out")
        case "string_type" if isinstance(given, dict | list):
            nested = "a mapping" if isinstance(given, dict) else "a list"
            return FieldError(f"must be text, not {nested}", "put a value that begins with { or [ in quotes")
        case "string_type":
            return FieldError(f"must be text, not {str(given).lower()}", "put it in quotes")
        case "dict_type":
            return FieldError("must be a mapping", f"write {name}: {{client: ACME}}")
        case "greater_than_equal":
            return FieldError(f"{given} is too small", "count from 1 on" if name == "take" else "choose a larger one")
        case "less_than_equal":
            return FieldError(f"{given} is too large", f"{MOST_WHOLE:,} is the largest")
        case _:
            return FieldError(f'"{given}" is not a whole number', "write 1, 2, 3, ...")
