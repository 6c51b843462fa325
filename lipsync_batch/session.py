"""One run of a batch, from taking its lock to writing its report."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from lipsync_batch import account, exits, location, lock, remedies
from lipsync_batch.account import Account
from lipsync_batch.clock import Clock
from lipsync_batch.deadline import deadline
from lipsync_batch.deliveries import Deliveries
from lipsync_batch.errors import (
    ActionNeededError,
    DiskError,
    LipsyncBatchError,
    ManifestError,
    OutputStoreError,
    UsageError,
)
from lipsync_batch.estimate import nights_left
from lipsync_batch.events import Event, Events, Listener, Noticed, RunEnded, RunStarted, Stopping
from lipsync_batch.fetching import arrivals
from lipsync_batch.files import disk_faults
from lipsync_batch.jobs import ALL, BatchRecord, Selection, State, StopReason
from lipsync_batch.leftovers import Leftovers, note_begun
from lipsync_batch.live_page import LivePage
from lipsync_batch.location import Location
from lipsync_batch.manifest import Manifest
from lipsync_batch.masking import MOST, mask
from lipsync_batch.plan import Outlook, Planner
from lipsync_batch.porters import Porters
from lipsync_batch.providers.plugins import capabilities_of
from lipsync_batch.report import Paths, Posters, summary, write_reports
from lipsync_batch.report.figures import counted
from lipsync_batch.runlog import RunLog, refused_at
from lipsync_batch.runner.context import Options
from lipsync_batch.runner.fetchers import WORKER_AT_ONCE, Fetcher, ProcessFetcher
from lipsync_batch.runner.work import Work
from lipsync_batch.settings import (
    NOTIFY,
    Settings,
    addresses,
    dask_address,
    metrics_path,
    secrets_of,
    without_accounts,
)
from lipsync_batch.standing import Standing
from lipsync_batch.storage.presigned import Presigner
from lipsync_batch.store import Store, new_batch_id
from lipsync_batch.store.reads import Reads
from lipsync_batch.telling.metrics import Metrics
from lipsync_batch.telling.notify import Notifier
from lipsync_batch.telling.telling import Telling

ASK_FROM = 50
"""With more new paid pairs than that, a run without a budget asks first, where there is someone to ask."""
REMADE_SHARE = 0.2
REMADE_FEW = 5
"""Finished pairs that may always be made anew without a question: whoever edits a few rows means it."""
POSTERS_FOR = 0.3
"""Seconds at the end of a run that may go into the posters that are missing still: of some hundred videos, ..."""
POSTERS_SHARE = 0.01
"""... or this share of the time that the run took, where that is longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """What one run is told, beyond the settings."""

    selection: Selection = ALL
    collect_only: bool = False
    """Submit nothing; poll and fetch what was paid for."""
    retry_failed: bool = False
    verify: bool = False
    remake: bool = False
    """Finished videos may be made and paid for again, many of them."""
    anew: bool = False
    """The batch is a new one, whatever stands where its videos go."""
    confirm: Callable[[str], bool] | None = None
    """Asks a person; None where nobody can be asked."""
    notify: Sequence[str] = field(default=(), repr=False)
    """Addresses for apprise that are told of the end; those in the environment where there are none."""
    metrics: Path | None = None
    """The file that is kept for Prometheus; the environment may name one as well."""
    dask: str | None = None
    """The cluster that fetches: a scheduler's address, or `local:N`; the environment may name one as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a run ended."""

    stop_reason: StopReason
    exit_code: int
    counts: Mapping[State, int]
    """Of all jobs."""
    summary: str
    reports: Paths
    nights_left: int | None = None
    """After a deadline: about how many more runs like this one it takes; None where that cannot be said."""


class Session:
    """One process's work on a batch."""

    def __init__(
        self,
        place: Location,
        *,
        manifest: Manifest | ManifestError | None,
        settings: Settings,
        environ: Mapping[str, str],
        provider: str,
        sandbox: bool,
        orders: Orders,
        listeners: Sequence[Listener],
        say: Callable[[str], None],
    ) -> None:
        self._place = place
        self._manifest = manifest
        self._settings = settings
        self._environ = environ
        self._provider = provider
        self._sandbox = sandbox
        self._orders = orders
        self._events = Events(*listeners)
        self._say = say
        self._clock = Clock()
        self._fault: ManifestError | None = None
        self._skipped = 0
        self._lock = -1
        """The descriptor that holds the batch, while the work goes on."""
        self._done_before = 0
        """Pairs that were done when the work began."""
        self._deliveries = Deliveries(settings, sandbox=sandbox)
        """Where the videos go."""
        self._unclaimed = False
        """The batch is new, and its store may turn out to be another's, or not to be there."""
        self._porters: Porters | None = None
        """Who fetch, where that is a cluster."""
        self._requests = 0
        """Sent to the API before the lanes began."""
        self._telling = Telling(
            place,
            notifier=Notifier(
                orders.notify or addresses(environ),
                origin="--notify" if orders.notify else NOTIFY,
                environ=without_accounts(os.environ),
            ),
            metrics=Metrics(
                orders.metrics or metrics_path(environ),
                batch=place.folder.root.name,
                database=place.database,
                budget=settings.budget,
                clock=self._clock,
            ),
            clock=self._clock,
            say=say,
        )
        self._page: LivePage | None = None
        self._begun = time.monotonic()

    def run(self) -> Outcome:
        """Reconcile the manifest, do the work, write the report, tell of it; see `Batch.run`."""
        self._telling.check()
        with self._telling.over():
            return self._run()

    def _run(self) -> Outcome:
        place, resumed = self._place, self._place.exists
        if isinstance(self._manifest, ManifestError) and not resumed:
            raise self._manifest
        with ExitStack() as stack:
            location.prepare(place)
            self._lock = stack.enter_context(lock.held(place.folder.state))
            store = stack.enter_context(closing(Store.open(place.database, self._clock)))
            if store.reads.bound() is None:
                location.must_be_untouched(place)  # a file of no bytes, say, in the place of a ledger
            log = stack.enter_context(RunLog(place.folder.state / "run.log", self._clock))
            try:
                self._send_for_porters(stack)
                planner = self._stage(store)
                payee = stack.enter_context(self._account())
                self._take_in(store, planner, payee, log)
                arrivals.sweep(place.folder.root, store.reads.is_arriving)  # a run that was killed left them
                self._engage_porters(store.reads)
            except LipsyncBatchError as error:
                # A claim whose answer got lost may stand in the store: the next run makes it again, by the same id.
                came_to_nothing = self._unclaimed and not isinstance(error, OutputStoreError)
                if store.reads.bound() is None or came_to_nothing:
                    location.forget(place)
                raise
            outcome = self._work(store, payee, log, resumed=resumed)
        if self._fault is not None:
            if outcome.exit_code == exits.MANIFEST:
                raise self._fault
            self._say(f"Error: {self._fault}")  # a signal, say, came first, and its exit code counts
        return outcome

    # Before anything is sent

    def _send_for_porters(self, stack: ExitStack) -> None:
        asked = self._orders.dask or dask_address(self._environ)
        if asked:
            downloads, environ = self._settings.downloads, self._environ
            porters = Porters(asked, downloads=downloads, environ=environ, say=self._say)
            self._porters = stack.enter_context(porters)

    def _engage_porters(self, reads: Reads) -> None:
        if self._porters is not None:
            root, profile = self._place.folder.root, self._settings.store_profile
            self._porters.engage(reads, root, reads.output_store(), profile)

    def _stage(self, store: Store) -> Planner | Standing | None:
        """Look at every row and input. A fault stops a new batch; what an old one paid for is still fetched."""
        try:
            if isinstance(self._manifest, ManifestError):
                raise self._manifest
            assert self._manifest is not None
            takes = capabilities_of(self._provider)
            if (standing := Standing.of(self._manifest, store, self._settings, takes)) is not None:
                return standing
            inspector = self._porters.inspector if self._porters is not None else None
            root = self._place.folder.root
            planner = Planner(self._manifest, store, self._settings, takes, root=root, inspector=inspector)
            planner.stage()
            planner.check()
        except ManifestError as error:
            if store.reads.bound() is None:
                raise
            self._fault = error
            return None
        return planner

    @contextmanager
    def _account(self) -> Iterator[Account]:
        """Whom to pay. Who has a broken manifest and no key hears of the manifest."""
        with ExitStack() as stack:
            try:
                payee = stack.enter_context(
                    account.opened(self._place, self._environ, provider=self._provider, sandbox=self._sandbox)
                )
            except LipsyncBatchError as error:
                raise self._fault or error from error
            yield payee

    def _take_in(self, store: Store, planner: Planner | Standing | None, payee: Account, log: RunLog) -> None:
        """The manifest into the store, once every question of money is answered."""
        record = store.reads.bound()
        if record is not None:
            payee.check(record, self._place)
            self._deliveries.check(store.reads, self._place.folder.root)
        if planner is None:
            self._deliveries.open(store.reads)
            return
        price = payee.price(self._settings)
        self._requests += 1
        if price is None and self._settings.budget is not None and not self._orders.collect_only:
            raise UsageError(
                "a budget is set, but what a job costs is not known: the API publishes no price",
                hint="Say it in the manifest's settings: price_per_job or price_per_second.",
            )
        outlook = planner.outlook(price, self._orders.selection)
        if self._orders.collect_only:
            outlook = outlook.unpaid()
        elif self._orders.retry_failed:
            outlook = outlook.also(store.reads.retry_price(self._orders.selection).submitted)
        self._skipped = outlook.problem_count
        self._announce(outlook, record)
        self._ask(outlook)
        if record is None:
            self._bind(store, payee, log)
        else:
            self._deliveries.open(store.reads)
        planner.take_in()
        if price is not None:
            store.estimate(per_generation=price.per_generation, per_second=price.per_second)

    def _bind(self, store: Store, payee: Account, log: RunLog) -> None:
        """From here on the batch belongs to this account and this manifest."""
        assert isinstance(self._manifest, Manifest)
        manifest = os.path.relpath(self._manifest.path, self._place.folder.root)
        batch_id, url = new_batch_id(), self._deliveries.asked
        log.begun(batch_id)
        batch = store.bind(
            provider=payee.name, origin=payee.origin, manifest=manifest, batch_id=batch_id, output_store=url
        )
        self._unclaimed = True  # bound first: a store that is claimed by a batch that no ledger knows is nobody's
        self._deliveries.open(store.reads)
        self._unclaimed = False
        if not self._sandbox:
            note_begun(self._place.folder.root, batch, store=url)

    def _announce(self, plan: Outlook, record: BatchRecord | None) -> None:
        """The first line: new or resumed, where, how many, about what cost; then the warnings."""
        standing = "NEW" if record is None else "RESUMED"
        cost = "cost unknown" if plan.cost is None else f"about ${plan.cost / 1e6:,.2f}"
        paid = f"{plan.paid_pairs:,} to pay for, {cost}" if plan.paid_pairs else "nothing to pay for"
        self._say(f"{standing} {self._place.folder.root}: {counted(plan.jobs, 'job')}, {paid}")
        for warning in plan.warnings:
            self._say(f"Warning: {warning}")
        if plan.warning_count > len(plan.warnings):
            self._say(f"Warning: ... and {plan.warning_count - len(plan.warnings):,} more; `plan` counts them")
        for problem in plan.problems:
            self._say(f"Skipped: {problem}")

    def _ask(self, plan: Outlook) -> None:
        """Questions of money, before any is spent."""
        confirm = self._orders.confirm
        if plan.leftovers and not self._orders.anew:
            self._ask_whether_new(plan.leftovers)
        too_many = plan.remade > max(REMADE_FEW, REMADE_SHARE * plan.finished)
        if too_many and not self._orders.remake:
            question = f"{plan.remade:,} of {plan.finished:,} finished videos would be made and paid for again. Go on?"
            if confirm is None or not confirm(question):
                raise ActionNeededError(
                    f"{plan.remade:,} of {plan.finished:,} finished videos would be made and paid for again",
                    hint="If that is meant: --remake. `lipsync-batch plan` shows which.",
                )
        if plan.paid_pairs > ASK_FROM and self._settings.budget is None and confirm is not None and not self._sandbox:
            cost = "at an unknown price" if plan.cost is None else f"about ${plan.cost / 1e6:,.2f}"
            if not confirm(f"Pay for {plan.paid_pairs:,} videos, {cost}, without a budget?"):
                hint = "Set --budget USD, or say --yes. `lipsync-batch plan` says more."
                raise ActionNeededError("nothing was submitted", hint=hint)

    def _ask_whether_new(self, found: Leftovers) -> None:
        confirm = self._orders.confirm
        lost = f"there is no jobs.db, but {found}: what was paid for then would be paid for again"
        if confirm is None or not confirm(f"{lost[0].upper()}{lost[1:]}. Is it a new batch?"):
            raise ActionNeededError(
                lost,
                hint=f"`lipsync-batch rebuild {self._place.named}` makes a lost jobs.db again. If it is a new batch: "
                "--remake, and what stands there is put aside; or another --out.",
            )

    # The work itself

    def _work(self, store: Store, payee: Account, log: RunLog, *, resumed: bool) -> Outcome:
        self._events.listen(log.listen)
        self._events.listen(self._telling.metrics.listen)
        self._events.listen(self._note_start)
        store.reads.base = self._media_root()
        store.reads.select(self._orders.selection)
        if payee.name == account.SANDBOX:
            store.forget_links()  # its port is another one each time
        number = store.begin_run()
        try:
            if self._orders.retry_failed:
                asyncio.run(remedies.retry(store, log, selected=True))
            with self._telling.metrics.kept():
                reason = asyncio.run(self._lanes(store, payee, log, number, resumed=resumed))
        except DiskError as error:
            reason = error.stop_reason
            self._events.emit(Stopping(reason=reason, message=f"{error}. {error.hint}"))
        except BaseException:
            secrets = secrets_of(self._environ, self._orders.notify)
            log.bug(mask(traceback.format_exc(), secrets=secrets, limit=MOST))
            with suppress(Exception):
                self._end(store, number, StopReason.CRASHED)
            raise
        return self._end(store, number, reason)

    async def _lanes(self, store: Store, payee: Account, log: RunLog, number: int, *, resumed: bool) -> StopReason:
        settings, options = self._settings, self._options()

        def notice(message: str) -> None:
            self._events.emit(Noticed(message=message))

        provider = payee.provider(settings, self._media_root())
        environ = without_accounts(os.environ)
        fetcher = self._fetcher(store.reads, environ, notice)
        self._page = LivePage(self._place.folder, clock=self._clock, environ=environ)
        presigner = Presigner(
            lifetime=timedelta(seconds=settings.link_lifetime), deadline=options.deadline, notice=notice
        )
        shelf = self._deliveries.shelf()
        in_main_thread = threading.current_thread() is threading.main_thread()
        try:
            with self._page.kept(), store.writing(log.durable) as ledger:
                work = Work(
                    store=store,
                    provider=provider,
                    folder=self._place.folder,
                    fetcher=fetcher,
                    clock=self._clock,
                    events=self._events,
                    options=options,
                    rate=settings.rate,
                    typical_seconds=settings.typical_seconds,
                    budget=settings.budget,
                    verify=self._orders.verify,
                    requests_before=self._requests,
                    memory=payee.memory(notice),
                    journalled=log.accepted,
                    presigner=presigner,
                    shelf=shelf,
                    aborted=(lambda reason: self._abort(store, number, reason)) if in_main_thread else None,
                )
                return await work.run(ledger, resumed=resumed)
        finally:
            presigner.close()
            if shelf is not None:
                shelf.close()
            fetcher.close()
            await provider.aclose()

    def _fetcher(self, reads: Reads, environ: Mapping[str, str], notice: Callable[[str], None]) -> Fetcher:
        if self._porters is not None:
            return self._porters.fetcher(notice)
        to_come = reads.to_come(WORKER_AT_ONCE)
        return ProcessFetcher(self._settings.downloads, lock=self._lock, environ=environ, to_come=to_come)

    def _options(self) -> Options:
        settings = self._settings
        return Options(
            max_in_flight=settings.max_in_flight,
            downloads=settings.downloads,
            check=settings.check,
            patience=settings.patience,
            resolve_for=settings.resolve_for,
            deadline=deadline(settings.finish_by, self._clock.utc()) if settings.finish_by else None,
            poll_floor=settings.poll_floor,
            collect_only=self._orders.collect_only or self._fault is not None,
        )

    def _media_root(self) -> Path:
        return self._manifest.path.parent if isinstance(self._manifest, Manifest) else self._place.folder.root

    def _end(self, store: Store, number: int, reason: StopReason) -> Outcome:
        """Write down how the run ended, then the report. One that went well but for that is to be run again."""
        reads, root = store.reads, self._place.folder.root
        if self._page is not None:
            self._page.end()
        try:
            store.end_run(number, reason, self._exit_code(reads, reason))
            self._make_posters(reads, reason)
            with disk_faults(root):
                write_reports(
                    reads,
                    root,
                    stop_reason=reason,
                    written_at=self._clock.utc(),
                    refused_at=refused_at(self._place.folder.state / "run.log"),
                )
            self._publish(reads, reason)
        except DiskError as error:
            message = f"the end of the run, or its report, could not be written down: {error}. {error.hint}"
            self._events.emit(Noticed(message=message))
            if reason is StopReason.FINISHED:
                reason = error.stop_reason
        code, counts, nights = self._exit_code(reads, reason), reads.counts(), self._nights_left(reads, reason)
        self._events.emit(RunEnded(stop_reason=reason, exit_code=code, jobs=counts, nights_left=nights))
        words = summary(reads, root, stop_reason=reason, nights_left=nights, videos=reads.output_store())
        self._telling.note(counts, stop_reason=reason, exit_code=code, summary=words, fault=self._fault)
        return Outcome(
            stop_reason=reason,
            exit_code=code,
            counts=counts,
            summary=words,
            reports=Paths.inside(root),
            nights_left=nights,
        )

    def _publish(self, reads: Reads, reason: StopReason) -> None:
        """The reports go into the store. Where they do not, that is told; the videos are what the run is for."""
        root = self._place.folder.root
        try:
            self._deliveries.end(reads, Paths.inside(root).all, hurried=_is_hurried(reason))
        except OutputStoreError as error:
            message = f"the reports are in {root} alone, the next run puts them into the store: {error}"
            self._events.emit(Noticed(message=message))

    def _note_start(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._done_before = event.pairs[State.DONE]

    def _nights_left(self, reads: Reads, reason: StopReason) -> int | None:
        if reason is not StopReason.DEADLINE:
            return None
        made = reads.pair_counts()[State.DONE] - self._done_before
        return nights_left(reads.pair_counts(selected=True)[State.PENDING], made=made)

    def _make_posters(self, reads: Reads, reason: StopReason) -> None:
        """Those that are missing, as far as nobody has to wait for them; `report` makes the rest."""
        # A file that nobody looked into may break the decoder; one in a store is not here.
        if _is_hurried(reason) or self._settings.check != "media" or reads.output_store() is not None:
            return
        seconds = max(POSTERS_FOR, POSTERS_SHARE * (time.monotonic() - self._begun))
        Posters(self._place.folder.root).make(reads.videos(), seconds=seconds)

    def _exit_code(self, reads: Reads, reason: StopReason) -> int:
        selected = reads.counts(selected=True)
        return exits.exit_code(reason, selected, manifest_errors=self._fault is not None, skipped=self._skipped)

    def _abort(self, store: Store, number: int, reason: StopReason) -> None:
        """The second signal: a true report, and out. What is on the wire is `unclear` at the next start."""
        self._deliveries.abandon()
        outcome = self._end(store, number, reason)
        self._say(outcome.summary)
        self._telling.at_once()
        os._exit(outcome.exit_code)


def _is_hurried(reason: StopReason) -> bool:
    """Whether nothing should be done at the end that can be done another time."""
    return reason in {StopReason.INTERRUPTED, StopReason.TERMINATED, StopReason.DISK_FULL, StopReason.CRASHED}
