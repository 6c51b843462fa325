"""A store for tests about stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command import KEY
from deliveries import Deliveries
from media_factory import make_video
from object_store import ObjectServer, object_server
from other_api import OtherApi, other_api


@pytest.fixture(scope="module")
def one_server() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


@pytest.fixture
def server(one_server: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path) -> ObjectServer:
    """An S3 server with nothing in it, which this process's environment leads to."""
    one_server.empty()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name, value in one_server.environment.items():
        monkeypatch.setenv(name, value)
    return one_server


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherApi]:
    with other_api(make_video(tmp_path_factory.mktemp("api") / "result.mp4", seconds=0.5), key=KEY) as server:
        server.seconds = 0.02
        yield server


@pytest.fixture
def deliveries(tmp_path: Path, server: ObjectServer, api: OtherApi) -> Deliveries:
    return Deliveries(tmp_path, server, api)
