"""The small pictures beside the page: one for each finished video, and never in the way of anything."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import pytest
from media_factory import make_audio, make_video

from lipsync_batch.report import Posters
from lipsync_batch.report.posters import FOLDER, name_of


def film(root: Path, output: str = "de/intro.mp4", *, seconds: float = 1.0) -> tuple[str, str]:
    """A finished video: its output and its checksum."""
    path = root / output
    path.parent.mkdir(parents=True, exist_ok=True)
    make_video(path, seconds=seconds, size=(640, 360))
    return output, hashlib.sha256(path.read_bytes()).hexdigest()


def there(root: Path) -> set[str]:
    return {path.name for path in (root / FOLDER).iterdir()}


def test_poster_is_a_small_picture_of_the_video(tmp_path: Path) -> None:
    """A page of hundreds of videos opens at once."""
    video = film(tmp_path)

    Posters(tmp_path).make([video])

    path = tmp_path / FOLDER / name_of(video[1])
    assert path.stat().st_size < 20_000
    with av.open(str(path)) as picture:
        assert (picture.streams.video[0].width, picture.streams.video[0].height) == (320, 180)


def test_video_made_anew_gets_a_poster_of_its_own_and_the_old_one_goes(tmp_path: Path) -> None:
    """Also a browser that has kept the old picture shows the new one."""
    old = film(tmp_path)
    Posters(tmp_path).make([old])
    (tmp_path / FOLDER / "mine.jpg").write_text("not ours")
    new = film(tmp_path, seconds=1.5)

    Posters(tmp_path).make([new])

    assert there(tmp_path) == {name_of(new[1]), "mine.jpg"}


def test_poster_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    """Every half minute all of them are looked at."""
    video = film(tmp_path)
    Posters(tmp_path).make([video])
    (tmp_path / video[0]).unlink()

    posters = Posters(tmp_path)
    posters.make([video])

    assert posters.names == {name_of(video[1])}


def test_empty_poster_is_none(tmp_path: Path) -> None:
    """A power cut may leave one: nothing is synced here."""
    video = film(tmp_path)
    path = tmp_path / FOLDER / name_of(video[1])
    path.parent.mkdir()
    path.touch()

    assert Posters(tmp_path).names == set()


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "sound", "cut"])
def test_broken_video_has_no_poster_and_costs_no_other_its_own(kind: str, tmp_path: Path) -> None:
    """Whatever has happened to a file since it was checked."""
    sound, broken = film(tmp_path), tmp_path / "broken.mp4"
    content = (tmp_path / sound[0]).read_bytes()
    match kind:
        case "empty":
            broken.touch()
        case "text":
            broken.write_text("<html>gone</html>")
        case "sound":
            make_audio(tmp_path / "sound.m4a").rename(broken)
        case "cut":
            broken.write_bytes(content[:2000])

    posters = Posters(tmp_path)
    posters.make([("broken.mp4", "0" * 64), sound])

    assert posters.names == there(tmp_path) == {name_of(sound[1])}


def test_no_time_left_means_no_more_posters(tmp_path: Path) -> None:
    """Nobody waits for pictures at the end of a run."""
    video = film(tmp_path)

    Posters(tmp_path).make([video], seconds=0.0)

    assert not (tmp_path / FOLDER).exists()


def test_place_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    """A poster is never worth a report."""
    video = film(tmp_path)
    (tmp_path / FOLDER).write_text("in the way")

    posters = Posters(tmp_path)
    posters.make([video])

    assert posters.names == set()
