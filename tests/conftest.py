"""What many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from runner_factory import Night


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the runs of an account share is each test's own, and never the developer's."""
    home = tmp_path / "state-home"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    return home


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    """An empty batch in virtual time."""
    night = Night(tmp_path)
    yield night
    night.close()
