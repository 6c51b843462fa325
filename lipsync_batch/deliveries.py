"""The object storage that a batch's videos go to, if they do not stay in its folder: bound once, claimed by each run.

What the lanes ask of it is in `runner.shelves`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lipsync_batch.errors import BatchError
from lipsync_batch.location import SANDBOX_ENDING
from lipsync_batch.runner.shelves import THREADS, StoreShelf
from lipsync_batch.settings import Settings
from lipsync_batch.storage.arriving import tag_of
from lipsync_batch.storage.outputs import OutputStore
from lipsync_batch.store.reads import Reads

PUBLISH_WITHIN = 120.0
"""Seconds in which reports go to a store that answers, ..."""
SLOWEST = 128 * 1024
"""... beside what their bytes take at so many a second."""
HURRIED = 5.0
"""The same where somebody waits for the end of the process."""


class Deliveries:
    """Where the videos of one batch go, in one run."""

    def __init__(self, settings: Settings, *, sandbox: bool) -> None:
        """A rehearsal has a folder of its own in the store, too."""
        self.asked = settings.store and settings.store + (SANDBOX_ENDING if sandbox else "")
        """Where the settings want them; None where they say nothing."""
        self._profile = settings.store_profile
        self._outputs: OutputStore | None = None
        self._arrived: Sequence[str] = ()

    def check(self, reads: Reads, root: Path) -> None:
        """BatchError where they have been going to another place than they are to go to now."""
        bound = reads.output_store()
        if self.asked not in (None, bound):
            raise BatchError(
                f"{root}: the videos of this batch go to {bound or 'its folder'}, not to {self.asked}",
                hint="A batch stays where it was begun: leave --store away. If its jobs.db was rebuilt without it: "
                "move jobs.db away, and `lipsync-batch rebuild MANIFEST --store URL`.",
            )

    def open(self, reads: Reads) -> None:
        """The store that the batch is bound to: before anything is paid, it must be there, and be ours.

        What a killed run, or a worker that nobody waits for any more, had uploaded is swept away, but for what it
        could not say `done` of.
        """
        url = reads.output_store()
        if url is None:
            return
        if self._outputs is None:
            outputs = OutputStore(url, profile=self._profile)
            outputs.claim(reads.batch().batch_id)
            self._outputs = outputs
        arrived = self._outputs.arrived()
        self._arrived = [path for path in arrived if reads.is_arriving(tag_of(path))]
        self._outputs.remove(set(arrived).difference(self._arrived))

    def shelf(self) -> StoreShelf | None:
        """For the lanes; None where the videos stay in the batch folder."""
        return None if self._outputs is None else StoreShelf(self._outputs, self._arrived)

    def end(self, reads: Reads, reports: Sequence[Path], *, hurried: bool) -> None:
        """The reports go where the videos are: there their links lead to them. What nobody waits for is swept away.

        OutputStoreError where the store does not do its part within a while; `hurried` where somebody waits.
        """
        if self._outputs is None:
            return
        outputs, threads = self._outputs, ThreadPoolExecutor(1, thread_name_prefix=THREADS)
        size = sum(report.stat().st_size for report in reports)
        seconds = HURRIED if hurried else PUBLISH_WITHIN + size / SLOWEST
        try:
            arrived = threads.submit(_publish, outputs, reports).result(seconds)
            unwanted = [path for path in arrived if not reads.is_arriving(tag_of(path))]
            threads.submit(outputs.remove, unwanted).result(seconds)
        except TimeoutError as error:
            raise outputs.silent(seconds) from error
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def abandon(self) -> None:
        """A store may take its time, and nobody waits for it now."""
        self._outputs = None


def _publish(outputs: OutputStore, reports: Sequence[Path]) -> Sequence[str]:
    """What is left of arrivals then."""
    for report in reports:
        outputs.publish(report)
    outputs.end_uploads()
    return outputs.arrived()
