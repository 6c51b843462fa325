"""report.html in a real browser: its script runs under its own policy, and plays the videos beside it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from media_factory import make_video
from report_factory import MORNING, a_night, failed, make_record, source_of

from lipsync_batch.jobs import StopReason
from lipsync_batch.report import Source, write_reports

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
HOSTILE = "</script><img src=x onerror=alert(1)>"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no browser: install Debian's chromium to run these"),
]


def opened(source: Source, folder: Path, tmp_path: Path, address: str = "") -> str:
    """The page as it stands in the browser, once its script has run; fails on anything in the console."""
    paths = write_reports(source, folder, stop_reason=StopReason.FINISHED, written_at=MORNING)
    assert BROWSER is not None
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    completed = subprocess.run(
        [
            BROWSER,
            *flags.split(),
            "--disable-component-update",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            paths.html.as_uri() + address,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [line for line in completed.stderr.splitlines() if ":CONSOLE" in line] == []
    return completed.stdout


def test_table_and_grid_are_there(tmp_path: Path) -> None:
    """The script is allowed by the policy's hash, and does its work without a complaint."""
    page = opened(a_night(5), tmp_path, tmp_path)

    assert ">65 jobs</p>" in page
    assert len(re.findall(r'<button[^>]* class="cell ', page)) == 65
    assert re.search(r'<button[^>]* class="open"[^>]*>ar/clip-000</button>', page)


def test_address_chooses_the_jobs(tmp_path: Path) -> None:
    """A link to the failed ones can be sent to a colleague."""
    source = source_of(make_record(0), failed(1, labels={"language": "pt BR"}), failed(2, labels={"language": "pt"}))

    page = opened(source, tmp_path, tmp_path, "#state=failed&q=language%3D%22pt+BR%22")

    assert ">1 of 3 jobs</p>" in page
    assert re.findall(r'class="open"[^>]*>([^<]*)<', page) == ["job-000001"]


def test_video_of_any_name_plays(tmp_path: Path) -> None:
    """A `#`, a `?`, a percent sign, a blank or an umlaut in a file's name is no reason not to see it."""
    output = "Füße & more/#1? 50%2F.mp4"
    path = tmp_path / output
    path.parent.mkdir()
    make_video(path)

    page = opened(source_of(make_record(key="the one", output=output)), tmp_path, tmp_path, "#job=the+one")

    assert f'<video controls="" playsinline="" preload="auto" src="./{quote(output, safe="/")}">' in page


def test_hostile_texts_do_nothing(tmp_path: Path) -> None:
    """What the rows say is never taken for markup, in the table or in the viewer."""
    source = source_of(
        failed(0, code=HOSTILE, message=HOSTILE, key=HOSTILE, labels={HOSTILE: HOSTILE}, speech=HOSTILE, video=HOSTILE),
        make_record(1, key=HOSTILE + "2", output=HOSTILE, labels={HOSTILE: "b"}, suspect=HOSTILE, video=HOSTILE),
    )

    page = opened(source, tmp_path, tmp_path, f"#job={quote(HOSTILE)}")

    assert "<img" not in page
    assert page.count("<script") == 3
