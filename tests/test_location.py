"""Where a batch's ledger may live, and what happens when it is gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from command import environment, run
from other_api import OtherApi, other_api

from lipsync_batch import location, lock, mounts
from lipsync_batch.errors import BatchError, BatchHeldError, UsageError


class Mount(NamedTuple):
    mountpoint: str
    fstype: str


def mounted(monkeypatch: pytest.MonkeyPatch, *mounts: tuple[Path, str]) -> None:
    """Let the system say that these are mounted, in this order, over a local disk."""
    table = [Mount("/", "ext4"), *(Mount(str(path), kind) for path, kind in mounts)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: table)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.rclone", "NFS"])
def test_network_drives_are_known(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There SQLite's log and locks do not hold: two runs could pay for the same pair."""
    mounted(monkeypatch, (tmp_path / "share", kind))

    assert mounts.network_drive(tmp_path / "share" / "not" / "made yet") == kind.lower()
    assert mounts.network_drive(tmp_path / "share2") is None


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "apfs", "fuse.gocryptfs", "zfs"])
def test_local_disks_are_let_through(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, (tmp_path, kind))

    assert mounts.network_drive(tmp_path) is None


def test_mount_that_covers_another_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local disk inside a network drive is local; of two on the same place the later one is what is seen."""
    mounted(monkeypatch, (tmp_path / "a" / "local", "ext4"), (tmp_path / "a", "nfs"), (tmp_path / "b", "nfs"))
    assert mounts.network_drive(tmp_path / "a" / "local" / "x") is None
    assert mounts.network_drive(tmp_path / "a" / "x") == "nfs"

    mounted(monkeypatch, (tmp_path / "b", "nfs"), (tmp_path / "b", "ext4"))
    assert mounts.network_drive(tmp_path / "b") is None


def test_state_on_a_network_drive_is_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The videos may be there, the ledger may not."""
    manifest = tmp_path / "spring.csv"
    manifest.touch()
    share, local = tmp_path / "share", tmp_path / "local"
    mounted(monkeypatch, (share, "nfs4"))

    with pytest.raises(BatchError, match=r"network drive \(nfs4\)") as refused:
        location.prepare(location.find(manifest, out=share / "spring"))
    location.prepare(location.find(manifest, out=share / "spring", state=local))

    assert refused.value.exit_code == 2
    assert "--state" in refused.value.hint
    assert location.find(manifest, out=share / "spring").folder.state.is_relative_to(local)


@pytest.fixture
def api() -> OtherApi:
    with other_api(Path(__file__), seconds=0.05) as server:
        yield server


def write(folder: Path) -> Path:
    manifest = folder / "spring.csv"
    manifest.write_text("key,video,text,speaker\na,https://media.example/a.mp4,eins,Emily\n", encoding="utf-8")
    return manifest


@pytest.mark.slow
@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(lambda state: (state / "jobs.db").unlink(), id="jobs.db alone"),
        pytest.param(shutil.rmtree, id="the whole _batch"),
    ],
)
def test_batch_without_its_ledger_is_not_paid_for_anew(tmp_path: Path, api: OtherApi, lose) -> None:
    """Somebody tidied up: starting over by itself would buy every video a second time."""
    manifest, env = write(tmp_path), environment(tmp_path, api.url)
    run("run", manifest, "--check", "size", "-q", env=env, cwd=tmp_path)
    lose(tmp_path / "out" / "spring" / "_batch")

    again = run("run", manifest, "--check", "size", env=env, cwd=tmp_path)

    assert again.returncode == 2
    assert "what was paid for is not known" in again.stderr
    assert "another --out" in again.stderr
    assert len(api.tasks) == 1


@pytest.mark.slow
def test_state_is_not_looked_for_in_another_place(tmp_path: Path, api: OtherApi) -> None:
    """--state on a batch that has its state elsewhere would begin a second ledger, and pay again."""
    manifest, env = write(tmp_path), environment(tmp_path, api.url)
    run("run", manifest, "--check", "size", "-q", env=env, cwd=tmp_path)

    again = run("run", manifest, "--check", "size", "--state", tmp_path / "elsewhere", env=env, cwd=tmp_path)

    assert again.returncode == 2
    assert "is in" in again.stderr
    assert len(api.tasks) == 1


def test_state_folder_that_was_pointed_at_stays(tmp_path: Path) -> None:
    """The same --state again is no contradiction, another one is."""
    manifest = tmp_path / "spring.csv"
    manifest.touch()
    place = location.find(manifest, state=tmp_path / "local")
    location.prepare(place)

    assert location.find(manifest, state=tmp_path / "local").folder.state == place.folder.state
    with pytest.raises(UsageError, match="already"):
        location.find(manifest, state=tmp_path / "other")


@pytest.mark.parametrize("content", ["", "elsewhere"])
def test_pointer_that_says_nothing_begins_no_second_ledger(tmp_path: Path, content: str) -> None:
    """A power cut left it empty: the batch's state is somewhere, and must be found before anything is sent."""
    manifest = tmp_path / "spring.csv"
    manifest.touch()
    place = location.find(manifest, state=tmp_path / "local")
    location.prepare(place)
    pointer = place.folder.root / "_batch" / location.POINTER
    pointer.write_text(content)

    with pytest.raises(UsageError, match="does not say where"):
        location.find(manifest)


def test_pointer_is_written_once(tmp_path: Path) -> None:
    """What is not written again cannot be lost while it is written."""
    manifest = tmp_path / "spring.csv"
    manifest.touch()
    place = location.find(manifest, state=tmp_path / "local")
    location.prepare(place)
    pointer = place.folder.root / "_batch" / location.POINTER
    inode = pointer.stat().st_ino

    location.prepare(place)

    assert pointer.stat().st_ino == inode
    assert [path.name for path in pointer.parent.iterdir()] == [location.POINTER]


def test_state_that_is_pointed_at_and_gone_is_missed(tmp_path: Path) -> None:
    """The local disk with the ledger is not mounted: an empty folder in its place is no new batch."""
    manifest = tmp_path / "spring.csv"
    manifest.touch()
    location.prepare(location.find(manifest, state=tmp_path / "local"))
    shutil.rmtree(tmp_path / "local")

    with pytest.raises(BatchError, match="ledger"):
        location.prepare(location.find(manifest))


def test_lock_is_of_the_file_that_has_its_name(tmp_path: Path) -> None:
    """Removed under a waiting run, the old file would be held by one and the new one by another."""
    with lock.held(tmp_path):
        (tmp_path / "lock").unlink()
        with lock.held(tmp_path), pytest.raises(BatchHeldError), lock.held(tmp_path):
            pass


def test_looking_whether_it_is_held_does_not_hold_it(tmp_path: Path) -> None:
    """`status` at the moment in which cron starts the run must not make it exit 4."""
    (tmp_path / "lock").touch()
    looking = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.08, os.close, [looking]).start()

    with lock.held(tmp_path):
        assert lock.is_held(tmp_path)
    assert not lock.is_held(tmp_path)


def test_batch_that_came_to_nothing_leaves_no_trace(tmp_path: Path) -> None:
    """The next try is a new batch, and not one whose ledger is missing."""
    manifest = tmp_path / "spring.csv"
    manifest.touch()
    place = location.find(manifest, state=tmp_path / "local")
    location.prepare(place)

    location.forget(place)
    location.prepare(location.find(manifest))
