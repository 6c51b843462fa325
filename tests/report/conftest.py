"""One browser for a module's tests, and a visitor for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Visits, started
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """While it is open, Playwright's loop runs in this thread, and no other one can: so never longer than a module."""
    with started() as browser:
        yield browser


@pytest.fixture
def visits(browser: Browser, tmp_path: Path) -> Iterator[Visits]:
    """Opens pages below `tmp_path`; the test fails at its end where one complained, or asked for anything else."""
    visits = Visits(browser, tmp_path)
    yield visits
    visits.close()
