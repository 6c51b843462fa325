"""How files get their names: never half, never onto another, and for good."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from lipsync_batch import files
from lipsync_batch.files import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "state").mkdir()
    return Folder(tmp_path, tmp_path / "state")


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_nothing_is_renamed_onto_an_occupied_path(tmp_path: Path) -> None:
    """What stands there may be the only copy of something."""
    part, final = write(tmp_path / "a.part", "new"), write(tmp_path / "a.mp4", "old")

    with pytest.raises(FileExistsError):
        files.land(part, final)

    assert (part.read_text(), final.read_text()) == ("new", "old")


def test_dangling_link_counts_as_occupied(tmp_path: Path) -> None:
    """Its target may be on a drive that is not mounted now."""
    (tmp_path / "a.mp4").symlink_to(tmp_path / "gone")

    with pytest.raises(FileExistsError):
        files.land(write(tmp_path / "a.part", "new"), tmp_path / "a.mp4")


def test_name_is_on_disk_when_landing_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename is only durable once its folder is synced: `done` is written after that."""
    synced = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), (tmp_path / "de" / "a.mp4").exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    files.land(write(tmp_path / "a.part", "new"), tmp_path / "de" / "a.mp4")

    assert (str(tmp_path / "de"), True) in synced


def test_names_given_together_are_on_disk_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sync of a folder makes every rename durable that was made in it before, and none that comes after."""
    landings = [
        (write(tmp_path / language / f"{number}.part", "new"), tmp_path / language / f"{number}.mp4")
        for number in range(3)
        for language in ("de", "fr")
    ]
    synced = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        folder = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((folder.name, sorted(path.name for path in folder.iterdir())))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    errors = files.land_together(landings)

    names = ["0.mp4", "1.mp4", "2.mp4"]
    assert errors == [None] * 6
    assert sorted(synced) == [("de", names), ("fr", names)]


def test_what_goes_wrong_with_one_name_is_told_of_that_one(tmp_path: Path) -> None:
    """A file in the way of one video must not stop the others that land beside it."""
    write(tmp_path / "a.mp4", "old")
    landings = [(write(tmp_path / f"{name}.part", "new"), tmp_path / f"{name}.mp4") for name in "ab"]

    blocked, landed = files.land_together(landings)

    assert isinstance(blocked, FileExistsError)
    assert landed is None
    assert [(tmp_path / f"{name}.mp4").read_text() for name in "ab"] == ["old", "new"]


def test_folder_that_cannot_be_synced_is_told_of_its_names_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their renames may not survive a power loss, so their pairs are not done."""
    landings = [
        (write(tmp_path / folder / f"{number}.part", "new"), tmp_path / folder / f"{number}.mp4")
        for folder in ("good", "bad")
        for number in range(2)
    ]
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "bad":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)

    errors = files.land_together(landings)

    assert [error and error.errno for error in errors] == [None, None, errno.EIO, errno.EIO]


@pytest.mark.parametrize("error", [errno.EXDEV, None])
def test_file_lands_on_another_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int | None) -> None:
    """superseded/ may be on the state's disk, the outputs on another."""
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if error and self.suffix == ".mp4":
            raise OSError(error, os.strerror(error))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    source = write(tmp_path / "a.mp4", "video")

    files.land(source, tmp_path / "other" / "a.mp4")

    assert (tmp_path / "other" / "a.mp4").read_text() == "video"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.mp4"]


def test_second_name_is_a_hard_link_or_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have no hard links: then it costs the space twice."""
    source = write(tmp_path / "a.mp4", "video")
    files.duplicate(source, tmp_path / "b.mp4")
    assert source.samefile(tmp_path / "b.mp4")

    def no_links(self: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    files.duplicate(source, tmp_path / "c.mp4")
    assert (tmp_path / "c.mp4").read_text() == "video"
    assert not source.samefile(tmp_path / "c.mp4")
    with pytest.raises(FileExistsError):
        files.duplicate(source, tmp_path / "b.mp4")


def test_superseded_names_are_free_and_tell_where_the_file_was(folder: Folder) -> None:
    first = folder.superseded("de/a.mp4", "1234")
    write(folder.path(first), "old")

    second = folder.superseded("de/a.mp4", "1234")

    assert first == "_batch/superseded/de__a.1234.mp4"
    assert second == "_batch/superseded/de__a.1234.1.mp4"
    assert folder.path(first).is_relative_to(folder.state)


def test_long_paths_have_a_name_in_superseded(folder: Folder) -> None:
    """Folders in folders become one name there, and a name may have 255 bytes."""
    output = "/".join(["größe" * 20] * 5) + "/a.mp4"

    relative = folder.superseded(output, "12345678")
    write(folder.path(relative), "old")

    assert relative.endswith(".12345678.mp4")


def test_only_the_committed_bytes_match(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "video")
    sha256 = "17d4e0a4ad0de2e6ee2d4a2d0f3d0a3f4c0f9c6aeab4e6a8c0d1f5c93c0a9d3c"

    assert not files.matches(path, size=5, sha256=sha256)
    assert not files.matches(path, size=5, sha256=None)
    assert not files.matches(tmp_path / "gone.mp4", size=5, sha256=sha256)
    digest = hashlib.sha256(b"video").hexdigest()
    assert files.matches(path, size=5, sha256=digest)
    assert not files.matches(path, size=6, sha256=digest)
