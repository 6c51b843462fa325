"""A store for tests about stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from object_store import ObjectServer, object_server


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
