"""Reports appear whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_factory import EVENING, FakeSource, make_record, many

from lipsync_batch.jobs import JobRecord, StopReason
from lipsync_batch.report import write_reports
from lipsync_batch.report.atomic import replacing


def test_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    """A page that is opened while it is written again is last time's page, not half of this one's."""
    path = tmp_path / "report.json"
    path.write_text("old")

    with replacing(path) as out:
        out.write("new")
        out.flush()
        assert path.read_text() == "old"

    assert path.read_text() == "new"


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """A disk that fills up in the middle costs no report."""
    path = tmp_path / "report.json"
    path.write_text("old")

    def fill_the_disk() -> None:
        with replacing(path) as out:
            out.write("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        fill_the_disk()

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_part_of_a_killed_process_is_taken_away_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    """kill -9 in the middle of a report must not leave rubbish among the videos for ever."""
    path = tmp_path / "report.html"
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    rubbish = tmp_path / f".report.html.{dead.pid}.part"
    others = [tmp_path / f".report.html.{os.getppid()}.part", tmp_path / ".report.html.mine.part"]
    for file in (rubbish, *others):
        file.touch()

    with replacing(path) as out:
        out.write("new")

    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


def test_colleagues_may_read_the_report(tmp_path: Path) -> None:
    """A report has the rights of any new file in the folder, not those of a secret."""
    plain = tmp_path / "plain"
    plain.touch()

    with replacing(tmp_path / "report.json") as out:
        out.write("{}")

    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_store_that_breaks_off_leaves_all_three_reports(tmp_path: Path) -> None:
    """Last night's reports are still there when this morning's cannot be read out of the store."""
    paths = write_reports(many(2), tmp_path, stop_reason=StopReason.FINISHED, written_at=EVENING)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def broken() -> Iterator[JobRecord]:
        yield make_record()
        raise OSError("input/output error")

    source = FakeSource(make=broken)
    source.counts = dict  # type: ignore[method-assign]  # a store counts by itself
    with pytest.raises(OSError, match="input/output"):
        write_reports(source, tmp_path, stop_reason=StopReason.FINISHED, written_at=EVENING)

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert set(before) == {paths.json, paths.csv, paths.html}
