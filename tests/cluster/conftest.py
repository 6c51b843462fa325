"""A cluster for tests about clusters: one for all of them, since its processes take seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from command import KEY, environment
from dask_cluster import DaskCluster
from media_factory import make_video
from object_store import ObjectServer, object_server
from other_api import OtherApi, other_api


@pytest.fixture(scope="session")
def store_server() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


@pytest.fixture(scope="session")
def one_cluster(tmp_path_factory: pytest.TempPathFactory, store_server: ObjectServer) -> Iterator[DaskCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    cluster = DaskCluster(folder, environment(folder, **store_server.environment))
    yield cluster
    cluster.end()


@pytest.fixture
def cluster(one_cluster: DaskCluster) -> DaskCluster:
    """Whose scheduler is there; a test says how many workers it wants. They are let into the store."""
    one_cluster.be_whole(0)
    return one_cluster


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherApi]:
    with other_api(make_video(tmp_path_factory.mktemp("api") / "result.mp4", seconds=0.5), key=KEY) as server:
        server.seconds = 0.1
        yield server
