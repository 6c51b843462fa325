"""A manifest that stands in the store as it is: nothing that its jobs depend on has changed since it was taken in.

Then no row is read again, so that a run of a million jobs goes on within seconds. It says what reading everything would
say; and whatever is not surely the same is left to `Planner`.
"""

from __future__ import annotations

from lipsync_batch.capabilities import LIP_SYNC, Capabilities
from lipsync_batch.digest import intake_digest
from lipsync_batch.jobs import ALL, Selection
from lipsync_batch.leftovers import Leftovers
from lipsync_batch.manifest import Manifest
from lipsync_batch.plan import Outlook, cost_of
from lipsync_batch.providers.base import Price
from lipsync_batch.settings import Settings
from lipsync_batch.store import Store
from lipsync_batch.store.intake import Intake


class Standing:
    """In the place of a `Planner`, where the jobs in the store are those of the manifest."""

    def __init__(self, store: Store, intake: Intake) -> None:
        self._store = store
        self._intake = intake

    @classmethod
    def of(
        cls, manifest: Manifest, store: Store, settings: Settings, capabilities: Capabilities = LIP_SYNC
    ) -> Standing | None:
        """None where anything may have changed, or had been wrong before."""
        intake = store.reads.intake()
        if intake is None or intake.digest != intake_digest(manifest, settings, capabilities, store.reads.redone()):
            return None
        return cls(store, intake) if store.inputs.all_fresh() else None

    def outlook(self, price: Price | None, selection: Selection = ALL) -> Outlook:
        """See `Planner.outlook`."""
        selected = self._intake.jobs if selection.is_all else self._store.reads.select(selection)
        bill = self._store.reads.bill(selected=not selection.is_all)
        return Outlook(
            jobs=self._intake.jobs,
            selected=selected,
            paid_pairs=bill.pairs,
            cost=cost_of(bill, price),
            remade=0,
            finished=self._store.reads.finished_pairs(),
            leftovers=Leftovers(),
            warnings=self._intake.warnings,
            warning_count=self._intake.warning_count,
            problems=(),
            problem_count=0,
        )

    def take_in(self) -> None:
        """It is in already."""
