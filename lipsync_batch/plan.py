"""A manifest against the store: what is new, changed, resuming, done or removed, and what that would cost.

Looking at the inputs happens here: each local file is probed and hashed once, and known again by path, inode, size and
time of change; each object in a store is asked for once, many at a time. Nothing is sent, and nothing is written but
what was learned about files and objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path

from lipsync_batch import inputs
from lipsync_batch.capabilities import LIP_SYNC, Capabilities
from lipsync_batch.deadline import deadline
from lipsync_batch.digest import intake_digest
from lipsync_batch.errors import SHOWN_PROBLEMS, ManifestError, Problem
from lipsync_batch.estimate import Estimate, Speed, estimate
from lipsync_batch.inputs import FileFacts, Kind, ObjectFacts, Trouble
from lipsync_batch.jobs import ALL, Audio, Job, LocalFile, Pair, Place, Selection, Source, StoredObject, Text, Want
from lipsync_batch.leftovers import Leftovers, leftovers
from lipsync_batch.manifest import Manifest
from lipsync_batch.providers.base import Price
from lipsync_batch.settings import Settings
from lipsync_batch.storage.stores import Stores
from lipsync_batch.store import Store
from lipsync_batch.store.intake import Intake
from lipsync_batch.store.remedy_reads import Price as Priced
from lipsync_batch.store.remedy_reads import RetryPrice
from lipsync_batch.store.staging import Bill, Change, Facts, Reason, Share

SECONDS_PER_BYTE = 0.125
"""An upper bound of how long a text takes to say: 8 UTF-8 bytes a second are slower than any of the voices."""
SHOWN_WARNINGS = 20
SHOWN_JOBS = 200
SHOWN_VALUES = 200
"""Values of a label that are told one by one."""
SHOWN_KEYS = 5
REMEMBERED_FILES = 10_000
Inspector = Callable[[Sequence[tuple[Path, Kind]]], Mapping[tuple[Path, Kind], FileFacts | Trouble]]
"""Looks at many local files elsewhere; what is not among its answers is looked at here."""
AHEAD = 1_000
"""Rows that are read before they are taken: the objects that they name are asked for together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What must be known before money is spent. Money in micro-USD."""

    jobs: int
    """In the manifest."""
    selected: int
    """Those of them that it is about."""
    paid_pairs: int
    """Pairs that would be paid for, each once however many jobs want it."""
    cost: int | None
    """What they should cost; None where no price is known."""
    remade: int
    """Finished pairs that jobs turn away from, to have another one made."""
    finished: int
    leftovers: Leftovers
    """Of a batch that is new: what stands where its videos would go."""
    warnings: Sequence[str]
    """The first of them."""
    warning_count: int
    problems: Sequence[Problem]
    """What is wrong with rows that are skipped; the first of them."""
    problem_count: int

    def unpaid(self) -> Outlook:
        """The same where nothing is submitted."""
        return replace(self, paid_pairs=0, cost=0)

    def also(self, more: Priced) -> Outlook:
        """The same with more pairs to pay for."""
        unknown = self.cost is None or more.estimated is None
        cost = None if unknown else (self.cost or 0) + (more.estimated or 0)
        return replace(self, paid_pairs=self.paid_pairs + more.pairs, cost=cost)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What the jobs with one value of a label have of a plan."""

    changes: Mapping[Change, int]
    paid_pairs: int
    """A pair that several values want is in the part of its first job."""
    cost: int | None
    upload_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan(Outlook):
    """What a run would do. Sizes in bytes."""

    changes: Mapping[Change, int]
    by: Mapping[str, Part]
    """The same for each value of the label that was asked for, the first of them; without the label under ''."""
    more_values: int
    """How many values there are beyond those."""
    changed: Sequence[Reason]
    """Which inputs of the changed jobs are other ones; all of the changed jobs are in it."""
    removed: Sequence[str]
    """Keys of the first jobs that are no longer in the manifest."""
    listed: Sequence[tuple[str, Change]]
    """The first jobs that are not simply done: (key, change)."""
    price_source: str
    upload_bytes: int
    estimate: Estimate
    retried: RetryPrice
    """What --retry-failed takes up; it is in the figures above."""
    budget: int | None
    """What the batch may cost over all its runs."""
    spent: int
    """What counts against that by now."""


def cost_of(bill: Bill, price: Price | None) -> int | None:
    """What pairs should cost, in micro-USD; None where no price is known."""
    if price is None:
        return None
    return bill.pairs * price.per_generation + int(bill.billable_seconds) * price.per_second


class Planner:
    """Takes one manifest into the store's staging tables, and says what it found."""

    def __init__(
        self,
        manifest: Manifest,
        store: Store,
        settings: Settings,
        capabilities: Capabilities = LIP_SYNC,
        *,
        root: Path | None = None,
        told: Callable[[int], None] | None = None,
        inspector: Inspector | None = None,
    ) -> None:
        """`root` is the batch folder, whose files tell a new batch that it may not be new."""
        self._manifest = manifest
        self._store = store
        self._settings = settings
        self._root = root
        self._told = told
        self._inspector = inspector
        self._inspected: Mapping[tuple[Path, Kind], FileFacts | Trouble] = {}
        """What was found elsewhere about files of the rows at hand."""
        self._inline = settings.media_base_url is None
        limit = settings.inline_limit
        self._capabilities = capabilities if limit is None else replace(capabilities, inline_limit=limit)
        self._problems: list[Problem] = []
        self._problem_count = 0
        self._warnings: dict[str, None] = {}
        self._warning_count = 0
        self._jobs = 0
        self._went_by_memory = False
        """Whether a file is gone of which only is known what it was: it may come back as another one."""
        self._reading = manifest.jobs(capabilities)
        self._redone = store.reads.redone()
        self._look = lru_cache(maxsize=REMEMBERED_FILES)(self._look_at)
        self._stores = Stores()
        self._names_objects = False
        self._objects: dict[str, ObjectFacts | Trouble] = {}
        """What is known of the objects of the rows at hand."""
        self.staging = store.staging()

    def stage(self) -> None:
        """Read every row and look at every input. What is wrong is gathered, all of it; see `check`."""
        items = iter(self._reading)
        while ahead := list(islice(items, AHEAD)):
            self._look_at_objects(ahead)
            self._look_elsewhere(ahead)
            for item in ahead:
                match item:
                    case Problem():
                        self._report(item)
                    case Job():
                        self._take(item)
        self.staging.flush()
        for problem in self.staging.problems(SHOWN_PROBLEMS):
            self._report(problem)

    def check(self) -> None:
        """ManifestError with everything that was wrong, if anything was and is not to be skipped."""
        if not self._problem_count:
            return
        if self._settings.skip_invalid and self._jobs:
            return
        hint = "Nothing was submitted. Mend these, or go on without them: --skip-invalid"
        raise ManifestError(self._manifest.path, self._problems, total=self._problem_count, hint=hint)

    def outlook(self, price: Price | None, selection: Selection = ALL) -> Outlook:
        """What a run would pay for, for all that was staged or for some of its jobs; UsageError where none is meant."""
        return self._outlook(self.staging.narrow(selection), self.staging.bill(), price)

    def plan(
        self,
        price: Price | None,
        selection: Selection = ALL,
        *,
        speed: Speed,
        now: datetime,
        by: str | None = None,
        collect_only: bool = False,
        retry_failed: bool = False,
    ) -> Plan:
        """The same, and what it would do with each job, and how long that takes."""
        staging = self.staging
        selected = staging.narrow(selection)
        retried = self._store.reads.retry_price(selection) if retry_failed else RetryPrice()
        bill = Bill.nothing() if collect_only else staging.bill()
        outlook = self._outlook(selected, bill, price)
        if retry_failed and not collect_only:
            outlook = outlook.also(retried.submitted)
        shares, more_values = staging.shares(by, SHOWN_VALUES) if by else ({}, 0)
        changes = staging.changes()
        finish_by = self._settings.finish_by
        return Plan(
            **{field.name: getattr(outlook, field.name) for field in fields(Outlook)},
            changes=changes,
            by={value: _part(share, price) for value, share in shares.items()},
            more_values=more_values,
            changed=staging.reasons(SHOWN_KEYS) if changes[Change.CHANGED] else [],
            removed=staging.removed_keys(SHOWN_KEYS) if changes[Change.REMOVED] else [],
            listed=staging.listed(SHOWN_JOBS),
            price_source=price.source if price else "",
            upload_bytes=bill.upload_bytes + (0 if collect_only else retried.submitted.upload_bytes),
            retried=retried,
            estimate=estimate(
                outlook.paid_pairs,
                speed,
                resuming=(staging.resuming() if changes[Change.RESUMING] else 0) + retried.polled,
                now=now,
                deadline=deadline(finish_by, now) if finish_by else None,
            ),
            budget=self._settings.budget,
            spent=self._store.reads.spent(),
        )

    def take_in(self) -> None:
        """What was staged becomes what the store holds."""
        self._store.reconcile(self.staging, self._intake())

    def _outlook(self, selected: int, bill: Bill, price: Price | None) -> Outlook:
        remade, finished = self.staging.remade()
        return Outlook(
            jobs=self._jobs,
            selected=selected,
            paid_pairs=bill.pairs,
            cost=cost_of(bill, price),
            remade=remade,
            finished=finished,
            leftovers=self._leftovers(),
            warnings=list(self._warnings),
            warning_count=self._warning_count,
            problems=self._problems,
            problem_count=self._problem_count,
        )

    def _leftovers(self) -> Leftovers:
        if self._root is None or self._store.reads.bound() is not None:
            return Leftovers()
        return leftovers(self._root, self.staging.outputs())

    def _intake(self) -> Intake | None:
        """What the next run may go by; None where another reading of the same files might find something else."""
        if self._problem_count or self._went_by_memory or self._reading.asked_disk or self._names_objects:
            return None
        if not all(file.is_current() for file in self._manifest.files):
            return None  # written to since it was opened: what was read is not what its digest stands for
        return Intake(
            digest=intake_digest(self._manifest, self._settings, self._capabilities, self._redone),
            jobs=self._jobs,
            warnings=tuple(self._warnings),
            warning_count=self._warning_count,
        )

    def _take(self, job: Job) -> None:
        """A job into the staging tables, or what is wrong with its inputs into the list."""
        want = job.want
        video = self._known(want.video, "video")
        audio = self._known(want.speech.source, "audio") if isinstance(want.speech, Audio) else None
        if isinstance(video, Trouble) or isinstance(audio, Trouble):
            if not self._paid_for_as_it_was(want):
                self._reject(job, video=video, audio=audio)
                return
            video, audio = self._last_known(want)
            self._went_by_memory = True
        for warning in inputs.warnings_for(
            want, video=video, audio=audio, inline=self._inline, capabilities=self._capabilities
        ):
            self._warn(job, warning)
        self.staging.add(job, self._pair(want, video, audio), self._facts(want, video, audio))
        self._jobs += 1
        if self._told is not None:
            self._told(self._jobs)

    def _reject(self, job: Job, **inputs: inputs.Facts | Trouble | None) -> None:
        for kind, trouble in inputs.items():
            if isinstance(trouble, Trouble):
                self._report(Problem(place=job.place, field=kind, cause=trouble.cause, remedy=trouble.remedy))
        self.staging.skip(job.key)

    # Inputs

    def _known(self, source: Source, kind: Kind) -> inputs.Facts | Trouble | None:
        """What is known of a local file or an object; None for links and data URIs."""
        match source:
            case LocalFile(path=path):
                return self._look(path, kind)
            case StoredObject(url=url):
                return self._objects[url]
            case _:
                return None

    def _look_at_objects(self, items: Sequence[Job | Problem]) -> None:
        """Ask for all objects that these rows name and that were not asked for yet."""
        self._objects.clear()
        unknown: dict[str, None] = {}
        for source in _objects_of(items):
            url = source.url
            if source.identity is not None:  # a listing has said it all
                self._objects[url] = ObjectFacts(url=url, identity=source.identity, size=source.size or 0)
            else:
                unknown[url] = None
        self._take_seen(unknown)
        if unknown:
            self._store.objects.notice(self._stores.listed_together(list(unknown)))
            self._take_seen(unknown)
        if unknown:
            self._objects.update(self._stores.look_at(list(unknown)))
        if self._objects:
            self._names_objects = True
            self._store.objects.keep(facts for facts in self._objects.values() if isinstance(facts, ObjectFacts))

    def _take_seen(self, unknown: dict[str, None]) -> None:
        """Those of the objects that this process has seen are unknown no more."""
        for url in list(unknown):
            if (facts := self._store.objects.seen(url)) is not None:
                self._objects[url] = facts
                del unknown[url]

    def _look_elsewhere(self, items: Sequence[Job | Problem]) -> None:
        """Have those files looked at, if there is where to, that are not known as they are."""
        if self._inspector is not None:
            named = dict.fromkeys(_files_of(items))
            self._inspected = self._inspector([file for file in named if self._store.inputs.fresh(*file) is None])

    def _look_at(self, path: Path, kind: Kind) -> FileFacts | Trouble:
        facts = self._inspected.get((path, kind)) or self._store.inputs.fresh(path, kind) or inputs.inspect(path, kind)
        if isinstance(facts, Trouble):
            return facts
        self._store.inputs.keep(facts, kind)
        too_large = inputs.too_large_to_send(facts, self._capabilities) if self._inline else None
        return too_large or facts

    def _last_known(self, want: Want) -> tuple[inputs.Facts | None, inputs.Facts | None]:
        """The facts of a pair's files and objects as they were when they were last looked at."""
        speech = want.speech
        audio = self._as_it_was(speech.source, "audio") if isinstance(speech, Audio) else None
        return self._as_it_was(want.video, "video"), audio

    def _as_it_was(self, source: Source, kind: Kind) -> inputs.Facts | None:
        match source:
            case LocalFile(path=path):
                return self._store.inputs.last_known(path, kind)
            case StoredObject(url=url):
                return self._store.objects.last_known(url)
            case _:
                return None

    def _paid_for_as_it_was(self, want: Want) -> bool:
        """Whether a pair whose inputs are gone needs them no more: the provider has it already."""
        video, audio = self._last_known(want)
        speech = want.speech
        if isinstance(want.video, LocalFile | StoredObject) and video is None:
            return False
        if isinstance(speech, Audio) and isinstance(speech.source, LocalFile | StoredObject) and audio is None:
            return False
        return self.staging.paid_for(self._pair(want, video, audio).fingerprint)

    def _pair(self, want: Want, video: inputs.Facts | None, audio: inputs.Facts | None) -> Pair:
        """What a job wants: in another take, where a person had the one that the manifest names made once more."""
        pair = _pair(want, video, audio)
        while (take := self._redone.get(pair.fingerprint)) is not None:
            pair = _pair(replace(want, take=take), video, audio)
        return pair

    def _facts(self, want: Want, video: inputs.Facts | None, audio: inputs.Facts | None) -> Facts:
        seconds = audio.media.duration if audio and audio.media else None
        size = sum(facts.size for facts in (video, audio) if isinstance(facts, FileFacts))
        return Facts(
            speech_seconds=seconds,
            billable_seconds=self._billable_seconds(want, seconds),
            upload_bytes=size if self._inline else 0,
        )

    def _billable_seconds(self, want: Want, seconds: float | None) -> float:
        """What the price is multiplied with: the speech's length, or an upper bound of it."""
        match want.speech:
            case Text(text=text):
                return len(text.encode()) * SECONDS_PER_BYTE
            case Audio():
                return self._capabilities.max_seconds if seconds is None else seconds

    # What is told

    def _report(self, problem: Problem) -> None:
        self._problem_count += 1
        if len(self._problems) < SHOWN_PROBLEMS:
            self._problems.append(problem)

    def _warn(self, job: Job, warning: str) -> None:
        """Each warning once, however many jobs share the file that it is about."""
        self._warning_count += 1
        if len(self._warnings) < SHOWN_WARNINGS:
            self._warnings.setdefault(f"{_where(job.place, job.key)}: {warning}")


def _part(share: Share, price: Price | None) -> Part:
    return Part(
        changes=share.changes,
        paid_pairs=share.bill.pairs,
        cost=cost_of(share.bill, price),
        upload_bytes=share.bill.upload_bytes,
    )


def _objects_of(items: Iterable[Job | Problem]) -> Iterator[StoredObject]:
    for item in items:
        if isinstance(item, Job):
            if isinstance(item.want.video, StoredObject):
                yield item.want.video
            if isinstance(item.want.speech, Audio) and isinstance(item.want.speech.source, StoredObject):
                yield item.want.speech.source


def _files_of(items: Iterable[Job | Problem]) -> Iterator[tuple[Path, Kind]]:
    for item in items:
        if isinstance(item, Job):
            if isinstance(item.want.video, LocalFile):
                yield item.want.video.path, "video"
            if isinstance(item.want.speech, Audio) and isinstance(item.want.speech.source, LocalFile):
                yield item.want.speech.source.path, "audio"


def _as_seen(facts: ObjectFacts) -> StoredObject:
    """An object as a pair holds it: with what its store knows it by."""
    return StoredObject(url=facts.url, identity=facts.identity, size=facts.size)


def _pair(want: Want, video: inputs.Facts | None, audio: inputs.Facts | None) -> Pair:
    if isinstance(video, ObjectFacts):
        want = replace(want, video=_as_seen(video))
    if isinstance(audio, ObjectFacts):
        want = replace(want, speech=Audio(source=_as_seen(audio)))
    video_sha256 = video.sha256 if isinstance(video, FileFacts) else None
    audio_sha256 = audio.sha256 if isinstance(audio, FileFacts) else None
    return Pair(
        fingerprint=inputs.fingerprint(want, video_sha256=video_sha256, audio_sha256=audio_sha256),
        video=want.video,
        speech=want.speech,
        take=want.take,
        model=want.model,
        video_sha256=video_sha256,
        audio_sha256=audio_sha256,
    )


def _where(place: Place, key: str) -> str:
    return ", ".join(part for part in (str(place), f'job "{key}"') if part)
