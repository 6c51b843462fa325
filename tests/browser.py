"""A real browser for the tests of report.html: the Chromium that is installed, driven by Playwright.

Where none is installed these tests are skipped, with what to do; CI sets LIPSYNC_BATCH_BROWSER=required, and fails.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
REMEDY = "there is no browser to open report.html in: `apt-get install chromium` (as root) has these tests run"
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
"""No name leads anywhere, whatever the browser itself may want to look up."""

MINUTE = timedelta(minutes=1)


@contextmanager
def started() -> Iterator[Browser]:
    """The installed browser, headless. Playwright downloads none of its own."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None and os.environ.get("LIPSYNC_BATCH_BROWSER") == "required":
        pytest.fail(REMEDY, pytrace=False)
    if program is None:
        pytest.skip(REMEDY)
    with sync_playwright() as playwright:
        # Its own sandbox wants namespaces that a container, or root, does not have; the pages are ours.
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=False, args=[NOWHERE])
        yield browser
        browser.close()


class Visits:
    """Opens pages that may ask for nothing but what lies in one folder, and must not complain of anything."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser = browser
        self._folder = folder
        self.complaints: list[str] = []
        """What was said in the consoles, and what broke there."""
        self.strays: list[str] = []
        """Requests for something else."""

    def open(self, path: Path, address: str = "", *, now: datetime | None = None, **options: Any) -> Page:
        """A page of its own kind of screen (`options` as for a Playwright context), loaded and its script run.

        With `now` its time begins there, and goes on by `page.clock.run_for` alone.
        """
        context = self._browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | options))
        context.set_default_timeout(15_000)
        page = context.new_page()
        if now is not None:
            page.clock.install(time=now - MINUTE)  # it goes on by itself until it is paused
            page.clock.pause_at(now)
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._look_at(request.url))
        page.on("websocket", lambda socket: self.strays.append(socket.url))
        page.goto(path.as_uri() + address)
        return page

    def _look_at(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "file" or not Path(unquote(parts.path)).is_relative_to(self._folder):
            self.strays.append(url)

    def close(self) -> None:
        """Fails where a page complained or asked for what is elsewhere."""
        for context in self._browser.contexts:
            context.close()
        assert not self.complaints, self.complaints
        assert not self.strays, self.strays
