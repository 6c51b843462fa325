"""`report --client FILE.zip`: what a client gets are the videos, and nothing of how they were made."""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from browser import Visits
from media_factory import make_video
from playwright.sync_api import expect
from report_factory import BATCH, MORNING, failed, make_record, source_of, unfinished

from lipsync_batch.jobs import JobRecord, State
from lipsync_batch.report import Posters, write_client_zip

SECRET = "Quarrel with the vendor 4711"
HOST = "storage.internal.example"

pytestmark = pytest.mark.slow


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "spring"
    (root / "_batch").mkdir(parents=True)
    (root / "_batch" / "jobs.db").write_text(SECRET)
    return root


def jobs(root: Path) -> list[JobRecord]:
    """Two finished videos, one that failed, one that is unclear, one whose file is gone."""
    changes = {
        "fingerprint": f"v1:{SECRET}",
        "generation_id": f"gen-{SECRET}",
        "client_request_id": f"lb1.{SECRET}",
        "video": f"https://{HOST}/clips/intro.mp4",
        "suspect": SECRET,
        "estimated": 987_654_321,
        "quoted": 987_654_321,
        "settled": 987_654_321,
    }
    records = [
        make_record(0, output="de/Füße #1.mp4", labels={"language": "de"}, **changes),
        make_record(1, output="fr/intro.mp4", labels={"language": "fr"}, **(changes | {"video": "/home/me/intro.mp4"})),
        failed(2, code=SECRET, message=SECRET, labels={"language": "ja"}, **(changes | {"video": "../../up.mp4"})),
        unfinished(3, State.UNCLEAR, error_code=SECRET, error_message=SECRET, labels={"language": "it"}, **changes),
        make_record(4, output="gone.mp4", labels={"language": "es"}, **changes),
    ]
    for number, record in enumerate(records[:2]):
        path = root / record.output
        path.parent.mkdir(parents=True)
        make_video(path, size=(320, 180))
        records[number] = replace(record, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    Posters(root).make((record.output, record.sha256 or "") for record in records[:2])
    return records


def unpacked(root: Path, target: Path) -> Path:
    """The folder that the client sees."""
    about = replace(BATCH, batch_id=SECRET, provider=SECRET, origin=f"https://{HOST}", manifest=f"/home/me/{SECRET}")
    packed = write_client_zip(source_of(*jobs(root), about=about), root, target, name="spring", written_at=MORNING)
    assert (packed.videos, packed.missing, packed.suspects) == (2, 1, 2)
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist() if info.filename.endswith(".mp4")} == {0}
        archive.extractall(target.parent / "client")
    return target.parent / "client" / "spring"


def test_zip_holds_the_videos_and_nothing_about_how_they_were_made(root: Path, tmp_path: Path) -> None:
    """Neither costs nor ids nor the words of a provider, in no file of it; nothing of `_batch/`."""
    folder = unpacked(root, tmp_path / "client.zip")

    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("report.posters/")} == {
        "report.html",
        "de/Füße #1.mp4",
        "fr/intro.mp4",
    }
    assert len(files) > 3
    assert (folder / "fr/intro.mp4").read_bytes() == (root / "fr/intro.mp4").read_bytes()
    page = (folder / "report.html").read_text()
    told = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", page, flags=re.DOTALL)
    told = told.replace('"quoted","settled","poster"', "")  # what the elements of a row are called
    traces = (SECRET, HOST, "/home/me", "987", "$", "settled", "lb1.", "_batch", "lipsync-batch", str(tmp_path), "..")
    assert [trace for trace in traces if trace in told] == []
    assert "could not be made" in page


def test_client_plays_a_video_of_the_unpacked_page(root: Path, tmp_path: Path, visits: Visits) -> None:
    """On a computer that has nothing but this folder."""
    page = visits.open(unpacked(root, tmp_path / "client.zip") / "report.html")

    expect(page.locator(".verdict h2")).to_have_text("2 of 5 videos are done, 1 failed, 2 are left.")
    expect(page.locator("#table td.k-poster img")).to_have_count(2)
    page.get_by_role("button", name="job-000000", exact=True).click()
    assert page.locator("#viewer video").evaluate(
        "video => new Promise((over) => { video.ontimeupdate = () => video.currentTime > 0.2 && over(true); })"
    )
    assert SECRET not in page.locator("#viewer").inner_text()
    page.keyboard.press("Escape")
    page.locator("#search").fill("job-000002")
    expect(page.locator("#table td.k-note")).to_have_text("could not be made")


def test_zip_that_cannot_be_finished_leaves_the_old_one(root: Path, tmp_path: Path) -> None:
    """A disk that fills up under fifty gigabytes of videos."""
    target = tmp_path / "client.zip"
    target.write_text("the last one")
    records = jobs(root)
    (root / "fr" / "intro.mp4").unlink()
    (root / "fr" / "intro.mp4").symlink_to(root / "fr" / "intro.mp4")  # reading it is an error of the disk

    with pytest.raises(OSError, match="symbolic links"):
        write_client_zip(source_of(*records), root, target, name="spring", written_at=MORNING)

    assert target.read_text() == "the last one"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["client.zip"]
