"""`lipsync-batch report` of a batch that was run: a part of it, and what is handed to a client."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command import KEY, environment
from media_factory import make_video
from other_api import other_api

from lipsync_batch import exits
from lipsync_batch.batch import Batch
from lipsync_batch.cli import cli

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose batch of two languages is done."""
    folder = tmp_path_factory.mktemp("project")
    make_video(folder / "clip.mp4")
    rows = [f"{language}-{n},clip.mp4,{language} {n},Emily,{language}" for language in ("de", "fr") for n in range(2)]
    manifest = folder / "spring.csv"
    manifest.write_text("\n".join(["key,video,text,speaker,language", *rows]), encoding="utf-8")
    with other_api(folder / "clip.mp4", key=KEY, seconds=0.1) as api:
        environ = environment(folder, api.url)
        assert Batch.find(manifest, flags={"typical_seconds": 0.1}, environ=environ).run().exit_code == 0
    return folder


def report(folder: Path, *options: object) -> Result:
    return CliRunner().invoke(cli, ["report", str(folder / "spring.csv"), *map(str, options)])


def test_report_of_a_label_stands_beside_that_of_the_batch(finished: Path) -> None:
    """Who sends German on must not find that the whole batch's table has become German."""
    out = finished / "out" / "spring"
    whole = {name: (out / name).read_bytes() for name in ("report.html", "report.csv", "report.json")}

    ended = report(finished, "--where", "language=de")

    assert ended.exit_code == 0, ended.output
    assert {name: (out / name).read_bytes() for name in whole} == whole
    told = json.loads((out / "report.language-de.json").read_text())
    assert [job["key"] for job in told["jobs"]] == ["de-0", "de-1"]
    assert told["counts"]["done"] == 2
    assert report(finished, "--where", "language=fr").exit_code == 0
    french = json.loads((out / "report.language-fr.json").read_text())
    of_parts = [part["cost"]["quoted"] or 0 for part in (told, french)]
    assert sum(of_parts) == json.loads(whole["report.json"])["cost"]["quoted"] > 0
    page = (out / "report.language-de.html").read_text()
    assert "All 2 videos are done." in page
    assert 'href="report.language-de.csv"' in page
    assert len(list((out / "report.posters").glob("*.jpg"))) == 4


def test_label_without_jobs_is_told(finished: Path) -> None:
    """An empty report looks like a finished one."""
    ended = report(finished, "--where", "language=xx")

    assert isinstance(ended.exception, Exception)
    assert 'no job has language "xx"; there are' in str(ended.exception) + ended.output


def test_client_gets_the_videos_of_one_language(finished: Path, tmp_path: Path) -> None:
    """Each client its own."""
    target = tmp_path / "for client.zip"

    ended = report(finished, "--client", target, "--where", "language=fr")

    assert ended.exit_code == 0, ended.output
    with zipfile.ZipFile(target) as archive:
        names = {name for name in archive.namelist() if "posters" not in name}
        page = archive.read("for client/report.html").decode()
    assert names == {"for client/fr-0.mp4", "for client/fr-1.mp4", "for client/report.html"}
    assert "de-0" not in page


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("out/spring/client.zip", "inside of the batch folder", id="among what is packed"),
        pytest.param("out/spring/de-0.mp4", "ends in .zip", id="a video"),
        pytest.param("table.zip", "something else than a ZIP", id="another file"),
        pytest.param("nowhere/client.zip", "no such folder", id="no folder"),
    ],
)
def test_zip_is_refused_where_it_would_do_harm(name: str, said: str, finished: Path) -> None:
    """A mistyped name must not cost a video that was paid for."""
    (finished / "table.zip").write_text("of the user's")
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.suffix != ".jpg"}

    ended = report(finished, "--client", finished / name)

    assert said in str(ended.exception) + ended.output
    assert getattr(ended.exception, "exit_code", ended.exit_code) == exits.MANIFEST
    assert {path: path.read_bytes() for path in before} == before
