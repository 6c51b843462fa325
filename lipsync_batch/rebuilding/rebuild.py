"""From a lost jobs.db to a new one: gathers what is known, asks where it must, and puts the new one in its place.

It is built beside, as `jobs.db.rebuild`, and renamed when it is whole: a command that is killed at any moment has
changed nothing, and may be run again. Nothing is submitted here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from lipsync_batch import account, location, lock
from lipsync_batch.account import Account
from lipsync_batch.clock import Clock
from lipsync_batch.deliveries import Deliveries
from lipsync_batch.errors import BatchError, LipsyncBatchError
from lipsync_batch.jobs import BatchRecord, State
from lipsync_batch.leftovers import begun_in, note_begun
from lipsync_batch.location import Location
from lipsync_batch.manifest import Manifest
from lipsync_batch.plan import Planner
from lipsync_batch.providers.base import LogRow
from lipsync_batch.providers.plugins import capabilities_of
from lipsync_batch.rebuilding.asking import Wishes, may_pay_again, which_batch
from lipsync_batch.rebuilding.copy import Copy, read_copy, tell_charges
from lipsync_batch.rebuilding.journal import Journal, read_journal
from lipsync_batch.rebuilding.placing import BESIDE, must_be_lost, put_in_place, remove
from lipsync_batch.rebuilding.records import Records
from lipsync_batch.rebuilding.reported import Reported, read_report
from lipsync_batch.rebuilding.sources import LOG, REPORT, Sources
from lipsync_batch.rebuilding.takes import find_redone
from lipsync_batch.rebuilding.videos import Away, Here, Videos, fetch_report, look_at_videos
from lipsync_batch.runlog import RunLog
from lipsync_batch.runner.throttle import Throttle
from lipsync_batch.settings import Settings
from lipsync_batch.storage.outputs import OutputStore
from lipsync_batch.store import Store
from lipsync_batch.store.ledger import Charged, Ledger
from lipsync_batch.store.recovery import Recovery

SAMPLE = 5
"""Generations that the account is asked after, before it is taken for that of the batch."""
CHUNK = 1_000
"""Lines of run.log that are written at once."""
TOLD_ROWS = 10_000
"""Rows of the provider's log between two words about it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """What the new jobs.db holds."""

    batch_id: str
    sources: Sequence[Path]
    """The files that it was made from, besides the manifest and the provider's records."""
    counts: Mapping[State, int]
    """Of jobs."""
    in_place: int
    """Pairs whose video stands where it shall, byte for byte as it was reported."""
    left_behind: Mapping[State, int]
    """Pairs of rows that are gone, and that may have been paid for."""
    settled: int | None
    """What was charged by now, in micro-USD; None where nobody says so."""
    unread: Sequence[str]
    """Records of the provider that could not be read whole, and why."""
    set_aside: Path | None
    """Where the damaged jobs.db is now."""
    videos: str
    """Where they go: the batch folder, or the address of a folder in object storage."""


class Rebuilder:
    """One rebuilding of a batch."""

    def __init__(
        self,
        place: Location,
        *,
        manifest: Manifest,
        settings: Settings,
        environ: Mapping[str, str],
        provider: str,
        sandbox: bool,
        wishes: Wishes,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._place = place
        self._manifest = manifest
        self._settings = settings
        self._environ = environ
        self._provider = provider
        self._sandbox = sandbox
        self._wishes = wishes
        self._say = say
        self._clock = Clock()
        self._copies: list[Copy] = []
        self._journals: list[Journal] = []
        self._reports: list[Reported] = []
        self._unread: list[str] = []
        self._videos: OutputStore | None = None
        """The object storage that the videos went to, if they did not stay in the folder."""
        self._beside = place.folder.state / BESIDE

    def run(self) -> Rebuilt:
        """Make jobs.db again. BatchError where it is whole; ActionNeededError where a person must be asked, and is not.

        UnreachableError where the API does not answer. Then nothing was changed.
        """
        place = self._place
        must_be_lost(place, self._clock)
        untouched = not place.folder.root.exists()
        location.make_folders(place)
        with lock.held(place.folder.state):
            must_be_lost(place, self._clock)
            remove(self._beside)
            try:
                with closing(Store.open(self._beside, self._clock)) as store:
                    rebuilt = self._build(store)
                aside = put_in_place(self._beside, place.database)
            except LipsyncBatchError:
                remove(self._beside)
                if untouched:
                    location.forget(place)
                raise
            finally:
                remove(self._beside)
        return replace(rebuilt, set_aside=aside)

    def _build(self, store: Store) -> Rebuilt:
        recovery = store.recovery()
        with store.together():
            self._gather(recovery)
        planner = Planner(self._manifest, store, self._settings, capabilities_of(self._provider))
        planner.stage()
        planner.check()
        planner.take_in()
        with store.together():
            recovery.name_in_full()
        with account.opened(self._place, self._environ, provider=self._provider, sandbox=self._sandbox) as payee:
            self._must_be_its_own(payee)
            price = payee.price(self._settings)
            batch_id = asyncio.run(self._from_provider(store, recovery, payee))
            if price is not None:
                store.estimate(per_generation=price.per_generation, per_second=price.per_second)
            with store.together():
                recovery.reserve_by_estimate()
            in_place = look_at_videos(self._where(), store, recovery, self._say)
            manifest = os.path.relpath(self._manifest.path, self._place.folder.root)
            began = recovery.oldest() or self._clock.utc()
            url = self._videos.url if self._videos else None
            batch = store.bind(
                provider=payee.name,
                origin=payee.origin,
                manifest=manifest,
                batch_id=batch_id,
                created_at=began,
                output_store=url,
            )
            if not self._sandbox:
                note_begun(self._place.folder.root, batch, store=url)
        self._complete_journal(recovery, batch)
        return Rebuilt(
            batch_id=batch_id,
            sources=self._read,
            counts=store.reads.counts(),
            in_place=in_place,
            left_behind=store.reads.left_behind(),
            settled=store.reads.costs().settled,
            unread=self._unread,
            set_aside=None,
            videos=self._videos.url if self._videos else str(self._place.folder.root),
        )

    # Our own records

    @property
    def _own_journal(self) -> Path:
        return self._place.folder.state / LOG

    @property
    def _own(self) -> Journal | None:
        """What was read of the run.log that the lost jobs.db was written with; None where that is lost, too."""
        return next((journal for journal in self._journals if journal.path == self._own_journal), None)

    def _gather(self, recovery: Recovery) -> None:
        """Read the copy of jobs.db, every journal, and then the reports."""
        sources = Sources.of(self._place, self._wishes.sources)
        self._copies += [read_copy(path, recovery, self._clock) for path in sources.copies]
        for path in sources.journals:
            journal = read_journal(path, recovery, journalled=path == self._own_journal)
            self._journals += [journal] if journal.batch_ids else []
        self._videos = self._open_store()
        reports = list(sources.reports)
        if self._videos is not None and not reports and fetch_report(self._videos, self._place.folder.root / REPORT):
            reports.append(self._place.folder.root / REPORT)
        self._reports += [read_report(path, recovery) for path in reports]
        for path in self._read:
            self._say(f"Read {path}")

    def _open_store(self) -> OutputStore | None:
        """The object storage that the videos went to, as our records say, or the settings where none does."""
        told = [copy.store for copy in self._copies] + [journal.store for journal in self._journals]
        if not self._sandbox and (begun := begun_in(self._place.folder.root)) is not None:
            told.insert(0, begun.store)
        known = [store for store in told if store]
        url = known[-1] if known else Deliveries(self._settings, sandbox=self._sandbox).asked
        return OutputStore(url, profile=self._settings.store_profile) if url else None

    def _where(self) -> Videos:
        return Here(self._place.folder) if self._videos is None else Away(self._videos)

    @property
    def _read(self) -> list[Path]:
        copies, journals = [copy.path for copy in self._copies], [journal.path for journal in self._journals]
        return [*copies, *journals, *(reported.path for reported in self._reports)]

    def _known_batch(self) -> str | None:
        """The id of the batch, by what was read and said. BatchError where that is of several batches."""
        named: dict[str, Path | str] = {
            batch_id: journal.path for journal in self._journals for batch_id in journal.batch_ids
        }
        named |= {copy.record.batch_id: copy.path for copy in self._copies}
        named |= {reported.head.batch_id: reported.path for reported in self._reports}
        if self._videos is not None and (owner := self._videos.owner()) is not None:
            named.setdefault(owner, self._videos.url)
        asked = self._wishes.batch_id
        if not named and asked is None and not self._sandbox:
            begun = begun_in(self._place.folder.root)
            return None if begun is None else begun.batch_id
        if len(named) > 1 or (asked is not None and named and asked not in named):
            which = ", ".join(f"{path} of {batch_id}" for batch_id, path in named.items())
            raise BatchError(
                f"these are of different batches: {which}{f', and not of {asked}' if asked else ''}",
                hint="Move away, or leave out, what is not of this batch.",
            )
        return next(iter(named), asked)

    def _must_be_its_own(self, payee: Account) -> None:
        """BatchError where a record says that the batch belongs to another account, or to another manifest."""
        root = self._place.folder.root
        manifest = os.path.relpath(self._manifest.path, root)
        for reported in self._reports:
            if reported.path == root / REPORT:
                manifest = reported.head.manifest
        paid = [(journal.provider, journal.origin) for journal in self._journals if journal.provider]
        for name, origin in paid or [(payee.name, payee.origin)]:
            record = BatchRecord(
                batch_id="", provider=name, origin=origin, manifest=manifest, created_at=self._clock.utc()
            )
            payee.check(record, self._place)
        for copy in self._copies:
            payee.check(copy.record, self._place)

    # The provider's records

    async def _from_provider(self, store: Store, recovery: Recovery, payee: Account) -> str:
        """Read what the provider knows, and ask what must be asked; the id of the batch."""
        provider = payee.provider(self._settings, self._manifest.path.parent)
        throttle = Throttle(self._clock, rate=self._settings.rate, memory=payee.memory(self._say))
        records = Records(provider, throttle, self._clock)
        try:
            await self._recognize(records, recovery)
            batch_id = await self._read_log(records, store, recovery)
            with store.together() as now:
                find_redone(
                    recovery, has_journal=bool(self._copies or self._journals), has_report=bool(self._reports), now=now
                )
                recovery.write(now)
            await self._read_charges(records, store, recovery)
        finally:
            throttle.close()
            await provider.aclose()
        return batch_id

    async def _recognize(self, records: Records, recovery: Recovery) -> None:
        """A batch of another account, or of a rehearsal, must not be paid for anew on this one."""
        if await records.knows_one_of(recovery.known_ids(SAMPLE)):
            return
        self._wishes.must_agree(
            "The account knows none of the batch's newest generations: is it the right key? Go on all the same?",
            "the account knows none of the batch's newest generations: is it the right key?",
        )

    async def _read_log(self, records: Records, store: Store, recovery: Recovery) -> str:
        known = self._known_batch()
        reaches_back = bool(self._copies) or any(journal.reaches_back for journal in self._journals)
        since = recovery.oldest() if known is not None and reaches_back else None
        self._say("Reading the provider's log")
        rows = 0

        def keep(page: Sequence[LogRow]) -> None:
            nonlocal rows
            with store.together():
                for row in page:
                    recovery.logged(
                        row.client_request_id,
                        row.generation_id,
                        created=row.created,
                        cost=row.cost,
                        failed=row.failed,
                    )
            rows += len(page)
            if rows and rows % TOLD_ROWS < len(page):
                self._say(f"Reading the provider's log: {rows:,} rows")

        denied = await records.log(since, keep, must=self._own is None or not self._own.is_whole)
        if denied is not None:
            self._unread.append(f"its log: {denied}")
        batch_id = known or which_batch(recovery.candidates(), self._wishes, denied=denied)
        with store.together():
            recovery.take_logged(batch_id)
        may_pay_again(
            self._wishes,
            unsubmitted=recovery.unsubmitted(),
            ends=max([copy.ends for copy in self._copies] + [journal.ends for journal in self._journals], default=None),
            own=self._own,
            not_in_log=recovery.not_in_log(),
            denied=denied,
        )
        return batch_id

    async def _read_charges(self, records: Records, store: Store, recovery: Recovery) -> None:
        since = recovery.oldest()
        if since is None:
            return
        self._say("Reading the account's charges")
        with store.writing(lambda _: None) as ledger:
            for copy in self._copies:
                await tell_charges(copy, ledger, self._clock)
            denied = await records.charges(since, lambda page: _keep(ledger, page))
        if denied is not None:
            self._unread.append(f"its charges: {denied}")

    def _complete_journal(self, recovery: Recovery, batch: BatchRecord) -> None:
        """What run.log lacks, so that it alone is enough another time."""
        with RunLog(self._own_journal, self._clock) as log:
            chunk: list[str] = []
            for line in recovery.unjournalled():
                chunk.append(line)
                if len(chunk) == CHUNK:
                    log.durable(chunk)
                    chunk = []
            log.durable(chunk)
            log.rebuilt(recovery.generations(), batch, store=self._videos.url if self._videos else None)


async def _keep(ledger: Ledger, page: Sequence[Charged]) -> None:
    if page:
        await ledger.charged(page)
