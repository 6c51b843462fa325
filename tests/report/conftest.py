"""One browser for all tests of a process, and a visitor for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Visits, started
from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with started() as browser:
        yield browser


@pytest.fixture
def visits(browser: Browser, tmp_path: Path) -> Iterator[Visits]:
    """Opens pages below `tmp_path`; the test fails at its end where one complained, or asked for anything else."""
    visits = Visits(browser, tmp_path)
    yield visits
    visits.close()
