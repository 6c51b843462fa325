"""Local inputs that are looked at by a cluster's workers, where those see the same files as this machine.

What a worker says of a file counts where the file that it read is, by inode, size and time, the one that stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lipsync_batch.cluster.connection import Cluster, ErrandError, GoneError, HaltedError
from lipsync_batch.cluster.errands import Look, Looked, look_at
from lipsync_batch.inputs import FileFacts, Kind, Trouble
from lipsync_batch.version import VERSION

File = tuple[Path, Kind]
FILES_AN_ERRAND = 8


class ClusterInspector:
    """Has files looked at as long as there is anybody who does, and sees them."""

    def __init__(self, cluster: Cluster, notice: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._notice = notice
        self._given_up = False

    def __call__(self, files: Sequence[File]) -> Mapping[File, FileFacts | Trouble]:
        """What is known of the files now; those that are left out are for this machine to look at. Blocks."""
        if self._given_up or not files:
            return {}
        looks = [Look(VERSION, files[at : at + FILES_AN_ERRAND]) for at in range(0, len(files), FILES_AN_ERRAND)]
        try:
            answers = self._cluster.map(look_at, looks)
        except (GoneError, ErrandError, HaltedError) as error:
            self._give_up(f"{error}: inputs are looked at here")
            return {}
        return dict(self._taken(looks, answers))

    def _taken(self, looks: Sequence[Look], answers: Sequence[Looked]) -> Iterator[tuple[File, FileFacts]]:
        for look, answer in zip(looks, answers, strict=True):
            assert isinstance(answer, list), "what else may come is seen to by the cluster"
            for file, facts in zip(look.files, answer, strict=True):
                if isinstance(facts, Trouble):
                    continue  # this machine says it in its own words, or finds none
                if facts is not None and _stands_here(facts):
                    yield file, facts
                elif not self._given_up and file[0].exists():
                    self._give_up(f"the workers of the Dask cluster do not see {file[0]}: inputs are looked at here")

    def _give_up(self, why: str) -> None:
        self._given_up = True
        self._notice(why)


def _stands_here(facts: FileFacts) -> bool:
    try:
        return facts.hold_for(facts.path.stat())
    except OSError:
        return False
