"""What many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from runner_factory import Night


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    """An empty batch in virtual time."""
    night = Night(tmp_path)
    yield night
    night.close()
