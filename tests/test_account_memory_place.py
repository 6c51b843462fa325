"""Where an account's runs on this machine share what they know."""

from __future__ import annotations

from pathlib import Path

import pytest

from lipsync_batch import account, mounts
from lipsync_batch.account import Account
from lipsync_batch.files import Folder
from lipsync_batch.location import Location

KEY = "sk-marked-0123456789abcdef"


def opened(tmp_path: Path, **environ: str) -> Account:
    place = Location(folder=Folder(tmp_path, tmp_path / "_batch"), manifest=None, named="spring.csv")
    with account.opened(place, {"AIMLAPI_API_KEY": KEY, **environ}, provider="aimlapi", sandbox=False) as payee:
        return payee


def test_each_account_has_a_memory_of_its_own(tmp_path: Path, state_home: Path) -> None:
    """Two keys have two rates; the same key at another address is another account, too."""
    paths = {
        opened(tmp_path).memory_path,
        opened(tmp_path, AIMLAPI_API_KEY="sk-another").memory_path,
        opened(tmp_path, AIMLAPI_BASE_URL="http://127.0.0.1:9").memory_path,
    }

    assert len(paths) == 3
    assert opened(tmp_path).memory_path in paths
    assert all(path is not None and path.is_relative_to(state_home) for path in paths)


def test_memory_names_neither_key_nor_address(tmp_path: Path) -> None:
    """A state folder is backed up, and shown around."""
    payee = opened(tmp_path)
    payee.memory(print).close()

    path = payee.memory_path
    assert path is not None
    assert KEY not in str(path)
    assert "aimlapi" not in str(path)
    assert KEY.encode() not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


def test_run_goes_on_without_a_memory_that_cannot_be_made(tmp_path: Path, state_home: Path) -> None:
    """A container with a read-only home: the rate is kept for this run alone, and that is said."""
    state_home.write_text("a file where the folder should be")
    said: list[str] = []

    memory = opened(tmp_path).memory(said.append)

    with memory.exclusive():
        memory.join(now=0.0, limit=None)
    assert len(said) == 1
    assert "other runs do not know" in said[0]


def test_memory_is_not_kept_on_a_network_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's locks do not hold there: two runs would spoil each other's."""
    monkeypatch.setattr(account, "network_drive", lambda folder: "nfs4")
    assert mounts.network_drive is not account.network_drive
    said: list[str] = []

    payee = opened(tmp_path)
    payee.memory(said.append)

    assert payee.memory_path is not None
    assert not payee.memory_path.exists()
    assert "network drive (nfs4)" in said[0]
