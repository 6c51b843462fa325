"""report.html of a run that goes on: written by a process of its own, which costs the run nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from command import KEY, environment
from media_factory import make_video
from other_api import OtherApi, other_api

from lipsync_batch import live_page, location, page_worker
from lipsync_batch.batch import Batch
from lipsync_batch.clock import Clock
from lipsync_batch.errors import LipsyncBatchError
from lipsync_batch.events import Event, Moved
from lipsync_batch.files import Folder
from lipsync_batch.jobs import State
from lipsync_batch.live_page import LivePage
from lipsync_batch.page_worker import Writer

pytestmark = pytest.mark.slow


@pytest.fixture
def api(tmp_path: Path) -> Iterator[OtherApi]:
    make_video(tmp_path / "clip.mp4")
    with other_api(tmp_path / "clip.mp4", key=KEY, seconds=0.1) as server:
        yield server


def batch_of(folder: Path, api: OtherApi, texts: list[str]) -> Batch:
    rows = [f"{text},clip.mp4,{text},Emily" for text in texts]
    manifest = folder / "spring.csv"
    manifest.write_text("\n".join(["key,video,text,speaker", *rows]), encoding="utf-8")
    return Batch.find(manifest, flags={"typical_seconds": 0.1}, environ=environment(folder, api.url))


def test_page_tells_how_far_a_run_is_while_it_goes_on(
    tmp_path: Path, api: OtherApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at two in the morning sees what is done by then; at the end the last word is the run's."""
    monkeypatch.setattr(live_page, "EVERY", 0.1)
    page, posters = tmp_path / "out" / "spring" / "report.html", tmp_path / "out" / "spring" / "report.posters"
    workers = set()

    def hold(task, handler) -> bool:
        """The second video is only made once the page has told of the first one."""
        if task.request["lip_sync_tts_content"] == "second" and not (page.exists() and "1 of 2" in page.read_text()):
            task.due = time.monotonic() + 0.3
        workers.update(child.pid for child in psutil.Process().children() if live_page.WORKER in child.cmdline())
        return False

    def keep(event: Event) -> None:
        if isinstance(event, Moved) and event.new is State.DONE and page.exists():
            seen.append(page.read_text())

    seen: list[str] = []
    api.on_poll = hold
    outcome = batch_of(tmp_path, api, ["first", "second"]).run(listeners=[keep])

    assert outcome.exit_code == 0
    assert "1 of 2 videos are done, 1 is left." in seen[-1]
    assert '"again_after":30.0' in seen[-1]
    assert "All 2 videos are done." in page.read_text()
    assert '"again_after":null' in page.read_text()
    assert len(list(posters.glob("*.jpg"))) == 2
    assert len(workers) == 1
    assert not any(map(psutil.pid_exists, workers))


async def test_run_of_less_than_half_a_minute_has_no_such_process(tmp_path: Path) -> None:
    """It would cost a quick run more than it is worth."""
    with LivePage(Folder(tmp_path, tmp_path / "_batch"), clock=Clock(), environ={}).kept():
        assert psutil.Process().children() == []

    assert live_page.EVERY == 30.0


@pytest.fixture
def finished(tmp_path: Path, api: OtherApi) -> location.Location:
    """A batch that was run."""
    batch = batch_of(tmp_path, api, ["first"])
    batch.run()
    return batch.location


def test_process_ends_with_the_one_that_started_it(finished: location.Location) -> None:
    """kill -9 must not leave something behind that writes "a run is going on" for ever."""
    page = finished.folder.root / "report.html"
    page.unlink()
    command = [sys.executable, "-m", live_page.WORKER, str(finished.folder.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as worker:
        until = time.monotonic() + 30
        while not page.exists() and time.monotonic() < until:
            time.sleep(0.02)
        assert psutil.Process(worker.pid).nice() == 19
        assert worker.poll() is None

        assert worker.stdin is not None
        worker.stdin.close()

        assert worker.wait(timeout=10) == 0


def test_page_that_takes_long_is_written_more_seldom(
    finished: location.Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a million jobs it takes minutes, and must not keep a processor busy all night."""
    writer = Writer(finished)
    writer.write()
    assert writer.pause == live_page.EVERY

    monkeypatch.setattr(page_worker, "SHARE", 1e6)
    writer.write()
    writer.write()

    assert writer.pause > live_page.EVERY
    assert '"again_after":30.0' not in (finished.folder.root / "report.html").read_text()


@pytest.mark.parametrize("trouble", ["the page's place is taken", "jobs.db cannot be read"])
def test_what_keeps_the_page_from_being_written_is_an_error_that_is_waited_out(
    trouble: str, finished: location.Location
) -> None:
    """A full disk, say, which has room again an hour later."""
    if trouble == "jobs.db cannot be read":
        finished.database.write_bytes(b"no database" * 1000)
    else:
        (finished.folder.root / "report.html").unlink()
        (finished.folder.root / "report.html" / "inside").mkdir(parents=True)

    with pytest.raises((OSError, LipsyncBatchError)):
        Writer(finished).write()
