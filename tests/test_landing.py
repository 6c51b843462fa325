"""Final names in groups: who waits for whom."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from lipsync_batch import files
from lipsync_batch.clock import Clock
from lipsync_batch.runner.landing import Landing


class SlowDisk:
    """Each group of landings waits until it is let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: list[list[str]] = []
        self.at_work = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.may_land = threading.Event()
        self._land = files.land_together
        monkeypatch.setattr(files, "land_together", self._landing)

    def _landing(self, landings: Sequence[tuple[Path, Path]]) -> list[OSError | None]:
        self.groups.append([final.name for _, final in landings])
        self._loop.call_soon_threadsafe(self.at_work.set)
        assert self.may_land.wait(10)
        return self._land(landings)


@pytest.fixture
async def disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    return SlowDisk(monkeypatch)


def make_part(folder: Path, name: str) -> tuple[Path, Path]:
    part = folder / f"{name}.part"
    part.write_text(name)
    return part, folder / name


async def test_names_that_come_while_a_folder_is_synced_share_the_next_sync(tmp_path: Path, disk: SlowDisk) -> None:
    """Ten thousand small files must not cost ten thousand syncs of one folder."""
    landing = Landing(Clock())
    first = asyncio.ensure_future(landing.land(*make_part(tmp_path, "a")))
    await disk.at_work.wait()
    later = [asyncio.ensure_future(landing.land(*make_part(tmp_path, name))) for name in "bcd"]
    await asyncio.sleep(0)

    disk.may_land.set()
    await asyncio.gather(first, *later)

    assert disk.groups == [["a"], ["b", "c", "d"]]
    assert all((tmp_path / name).exists() for name in "abcd")


async def test_nobody_goes_on_before_its_own_group_has_landed(tmp_path: Path, disk: SlowDisk) -> None:
    """`done` is written next: it must not rest on the sync of a group that began before."""
    landing = Landing(Clock())
    first = asyncio.ensure_future(landing.land(*make_part(tmp_path, "a")))
    await disk.at_work.wait()
    second = asyncio.ensure_future(landing.land(*make_part(tmp_path, "b")))
    second.add_done_callback(lambda _: seen.append((tmp_path / "b").exists()))
    seen: list[bool] = []

    disk.may_land.set()
    await asyncio.gather(first, second)

    assert seen == [True]


async def test_an_error_is_heard_by_the_one_it_is_about(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way")
    landing = Landing(Clock())
    part = tmp_path / "a.part"
    part.write_text("a")

    blocked, landed = await asyncio.gather(
        landing.land(part, tmp_path / "a"), landing.land(*make_part(tmp_path, "b")), return_exceptions=True
    )

    assert isinstance(blocked, FileExistsError)
    assert landed is None


async def test_who_is_cancelled_takes_nobody_along(tmp_path: Path, disk: SlowDisk) -> None:
    """A download that is broken off at the end of a run must not lose the names of others."""
    landing = Landing(Clock())
    one = asyncio.ensure_future(landing.land(*make_part(tmp_path, "a")))
    other = asyncio.ensure_future(landing.land(*make_part(tmp_path, "b")))
    await disk.at_work.wait()

    one.cancel()
    disk.may_land.set()
    await other

    assert one.cancelled()
    assert (tmp_path / "b").exists()


async def test_a_bug_is_heard_by_all_and_stops_nothing_that_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited for ever would hold the run up for ever."""
    landing = Landing(Clock())
    with monkeypatch.context() as patch:
        patch.setattr(files, "land_together", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await landing.land(*make_part(tmp_path, "a"))

    await landing.land(*make_part(tmp_path, "b"))

    assert (tmp_path / "b").exists()
