"""A batch whose records are all gone is not begun anew, and paid for again, while its videos stand there."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command import KEY, environment
from media_factory import make_video
from other_api import OtherApi, other_api

from lipsync_batch import Batch
from lipsync_batch.cli import cli
from lipsync_batch.errors import ActionNeededError, BatchError
from lipsync_batch.events import Event, Moved
from lipsync_batch.jobs import Selection, State
from lipsync_batch.leftovers import Leftovers, leftovers
from lipsync_batch.rebuilding import Wishes
from lipsync_batch.session import Orders

pytestmark = pytest.mark.slow
TOLD = "2 files stand where its videos would go (de/intro.mp4)"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[OtherApi]:
    with other_api(make_video(tmp_path / "film.mp4", seconds=0.5), key=KEY, seconds=0.1) as server:
        yield server


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "spring.csv"
    rows = [f"{language}/intro,https://media.example/clip.mp4,Satz {language},Emily" for language in ("de", "fr")]
    path.write_text("\n".join(["key,video,text,speaker", *rows]) + "\n", encoding="utf-8")
    return path


def begun(manifest: Path, api: OtherApi) -> Path:
    """Run it to its end, then lose all but the videos; its folder."""
    assert Batch.find(manifest, environ=environment(manifest.parent, api.url)).run().exit_code == 0
    out = manifest.parent / "out" / "spring"
    shutil.rmtree(out / "_batch")
    for report in out.glob("report.*"):
        shutil.rmtree(report) if report.is_dir() else report.unlink()
    return out


def interrupt_when(state: State, event: Event) -> None:
    """As Ctrl-C does, once a pair has come that far."""
    if isinstance(event, Moved) and event.new is state:
        os.kill(os.getpid(), signal.SIGINT)


def told(manifest: Path, api: OtherApi, *arguments: str) -> Result:
    command, *options = arguments
    return CliRunner().invoke(cli, [command, str(manifest), *options], env=environment(manifest.parent, api.url))


def test_videos_without_a_ledger_stop_a_new_run(manifest: Path, api: OtherApi) -> None:
    """Neither a script with --yes nor cron may pay for all of it twice; rebuild is named, and works."""
    out = begun(manifest, api)

    for options in ((), ("--yes",), ("--collect-only",)):
        stopped = told(manifest, api, "run", *options)
        assert isinstance(stopped.exception, ActionNeededError)
        assert stopped.exception.exit_code == 5
        assert TOLD in str(stopped.exception)
        assert f"`lipsync-batch rebuild {manifest}`" in stopped.exception.hint
    assert not (out / "_batch").exists()
    assert len(api.tasks) == 2

    assert told(manifest, api, "rebuild", "--yes").exit_code == 0
    assert told(manifest, api, "run").exit_code == 0
    assert len(api.tasks) == 2


def test_plan_says_that_a_ledger_may_be_lost(manifest: Path, api: OtherApi) -> None:
    begun(manifest, api)

    shown = told(manifest, api, "plan")

    assert TOLD in " ".join(shown.output.split())
    assert f"lipsync-batch rebuild {manifest}" in shown.output


def test_folder_that_was_deleted_whole_is_remembered(manifest: Path, api: OtherApi, state_home: Path) -> None:
    """Nothing had landed yet, so nothing but the user's state folder tells that two videos are paid for."""
    batch = Batch.find(manifest, environ=environment(manifest.parent, api.url))
    api.seconds = 60.0
    batch.run(Orders(selection=Selection(limit=1)), listeners=[partial(interrupt_when, State.SUBMITTED)])
    (task,) = api.tasks.values()
    shutil.rmtree(manifest.parent / "out")

    with pytest.raises(ActionNeededError, match="a batch was begun in this folder at 20") as stopped:
        batch.run()
    assert "rebuild" in stopped.value.hint
    with pytest.raises(ActionNeededError, match=r"there is no run.log, so 2 pairs"):
        Batch.find_lost(manifest, environ=environment(manifest.parent, api.url)).rebuild()
    task.due = 0.0
    rebuilt = Batch.find_lost(manifest, environ=environment(manifest.parent, api.url)).rebuild(Wishes(yes=True))
    api.seconds = 0.1
    batch.run()

    assert rebuilt.batch_id == task.client_request_id.split(".")[1]
    assert len(api.tasks) == 2


@pytest.mark.parametrize("how", ["--remake", "a yes"])
def test_files_of_other_people_do_not_stop_who_says_so(manifest: Path, api: OtherApi, how: str) -> None:
    """What stands there goes aside when its place is needed, as ever; and from then on there is a ledger."""
    out = manifest.parent / "out" / "spring"
    (out / "de").mkdir(parents=True)
    (out / "de" / "intro.mp4").write_bytes(b"by hand")
    batch = Batch.find(manifest, environ=environment(manifest.parent, api.url))

    with pytest.raises(ActionNeededError):
        batch.run(Orders(confirm=lambda _: False))
    asked: list[str] = []
    orders = Orders(anew=True) if how == "--remake" else Orders(confirm=lambda text: not asked.append(text))
    assert batch.run(orders).exit_code == 0

    assert ["Is it a new batch?" in text for text in asked] == ([] if how == "--remake" else [True])
    assert [path.read_bytes() for path in (out / "_batch" / "superseded").iterdir()] == [b"by hand"]
    assert batch.run().exit_code == 0


def test_download_that_was_broken_off_is_a_sign_as_well(tmp_path: Path) -> None:
    """A run that was killed before its first video landed has left nothing else."""
    outputs = ["de/intro.mp4", "fr/intro.mp4", "outro.mp4"]
    (tmp_path / "_batch").mkdir()
    assert leftovers(tmp_path, outputs) == leftovers(tmp_path / "nowhere", outputs) == Leftovers()
    (tmp_path / "fr").mkdir()
    (tmp_path / "fr" / "notes.part").touch()
    assert leftovers(tmp_path, outputs).number == 0

    (tmp_path / "fr" / "intro.mp4.0a1b2c3d-1.part").touch()

    assert leftovers(tmp_path, outputs) == Leftovers(number=1, first="fr/intro.mp4.0a1b2c3d-1.part")


@pytest.mark.parametrize("left", ["report.json", "report.csv"])
def test_a_report_stops_a_run_for_good(manifest: Path, api: OtherApi, left: str) -> None:
    """It is a record of what was paid for: no flag leads round it."""
    batch = Batch.find(manifest, environ=environment(manifest.parent, api.url))
    batch.run()
    out = manifest.parent / "out" / "spring"
    kept = (out / left).read_bytes()
    shutil.rmtree(out)
    out.mkdir()
    (out / left).write_bytes(kept)

    with pytest.raises(BatchError, match=left) as stopped:
        batch.run(Orders(anew=True, remake=True))

    assert "rebuild" in stopped.value.hint
    assert len(api.tasks) == 2
