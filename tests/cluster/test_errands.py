"""What a worker makes of an errand: the faults of its own machine are neither the video's nor the run's."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from lipsync_batch.cluster import errands
from lipsync_batch.cluster.errands import Bug, Ended, Errand, Look, SharedFolder, Unfit
from lipsync_batch.fetching.fetch import Expected
from lipsync_batch.version import VERSION


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process, as if it were one."""
    monkeypatch.setattr(errands, "_me", lambda: "tcp://worker:1")
    monkeypatch.setattr(errands, "_TOKENS", {})


def errand(root: Path, **changes: object) -> Errand:
    known = {
        "version": VERSION,
        "batch": "b",
        "link": "https://cdn.example/film.mp4?signature=secret",
        "tag": "abcd1234-1",
        "token": "now",
        "expected": Expected(),
        "place": SharedFolder(root=root),
        "at_once": 2,
    }
    return Errand(**{**known, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (OSError(errno.EIO, "Input/output error", "/scratch/x"), "/scratch/x: Input/output error"),
        (OSError(errno.ESTALE, "Stale file handle"), "its disk: Stale file handle"),
        (MemoryError(), "it has no memory left"),
    ],
)
def test_fault_of_its_machine_makes_a_worker_unfit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, reason: str
) -> None:
    """Another one does it; the run goes on."""

    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(errands, "_bring", fail)
    monkeypatch.setattr(errands.inputs, "inspect", fail)

    assert errands.bring(errand(tmp_path)) == Unfit("tcp://worker:1", reason)
    assert errands.look_at(Look(VERSION, [(tmp_path, "video")])) == Unfit("tcp://worker:1", reason)


def test_bug_is_told_with_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "_bring", lambda *_: 1 // 0)

    outcome = errands.bring(errand(tmp_path))

    assert isinstance(outcome, Bug)
    assert "ZeroDivisionError" in outcome.text


def test_folder_that_has_gone_makes_a_worker_unfit(tmp_path: Path) -> None:
    outcome = errands.bring(errand(tmp_path))

    assert isinstance(outcome, Unfit)
    assert "is not seen there any more" in outcome.reason


def test_worker_of_another_version_does_nothing(tmp_path: Path) -> None:
    outcome = errands.bring(errand(tmp_path, version="9.9.9"))

    assert outcome == Unfit("tcp://worker:1", f"lipsync-batch {VERSION} is installed there, and 9.9.9 here")
    assert asyncio.run(errands.fit({"version": "9.9.9"})) == outcome.reason


def test_what_an_earlier_connection_sent_for_ends(tmp_path: Path) -> None:
    """And a word that comes late, of a run that is over, is about none that came after it."""
    terms = {"version": VERSION, "batch": "b", "token": "now", "place": SharedFolder(root=tmp_path), "nonce": "n"}
    asyncio.run(errands.fit(terms))

    assert errands.bring(errand(tmp_path, token="before")) == Ended("tcp://worker:1")
    asyncio.run(errands.halt("b", "before"))
    assert isinstance(errands.bring(errand(tmp_path)), Unfit)
    asyncio.run(errands.halt("b", "now"))
    assert errands.bring(errand(tmp_path)) == Ended("tcp://worker:1")


def test_link_is_not_in_what_is_logged(tmp_path: Path) -> None:
    """Workers log the arguments of what fails."""
    assert "cdn.example" not in repr(errand(tmp_path))
