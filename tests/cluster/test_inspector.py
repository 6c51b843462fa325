"""Inputs that workers look at, as a plan gets to know them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dask_cluster import DaskCluster
from media_factory import make_audio, make_video

from lipsync_batch import inputs
from lipsync_batch.cluster import inspector
from lipsync_batch.cluster.connection import Cluster
from lipsync_batch.cluster.inspector import ClusterInspector

pytestmark = pytest.mark.slow


@pytest.fixture
def connected(cluster: DaskCluster) -> Iterator[Cluster]:
    cluster.be_whole(1)
    connected = Cluster.connected(cluster.address, at_once=4)
    yield connected
    connected.close()


@pytest.fixture
def files(tmp_path: Path) -> list[inspector.File]:
    """More than go into one errand; the last two cannot be used, or are not there."""
    clip, dub = make_video(tmp_path / "clip.mp4", seconds=0.5), make_audio(tmp_path / "dub.wav", 0.5)
    copies = [tmp_path / f"copy{number}.mp4" for number in range(inspector.FILES_AN_ERRAND)]
    for number, copy in enumerate(copies):
        copy.write_bytes(clip.read_bytes() + bytes((0, 0, 0, 12)) + b"free" + number.to_bytes(4, "big"))
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    rest = [(dub, "audio"), (tmp_path / "broken.mp4", "video"), (tmp_path / "missing.mp4", "video")]
    return [(clip, "video"), *((copy, "video") for copy in copies), *rest]


def test_workers_find_what_this_machine_would(connected: Cluster, files: list[inspector.File]) -> None:
    """What is wrong with a file is left to this machine, which says it in its own words."""
    notices: list[str] = []

    found = ClusterInspector(connected, notices.append)(files)

    assert found == {file: inputs.inspect(*file) for file in files[:-2]}
    assert notices == []


def test_files_that_are_others_there_are_looked_at_here(
    connected: Cluster, files: list[inspector.File], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same path on another machine's disk: what it is there says nothing, and nobody asks again."""
    monkeypatch.setattr(inspector, "_stands_here", lambda _: False)
    notices: list[str] = []
    inspect = ClusterInspector(connected, notices.append)

    assert inspect(files) == {}
    connected.close()
    assert inspect(files) == {}
    assert notices == [f"the workers of the Dask cluster do not see {files[0][0]}: inputs are looked at here"]


def test_cluster_that_has_gone_is_done_without(
    cluster: DaskCluster, connected: Cluster, files: list[inspector.File]
) -> None:
    """A plan does not wait for it."""
    notices: list[str] = []
    inspect = ClusterInspector(connected, notices.append)
    cluster.kill_scheduler()

    assert inspect(files) == {}
    assert len(notices) == 1
    assert notices[0].endswith(": inputs are looked at here")
