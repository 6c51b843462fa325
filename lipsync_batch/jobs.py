"""The words of the program: what is wanted, what is paid for, and how it moves.

Pure data. Everything else in the package imports from here; this module imports nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

MODEL = "pixverse/lip-sync"


class State(StrEnum):
    """Where a pair stands. The values live in users' databases: never rename one."""

    PENDING = "pending"  #: wanted; nothing is running, nothing is owed
    SUBMITTING = "submitting"  #: written down before the paid call goes out
    SUBMITTED = "submitted"  #: the provider gave us a generation id; polling
    READY = "ready"  #: the provider finished; the video is not on disk yet
    DONE = "done"  #: the video is on disk, whole and checked
    FAILED = "failed"  #: stopped; the pair's error says why
    UNCLEAR = "unclear"  #: the submit may have been accepted; only resolving moves it


MOVES: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        # To `submitted`: a person had it sent again, and before it was, the first submit was found after all.
        State.PENDING: frozenset({State.SUBMITTING, State.SUBMITTED}),
        State.SUBMITTING: frozenset({State.SUBMITTED, State.PENDING, State.FAILED, State.UNCLEAR}),
        State.UNCLEAR: frozenset({State.SUBMITTED, State.PENDING, State.FAILED}),
        State.SUBMITTED: frozenset({State.READY, State.PENDING, State.FAILED}),
        State.READY: frozenset({State.SUBMITTED, State.DONE, State.FAILED}),
        State.DONE: frozenset({State.READY}),
        State.FAILED: frozenset({State.SUBMITTED, State.PENDING}),
    }
)
"""Every legal move of a pair. The store refuses any other; SQL guards each with `WHERE state = :from`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFile:
    """Media on this machine. It goes out inline, or as a link under `media_base_url`."""

    path: Path
    """Absolute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """Media that the provider fetches by itself."""

    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DataUri:
    """Media written into the manifest itself, as `data:<type>;base64,...`."""

    text: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredObject:
    """Media in object storage. It goes out as a link that is signed when it is needed."""

    url: str
    """`s3://bucket/key`, `gs://...` or `az://container/key`; the key as it is, with nothing escaped."""
    identity: str | None = None
    """What the store named it by when it was looked at (`etag:...`): another one is another object. None before."""
    size: int | None = field(default=None, compare=False)
    """Bytes, where they are known."""


Source = LocalFile | Link | DataUri | StoredObject


@dataclass(frozen=True, kw_only=True, slots=True)
class Audio:
    """Recorded speech."""

    source: Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """Speech that the provider makes: a text and one of its speakers."""

    text: str
    speaker: str


Speech = Audio | Text


@dataclass(frozen=True, kw_only=True, slots=True)
class Want:
    """A video and its speech as a manifest asks for them: a pair whose bytes are not hashed yet."""

    video: Source
    speech: Speech
    take: int = 1
    model: str = MODEL


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One video and the speech to put in its mouth: what is paid for."""

    fingerprint: str
    """Versioned hash of everything that decides the result; the same pair has the same one on every run."""
    video: Source
    speech: Speech
    take: int = 1
    """Counts the times that another result was asked for on purpose."""
    model: str = MODEL
    video_sha256: str | None = None
    """Hex digest of a local video, checked again while it is being sent."""
    audio_sha256: str | None = None
    """Hex digest of a local audio file, likewise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where in a manifest something stands. Lines, columns and rows count from 1."""

    line: int | None = None
    column: int | None = None
    row: int | None = None
    cell: str = ""
    """In a workbook, in the words of spreadsheets: `sheet Texts, C7`. Then there is nothing else."""

    def __str__(self) -> str:
        named = (("row", self.row), ("line", self.line), ("column", self.column))
        return self.cell or ", ".join(f"{name} {number}" for name, number in named if number is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A line of the manifest after expansion: what is wanted, and where it shall land."""

    key: str
    output: str
    """Relative to the batch folder, `/` between its parts, in NFC."""
    want: Want
    position: int
    """Counts from 0 in manifest order, over all jobs."""
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    """Higher goes first."""
    place: Place = Place()


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which jobs something is about. Nothing given means all."""

    where: Mapping[str, str] = field(default_factory=dict)
    """Labels that must be equal."""
    only: Sequence[str] = ()
    """Key globs of which one must fit."""
    limit: int | None = None
    """At most so many jobs that are not done yet."""

    @property
    def is_all(self) -> bool:
        return not self.where and not self.only and self.limit is None

    def __str__(self) -> str:
        """As flags say it, for people: `language=de, --only intro-*, the first 10`."""
        parts = [f"{label}={value}" for label, value in self.where.items()]
        parts += [f"--only {glob}" for glob in self.only]
        parts += [f"the first {self.limit:,}"] if self.limit is not None else []
        return ", ".join(parts)


ALL = Selection()


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaInfo:
    """What probing a media file found out. Sizes in pixels, durations in seconds."""

    duration: float
    has_video: bool
    has_audio: bool
    width: int | None = None
    height: int | None = None
    container: str = ""
    """FFmpeg's name of the format, such as `mov,mp4,m4a,3gp,3g2,mj2`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    """A finished file: what was downloaded, checked and is now under its final name."""

    bytes: int
    sha256: str
    media: MediaInfo | None
    """None where only the length was checked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """One paid task at the provider: a row of the ledger. Money in micro-USD."""

    client_request_id: str
    fingerprint: str
    attempt: int
    generation_id: str | None = None
    live: bool = True
    intended_at: datetime | None = None
    accepted_at: datetime | None = None
    finished_at: datetime | None = None
    reserve: int = 0
    quote: int | None = None
    settled: int | None = None
    outcome: str | None = None


def client_request_id(batch_id: str, fingerprint: str, attempt: int) -> str:
    """Our id of a generation, known before its POST: `lb1.<batch id>.<24 hex of the fingerprint>.<attempt>`.

    Only characters that `X-Client-Request-Id` allows (`A-Za-z0-9._:-`): any other is silently dropped by the API.
    """
    digest = fingerprint.rpartition(":")[2]
    return f"lb1.{batch_id}.{digest[:24]}.{attempt}"


class StopReason(StrEnum):
    """Why a run ended. The values are in `report.json` and in users' databases: never rename one."""

    RUNNING = "running"  #: it has not ended: a report written while it goes on
    FINISHED = "finished"  #: nothing was left to do
    DEADLINE = "deadline"  #: --finish-by
    PATIENCE = "patience"  #: only overdue or unreachable work was left, and nothing moved for --patience
    OUTAGE = "outage"  #: the API could not be reached for --patience
    DISK_FULL = "disk_full"
    DISK_ERROR = "disk_error"  #: the disk, or jobs.db on it, cannot be written or read
    CREDENTIALS = "credentials"  #: the key was refused
    CREDITS = "credits"  #: the account is out of credits
    BUDGET = "budget"  #: --budget would be exceeded
    INTERRUPTED = "interrupted"  #: Ctrl-C
    TERMINATED = "terminated"  #: SIGTERM
    CRASHED = "crashed"  #: the process died, or a bug; found at the next start


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRecord:
    """A job as it stands in the store, with its pair and the pair's newest generation. Money in micro-USD."""

    key: str
    output: str
    labels: Mapping[str, str]
    position: int
    fingerprint: str
    state: State
    video: str
    """The video as the manifest names it: a path or a link without its secrets; `data:` for data URIs."""
    speech: str
    """The audio likewise, or the text to be spoken."""
    speaker: str | None = None
    attempts: int = 0
    generation_id: str | None = None
    client_request_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    generation_seconds: float | None = None
    """From accepted to noticed as finished."""
    submitted_at: datetime | None = None
    finished_at: datetime | None = None
    suspect: str | None = None
    """Why the output looks wrong although it plays; None where it does not."""
    estimated: int | None = None
    quoted: int | None = None
    settled: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """One process's work on a batch."""

    started_at: datetime
    ended_at: datetime | None
    stop_reason: StopReason
    exit_code: int | None
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRecord:
    """What a batch folder is bound to, from its creation on."""

    batch_id: str
    provider: str
    origin: str
    manifest: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What a batch costs over all its runs, in micro-USD; None where nobody has said so yet."""

    estimated: int | None = None
    """What its pairs should cost by the published price, known before anything is sent."""
    quoted: int | None = None
    """What the provider named when it accepted them."""
    settled: int | None = None
    """What was charged in the end."""

    def known(self) -> dict[str, int]:
        """The figures that somebody has named, by their names: the surest one first."""
        named = {"settled": self.settled, "quoted": self.quoted, "estimated": self.estimated}
        return {name: micro for name, micro in named.items() if micro is not None}
