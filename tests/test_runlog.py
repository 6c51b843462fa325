"""run.log as a journal: whole lines whatever the disk does, and the answers that jobs.db did not get any more."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from lipsync_batch.clock import Clock
from lipsync_batch.errors import DiskError
from lipsync_batch.events import Noticed
from lipsync_batch.jobs import StopReason
from lipsync_batch.providers.base import Accepted
from lipsync_batch.runlog import RunLog


class Disk:
    """In the place of `os.write`: takes so many bytes, then none."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def __call__(self, descriptor: int, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(descriptor, data[: self.room])
        self.room -= written
        return written


def answer(request_id: str, generation_id: str, quote: int | None = None) -> str:
    told = {"event": "accepted", "client_request_id": request_id, "id": generation_id, "quote": quote}
    return json.dumps(told)


def test_line_that_the_disk_takes_in_two_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write may come short without an error; half an intent would be no intent."""
    path = tmp_path / "run.log"
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))

    with RunLog(path, Clock()) as log:
        log.durable(["first line", "second line"])

    assert path.read_text() == "first line\nsecond line\n"


def test_line_cut_short_by_a_full_disk_does_not_swallow_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next line may be the provider's answer: glued to half a line, nobody could read it."""
    path = tmp_path / "run.log"
    with RunLog(path, Clock()) as log:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", Disk(10))
            with pytest.raises(DiskError, match=r"run\.log.*No space left") as error:
                log.durable([answer("lb1.a.1", "gone")])

        log.durable([answer("lb1.a.1", "-9:gen/1", 240_000)])

        assert log.accepted({"lb1.a.1"}) == {"lb1.a.1": Accepted(generation_id="-9:gen/1", quote=240_000)}
    assert error.value.stop_reason is StopReason.DISK_FULL


def test_line_torn_by_a_kill_does_not_swallow_the_next(tmp_path: Path) -> None:
    """The next run appends to what a dead one left."""
    path = tmp_path / "run.log"
    path.write_text('{"event": "moved"}\n{"event": "acc')

    with RunLog(path, Clock()) as log:
        log.durable([answer("lb1.a.1", "gen-1")])

        assert log.accepted({"lb1.a.1"}) == {"lb1.a.1": Accepted(generation_id="gen-1")}


def test_answers_are_found_among_anything(tmp_path: Path) -> None:
    """Other submits, other events with the same word, bytes that are no text, lines of older versions, a torn end."""
    path = tmp_path / "run.log"
    others = [
        answer("lb1.a.2", "another"),
        '{"event": "noticed", "message": "\\"accepted\\" is what lb1.a.1 was"}',
        '{"event": "accepted"}',
        '["accepted"]',
        '{"event": "accepted", "client_request_id": "lb1.a.3", "id": "old"}',
    ]
    lines = [line.encode() for line in others] + [b'\xff\xfe "accepted"', answer("lb1.a.1", "ours").encode()]
    path.write_bytes(b"\n".join(lines) + b"\n" + answer("lb1.a.4", "torn").encode()[:-9])

    with RunLog(path, Clock()) as log:
        found = log.accepted({"lb1.a.1", "lb1.a.3", "lb1.a.4"})

    assert {request_id: accepted.generation_id for request_id, accepted in found.items()} == {
        "lb1.a.1": "ours",
        "lb1.a.3": "old",
    }


def test_what_is_only_for_people_may_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that cannot be written down, or the traceback of a bug, stops no lane."""
    path = tmp_path / "run.log"
    with RunLog(path, Clock()) as log:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", Disk(0))
            log.listen(Noticed(message="lost"))
            log.bug("Traceback (most recent call last): lost")

        log.listen(Noticed(message="kept"))

    assert [json.loads(line)["message"] for line in path.read_text().split("\n") if line] == ["kept"]


def test_journal_is_on_disk_when_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intent that a power cut takes away is a paid submit that nobody knows of."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((tmp_path / "run.log").read_text()))

    with RunLog(tmp_path / "run.log", Clock()) as log:
        log.durable(['{"event": "intent"}'])

        assert synced == ['{"event": "intent"}\n']
