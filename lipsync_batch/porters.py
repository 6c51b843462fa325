"""The cluster that fetches for a batch, if one was asked for: reached before anything is planned, and checked before
anything is paid. Without it nothing of Dask is imported.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from lipsync_batch import cluster
from lipsync_batch.cluster.connection import Cluster
from lipsync_batch.cluster.errands import Place, SharedFolder, SharedStore
from lipsync_batch.cluster.inspector import ClusterInspector
from lipsync_batch.cluster.local import LocalWorkers
from lipsync_batch.fetching import arrivals
from lipsync_batch.files import disk_faults
from lipsync_batch.plan import Inspector
from lipsync_batch.runner.cluster_fetcher import ClusterFetcher
from lipsync_batch.settings import without_accounts
from lipsync_batch.store.reads import Reads

OF_STORES = ("AWS_", "AZURE_", "GOOGLE_")
"""How variables begin that let a worker into a store. Those of a cluster have their own."""


class Porters:
    """The workers of one run. A context: at its end they are told to stop, and what they left is swept away."""

    def __init__(self, asked: str, *, downloads: int, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        """`asked` is what `--dask` was given. UsageError, MissingExtraError, UnreachableError."""
        self._downloads = downloads
        self._say = say
        home = cluster.parse(asked)
        if isinstance(home, cluster.Local):
            workers = LocalWorkers(home.workers, downloads, environ=_environment(environ))
            self._cluster = Cluster.connected(workers, at_once=downloads)
        else:
            self._cluster = Cluster.connected(home.address, at_once=downloads)
        self._batch = ""
        self._place: Place | None = None
        self._reads: Reads | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cluster.close()
        if isinstance(self._place, SharedFolder) and self._reads is not None:
            arrivals.sweep(self._place.root, self._reads.is_arriving)

    @property
    def inspector(self) -> Inspector:
        """Has local inputs looked at by the workers."""
        return ClusterInspector(self._cluster, self._say)

    def engage(self, reads: Reads, root: Path, store: str | None, profile: str | None) -> None:
        """Every worker must reach the place that videos go to: the folder, or the store. UsageError where none does."""
        self._batch, self._reads = reads.batch().batch_id, reads
        self._place = SharedStore(url=store, profile=profile) if store else SharedFolder(root=root)
        nonce = secrets.token_hex(16)
        if not store:
            with disk_faults(root):
                sign = root / arrivals.ARRIVING / f"{nonce}.seen"
                sign.parent.mkdir(exist_ok=True)
                sign.write_text(nonce)
        for problem in self._cluster.engage({"batch": self._batch, "place": self._place, "nonce": nonce}):
            self._say(f"Warning: the Dask worker {problem}; it is not used")

    def fetcher(self, notice: Callable[[str], None]) -> ClusterFetcher:
        """For the lanes."""
        assert self._place is not None
        return ClusterFetcher(
            self._cluster, batch=self._batch, place=self._place, at_once=self._downloads, notice=notice
        )


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What workers on this machine may know: who pays is none of their business, what lets them into a store is."""
    return without_accounts(environ) | {name: value for name, value in environ.items() if name.startswith(OF_STORES)}
