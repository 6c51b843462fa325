"""Files of other machines in a shared folder, before they have their names."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lipsync_batch.fetching import arrivals
from lipsync_batch.files import Folder, tag_of_part


def put(root: Path, tag: str, content: bytes) -> str:
    staged = arrivals.new(tag)
    file = root / staged
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return staged


def test_file_is_found_by_its_generation_and_content(tmp_path: Path) -> None:
    """One that a worker did not end has the same tag, and is not what was committed."""
    put(tmp_path, "abcd1234-1", b"half")
    put(tmp_path, "abcd1234-2", b"whole")
    staged = put(tmp_path, "abcd1234-1", b"whole")

    assert arrivals.found(tmp_path, "abcd1234-1", hashlib.sha256(b"whole").hexdigest()) == staged
    assert arrivals.found(tmp_path, "abcd1234-3", hashlib.sha256(b"whole").hexdigest()) is None


def test_names_are_never_the_same() -> None:
    """Two workers at one generation are in each other's way nowhere."""
    assert arrivals.new("abcd1234-1") != arrivals.new("abcd1234-1")


def test_sweep_leaves_what_is_waited_for(tmp_path: Path) -> None:
    put(tmp_path, "aaaa-1", b"1")
    staged = put(tmp_path, "bbbb-1", b"2")

    arrivals.sweep(tmp_path, lambda tag: tag == "bbbb-1")
    assert [path.name for path in (tmp_path / arrivals.ARRIVING).iterdir()] == [Path(staged).name]

    arrivals.sweep(tmp_path, lambda _: False)
    assert not (tmp_path / arrivals.ARRIVING).exists()
    arrivals.sweep(tmp_path, lambda _: False)


def test_tag_is_told_by_the_name_of_a_part(tmp_path: Path) -> None:
    folder = Folder(tmp_path, tmp_path / "_batch")

    assert tag_of_part(folder.part("de/intro.final.mp4", "abcd1234-1")) == "abcd1234-1"
