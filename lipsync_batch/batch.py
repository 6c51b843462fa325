"""Opens a batch and runs its verbs: what the command line and library users call.

>>> from lipsync_batch import Batch  # doctest: +SKIP
>>> outcome = Batch.find("spring.yaml").run()  # doctest: +SKIP
>>> outcome.exit_code, outcome.counts  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lipsync_batch import account, location, lock, remedies, resolving
from lipsync_batch.account import Account
from lipsync_batch.clock import Clock
from lipsync_batch.errors import ActionNeededError, ManifestError, UsageError
from lipsync_batch.events import Listener
from lipsync_batch.files import disk_faults
from lipsync_batch.jobs import ALL, BatchRecord, Costs, Generation, JobRecord, RunRecord, Selection, State, StopReason
from lipsync_batch.live_page import EVERY
from lipsync_batch.location import Location
from lipsync_batch.looking import looking
from lipsync_batch.manifest import Manifest
from lipsync_batch.plan import Plan, Planner
from lipsync_batch.providers.plugins import BUILT_IN, capabilities_of
from lipsync_batch.rebuilding import Rebuilder, Rebuilt, Wishes
from lipsync_batch.rebuilding.reported import head_of
from lipsync_batch.remedies import Again, Redone
from lipsync_batch.report import Packed, Paths, Posters, write_client_zip, write_reports
from lipsync_batch.resolving import Resolved
from lipsync_batch.runlog import RunLog, refused_at
from lipsync_batch.runner.speed import speed_of
from lipsync_batch.runner.throttle import Throttle
from lipsync_batch.runner.work import HISTORY, take_up
from lipsync_batch.session import Orders, Outcome, Session
from lipsync_batch.settings import Settings
from lipsync_batch.store import Store
from lipsync_batch.store.labelled_reads import LabelledReads
from lipsync_batch.store.remedy_reads import Price, RetryPrice

SHOWN_TROUBLES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Where a batch stands."""

    batch: BatchRecord
    folder: Path
    named: str
    """How the user named the batch: what commands that go on are written with."""
    counts: Mapping[State, int]
    runs: Sequence[RunRecord]
    causes: Sequence[tuple[State, str, int]]
    """(state, error code, jobs), the most first."""
    troubled: Sequence[JobRecord]
    running: bool
    """Whether a process holds the batch now."""
    left_behind: Mapping[State, int]
    """Pairs of rows that are gone, which may have been paid for and are not in `superseded/` yet."""
    selection: Selection
    """Which jobs the counts, causes, troubles and prices are about."""
    costs: Costs
    """Of the whole batch."""
    to_submit: Price
    """What `run` would pay for."""
    retry: RetryPrice
    resubmit: Price
    """What sending unclear ones again would cost, perhaps a second time."""
    redo: Price
    """What another take of every finished one would cost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """One job's whole history."""

    job: JobRecord
    generations: Sequence[Generation]
    outputs: Sequence[Path | str]
    """Paths, or addresses in the store that the videos go to."""
    redone_for: str | None = None
    """Why another take than the manifest's was asked for (`redo`)."""
    retried_as: State | None = None
    """Where `retry` would bring a failed one; None where only `--pay-again` would take it up."""


class Batch:
    """One manifest's work, and the folder that it lives in."""

    def __init__(
        self,
        place: Location,
        *,
        manifest: Manifest | ManifestError | None = None,
        flags: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] = os.environ,
        sandbox: bool = False,
    ) -> None:
        self.location = place
        self._manifest = manifest
        self._environ = environ
        self._sandbox = sandbox
        self._clock = Clock()
        self.settings = Settings.layered(
            flags or {}, environ, manifest.settings if isinstance(manifest, Manifest) else {}
        )
        """Flags over environment over manifest over defaults."""

    @classmethod
    def find(
        cls,
        target: Path | str,
        *,
        out: Path | None = None,
        state: Path | None = None,
        sandbox: bool = False,
        flags: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Batch:
        """The batch of a manifest or of a batch folder; it need not exist yet.

        `flags` holds settings by name that win over environment and manifest; None means not given. A manifest that
        cannot be read is told of by the verb that needs it.
        """
        place = location.find(Path(target), out=out, state=state, sandbox=sandbox)
        if place.manifest is None:
            # Whoever names the folder of a rehearsal means the rehearsal.
            sandbox = sandbox or Store.binding(place.database, Clock()).provider == account.SANDBOX
        manifest = _load(place.manifest or _bound_manifest(place))
        batch = cls(place, manifest=manifest, flags=flags, environ=environ, sandbox=sandbox)
        asked = batch.settings.out
        if out is None and asked is not None and place.manifest is not None:
            asked = asked.with_name(asked.name + location.SANDBOX_ENDING) if sandbox else asked
            batch.location = location.find(Path(target), out=asked, state=state)
        return batch

    @classmethod
    def find_existing(
        cls,
        target: Path | str,
        *,
        out: Path | None = None,
        state: Path | None = None,
        flags: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Batch:
        """The same for a batch that was run before; a rehearsal where there is nothing else."""
        batch = cls.find(target, out=out, state=state, flags=flags, environ=environ)
        if not batch.location.exists and Path(target).is_file() and out is None:
            rehearsal = cls.find(target, state=state, sandbox=True, flags=flags, environ=environ)
            batch = rehearsal if rehearsal.location.exists else batch
        batch.location.must_exist()
        return batch

    @classmethod
    def find_lost(
        cls,
        target: Path | str,
        *,
        out: Path | None = None,
        state: Path | None = None,
        sandbox: bool = False,
        flags: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Batch:
        """The same for a batch whose jobs.db is gone or damaged; a rehearsal where nothing else is left of it.

        A batch folder tells its manifest by its report.json. UsageError where it has none.
        """
        target = Path(target)
        if target.is_dir():
            report = target / "report.json"
            if not report.is_file():
                raise UsageError(
                    f"{target}: there is no report.json in it that names its manifest",
                    hint=f"Name the manifest: lipsync-batch rebuild MANIFEST --out {target}",
                )
            manifest = (target / head_of(report).manifest).resolve()
            sandbox = sandbox or target.resolve().name.endswith(location.SANDBOX_ENDING)
            return cls.find(manifest, out=target, state=state, sandbox=sandbox, flags=flags, environ=environ)
        batch = cls.find(target, out=out, state=state, sandbox=sandbox, flags=flags, environ=environ)
        if out is None and not sandbox and not batch.location.was_begun:
            rehearsal = cls.find(target, state=state, sandbox=True, flags=flags, environ=environ)
            return rehearsal if rehearsal.location.was_begun else batch
        return batch

    @property
    def provider(self) -> str:
        """The name of who makes its videos: what the settings say, else whom it was begun with, else aimlapi."""
        asked = self._provider_without_ledger() if self._sandbox else self.settings.provider
        if asked is None and self.location.exists:
            bound = Store.provider_of(self.location.database, self._clock)
            asked = None if bound == account.SANDBOX else bound
        return asked or BUILT_IN

    def _provider_without_ledger(self) -> str:
        """What the settings say, else aimlapi. UsageError where that cannot be rehearsed, and shall be."""
        asked = self.settings.provider
        if self._sandbox:
            if asked not in (None, BUILT_IN):
                raise UsageError(
                    f"--sandbox rehearses {BUILT_IN}, and this batch is for the provider {asked}",
                    hint=f"Leave --sandbox away, or rehearse it as {BUILT_IN} takes it: --provider {BUILT_IN}.",
                )
            return BUILT_IN
        return asked or BUILT_IN

    # Verbs

    def plan(
        self,
        selection: Selection = ALL,
        *,
        by: str | None = None,
        collect_only: bool = False,
        retry_failed: bool = False,
        told: Callable[[int], None] | None = None,
    ) -> Plan:
        """What `run` would do. Submits nothing; ManifestError with everything that is wrong with the manifest.

        `by` names a label whose values are counted apart; `told` hears how many rows were looked at by now.
        """
        manifest = self._sound_manifest()
        provider = self.provider
        public = account.public(self._environ, provider=provider, sandbox=self._sandbox)
        exists = self.location.exists
        store = Store.read_only(self.location.database, self._clock) if exists else Store.in_memory(self._clock)
        with closing(store):
            if (record := store.reads.bound()) is not None:
                public.check(record, self.location)
            else:
                location.must_be_untouched(self.location)  # it would tell of what was paid for as of something new
            takes = capabilities_of(provider)
            planner = Planner(manifest, store, self.settings, takes, root=self.location.folder.root, told=told)
            planner.stage()
            planner.check()
            learned = account.learned(self.location, self._environ, provider=provider, sandbox=self._sandbox)
            return planner.plan(
                public.price(self.settings),
                selection,
                speed=speed_of(self.settings, takes, learned, store.reads.generation_seconds(HISTORY)),
                now=self._clock.utc(),
                by=by,
                collect_only=collect_only,
                retry_failed=retry_failed,
            )

    def run(
        self,
        orders: Orders | None = None,
        *,
        listeners: Sequence[Listener] = (),
        say: Callable[[str], None] = lambda _: None,
    ) -> Outcome:
        """Make it so: submit what is not yet submitted, poll, download, report.

        ManifestError where rows are wrong; what an existing batch had paid for is collected before that is raised.
        Call it from a thread of its own where an event loop is running already.
        """
        session = Session(
            self.location,
            manifest=self._manifest,
            settings=self.settings,
            environ=self._environ,
            provider=self.provider,
            sandbox=self._sandbox,
            orders=orders or Orders(),
            listeners=listeners,
            say=say,
        )
        return session.run()

    def status(self, selection: Selection = ALL) -> Status:
        """Where the batch stands, or some of its jobs; UsageError where none is meant. Works while a run holds it."""
        with looking(self.location) as store:
            reads, narrow = store.reads, not selection.is_all
            reads.select(selection)
            return Status(
                batch=reads.batch(),
                folder=self.location.folder.root,
                named=self.location.named,
                counts=reads.counts(selected=narrow),
                runs=reads.runs(),
                causes=reads.error_counts(selected=narrow),
                troubled=reads.troubled(SHOWN_TROUBLES, selected=narrow),
                running=lock.is_held(self.location.folder.state),
                left_behind=reads.left_behind(),
                selection=selection,
                costs=reads.costs(),
                to_submit=reads.price_of(State.PENDING, selection),
                retry=reads.retry_price(selection),
                resubmit=reads.price_of(State.UNCLEAR, selection),
                redo=reads.price_of(State.DONE, selection),
            )

    def history(self, key: str) -> History:
        """Everything that is known of one job; UsageError where no job has the key."""
        with looking(self.location) as store:
            job = store.reads.record(key)
            if job is None:
                raise _no_such_keys([key], list(store.reads.keys()))
            paths, url = store.reads.outputs(job.fingerprint), store.reads.output_store()
            outputs = [f"{url}/{path}" if url else self.location.folder.path(path) for path in paths]
            return History(
                job=job,
                generations=store.reads.generations(job.fingerprint),
                outputs=outputs,
                redone_for=store.reads.redone_for(job.fingerprint),
                retried_as=next((new for _, _, new in store.reads.retryable([key])), None),
            )

    def report(self, *, where: Mapping[str, str] | None = None) -> Paths:
        """Write the reports again. Works while a run holds the batch.

        Of the jobs with some labels, they are written beside those of the whole batch, which stay.
        """
        with looking(self.location) as store:
            runs = store.reads.runs()
            running = lock.is_held(self.location.folder.state)
            reason = runs[-1].stop_reason if runs and not running else StopReason.RUNNING
            if reason is StopReason.RUNNING and not running:
                reason = StopReason.CRASHED
            root, source = self.location.folder.root, _labelled(store, where)
            if store.reads.output_store() is None:
                Posters(root).make(source.videos())
            with disk_faults(root):
                return write_reports(
                    source,
                    root,
                    stop_reason=reason,
                    written_at=self._clock.utc(),
                    again_after=EVERY if running and not where else None,
                    refused_at=() if where else refused_at(self.location.folder.state / "run.log"),
                    where=where,
                )

    def pack_for_client(self, target: Path, *, where: Mapping[str, str] | None = None) -> Packed:
        """Pack the finished videos, or those with some labels, with posters and a page into a ZIP.

        The page tells neither costs nor ids nor why a job failed. Works while a run holds the batch.
        """
        root = self.location.folder.root
        target = _place_of_zip(target, self.location)
        with looking(self.location) as store:
            source = _labelled(store, where)
            if (url := store.reads.output_store()) is not None:
                raise UsageError(
                    f"the videos of this batch are in {url}, and --client packs files of this machine",
                    hint="Give the client that folder: its report.html leads to every video.",
                )
            Posters(root).make(source.videos())
            with disk_faults(target):
                return write_client_zip(source, root, target, name=target.stem, written_at=self._clock.utc())

    def rebuild(self, wishes: Wishes | None = None, *, say: Callable[[str], None] = lambda _: None) -> Rebuilt:
        """Make a lost or damaged jobs.db again, so that what was paid for is not paid for again. Submits nothing.

        BatchError where it is whole; ActionNeededError where a person must be asked, and is not.
        """
        return Rebuilder(
            self.location,
            manifest=self._sound_manifest(),
            settings=self.settings,
            environ=self._environ,
            provider=self._provider_without_ledger(),
            sandbox=self._sandbox,
            wishes=wishes or Wishes(),
            say=say,
        ).run()

    def retry(
        self, keys: Sequence[str] = (), *, where: Mapping[str, str] | None = None, pay_again: bool = False
    ) -> Again:
        """Take failed jobs up again: all, or those with some keys or labels; nothing is sent until the next run.

        With `pay_again` the jobs that are named are submitted anew although money may have been spent on them.
        """
        if pay_again and not keys:
            raise UsageError(
                "paying again is for jobs that are named one by one",
                hint="lipsync-batch retry BATCH KEY... --pay-again; `status` shows which failed.",
            )
        with self._holding() as (store, log):
            chosen = _chosen(store, keys, where or {}, State.FAILED)
            return asyncio.run(remedies.retry(store, log, chosen, pay_again=pay_again))

    def redo(self, keys: Sequence[str] = (), *, reason: str, where: Mapping[str, str] | None = None) -> Redone:
        """Want another take of finished jobs, to be paid for in the next run; the old videos stay until they land.

        `keys` must all be finished; of the jobs with the labels in `where` those are meant that are.
        """
        if not keys and not where:
            raise UsageError("nothing is named that shall be made again", hint="Name jobs by KEY, or with --where.")
        with self._holding() as (store, log):
            chosen = _chosen(store, keys, where or {}, State.DONE)
            return asyncio.run(remedies.redo(store, log, chosen, reason=reason))

    def resolve(
        self,
        names: Sequence[str] = (),
        *,
        adopt: str | None = None,
        resubmit: bool = False,
        give_up: bool = False,
        confirm: Callable[[str], bool] = lambda _: True,
    ) -> Resolved:
        """Settle what became of unclear jobs: looked up in the provider's log, or moved by one of the decisions.

        `names` are keys, or client request ids of submits that no job wants any more; none means all. `adopt` is the
        generation id of the one that is named. `confirm` is asked before anything may be paid for twice.
        """
        if [adopt is not None, resubmit, give_up].count(True) > 1:
            raise UsageError("--adopt, --resubmit and --give-up exclude each other")
        if adopt is not None and len(names) != 1:
            raise UsageError("--adopt is about one job", hint="lipsync-batch resolve BATCH KEY --adopt=ID")
        with self._holding() as (store, log):
            _must_know(store, [name for name in names if not store.reads.is_request(name)])
            asyncio.run(_take_up(store, log))
            doubts = resolving.chosen_doubts(store, names)
            if not doubts and not store.reads.written_off():
                return Resolved()
            if resubmit:
                doubts = resolving.still_wanted(doubts, names)
                if not confirm(f"Send {len(doubts):,} again? What was accepted after all is then paid for twice."):
                    raise ActionNeededError("nothing was changed")
                return asyncio.run(resolving.resubmit(store, log, doubts))
            if give_up:
                return asyncio.run(resolving.give_up(store, log, doubts))
            with account.opened(self.location, self._environ, provider=self.provider, sandbox=self._sandbox) as payee:
                payee.check(store.reads.batch(), self.location)
                return asyncio.run(self._ask_provider(store, log, payee, names, adopt))

    async def _ask_provider(
        self, store: Store, log: RunLog, payee: Account, names: Sequence[str], adopt: str | None
    ) -> Resolved:
        provider = payee.provider(self.settings, self.location.folder.root)
        throttle = Throttle(self._clock, rate=self.settings.rate, memory=payee.memory(lambda _: None))
        try:
            if adopt is not None:
                return await resolving.adopt(store, log, provider, names[0], adopt)
            return await resolving.look_up(
                store,
                log,
                provider,
                throttle=throttle,
                clock=self._clock,
                names=names,
                seconds=self.settings.resolve_for,
            )
        finally:
            throttle.close()
            await provider.aclose()

    @contextmanager
    def _holding(self) -> Iterator[tuple[Store, RunLog]]:
        """The store and the log, for a verb that changes what is in them. BatchHeldError while a run goes on."""
        state = self.location.folder.state
        location.must_be_local(self.location)
        with (
            lock.held(state),
            closing(Store.open(self.location.database, self._clock)) as store,
            RunLog(state / "run.log", self._clock) as log,
        ):
            yield store, log

    def _sound_manifest(self) -> Manifest:
        if isinstance(self._manifest, ManifestError):
            raise self._manifest
        assert self._manifest is not None
        return self._manifest


def _labelled(store: Store, where: Mapping[str, str] | None) -> LabelledReads:
    """The jobs with the labels. UsageError where there is none."""
    if where:
        store.reads.select(Selection(where=where))  # says what there is, where no job has the labels
    return LabelledReads(store.reads, where or {})


def _place_of_zip(target: Path, place: Location) -> Path:
    """Where the ZIP goes. UsageError where it would be among what it packs, or in the place of something else."""
    hint = "Name a new file, such as ../for-client.zip."
    if target.suffix.casefold() != ".zip":
        raise UsageError(f"{target}: the name of a ZIP ends in .zip", hint=hint)
    path = target.resolve()
    if any(path.is_relative_to(folder.resolve()) for folder in (place.folder.root, place.folder.state)):
        raise UsageError(f"{target}: inside of the batch folder, whose files are packed", hint=hint)
    if path.exists() and not zipfile.is_zipfile(path):
        raise UsageError(f"{target}: something else than a ZIP stands there", hint=hint)
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: there is no such folder", hint="Make it, or name another.")
    return path


def _load(path: Path) -> Manifest | ManifestError:
    try:
        return Manifest.load(path)
    except ManifestError as error:
        return error


def _bound_manifest(place: Location) -> Path:
    """The manifest that a batch folder belongs to."""
    return place.folder.root.joinpath(Store.binding(place.database, Clock()).manifest).resolve()


async def _take_up(store: Store, log: RunLog) -> None:
    """What a dead run left half said."""
    with store.writing(log.durable) as ledger:
        await take_up(store.reads, ledger, log.accepted)


def _chosen(store: Store, keys: Sequence[str], where: Mapping[str, str], state: State) -> Sequence[str]:
    """Those of the keys whose jobs have the labels; without keys, the jobs with the labels that are in the state."""
    _must_know(store, keys)
    if not where:
        return keys
    store.reads.select(Selection(where=where))  # says what there is, where no job has the labels
    labelled = store.reads.keys_with(where, state=None if keys else state)
    named = set(keys)
    chosen = [key for key in labelled if not keys or key in named]
    if not chosen:
        labels = ", ".join(f"{name}={value}" for name, value in where.items())
        raise UsageError(
            f"no job that is {state} fits --where {labels}",
            hint=f"`lipsync-batch status BATCH --where {labels}` shows where they stand.",
        )
    return chosen


def _must_know(store: Store, keys: Sequence[str]) -> None:
    if strangers := store.reads.missing_keys(keys):
        raise _no_such_keys(strangers, list(store.reads.keys()))


def _no_such_keys(strangers: Sequence[str], known: Sequence[str]) -> UsageError:
    close = get_close_matches(strangers[0], known, 1)
    return UsageError(
        f"no job has the key {', '.join(strangers)}",
        hint=f"Did you mean {close[0]}?" if close else "report.csv lists the keys.",
    )
