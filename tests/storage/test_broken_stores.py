"""Stores that fail in every way, and runs that are killed at every request to one: nothing is lost, or paid twice."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable

import obstore
import pytest
from command import run, wait_until
from deliveries import STORE, Deliveries
from object_store import BROKEN, DENIED, NO_BUCKET, SLOW_DOWN, Answer, Request
from other_api import request_digest

from lipsync_batch import exits

pytestmark = pytest.mark.slow

STEPS: dict[str, Callable[[Request], bool]] = {
    "claim": lambda r: r.method == "PUT" and r.path.endswith("batch.json"),
    "what arrived": lambda r: r.method == "GET" and r.query.get("prefix") == ["spring/_batch/arriving/"],
    "listing": lambda r: r.method == "GET" and r.query.get("prefix") == ["spring/"],
    "occupied": lambda r: r.method == "HEAD" and r.path.endswith(".mp4"),
    "upload": lambda r: r.method == "PUT" and "/arriving/" in r.path,
    "look at upload": lambda r: r.method == "HEAD" and "/arriving/" in r.path,
    "copy": lambda r: r.is_copy,
    "end of upload": lambda r: r.method == "POST" and "delete" in r.query,
    "report": lambda r: r.method == "PUT" and r.path.endswith("report.html"),
}
"""A video's way into a store, and what a run asks before and after, by request."""


def is_right(deliveries: Deliveries, path: str) -> bool:
    """Whether an object under a final key is the whole video of its own request."""
    made = {task.request["lip_sync_tts_content"]: task.request for task in list(deliveries.api.tasks.values())}
    texts = {output: f"Text {key}" for key, output in deliveries.rows.items()}
    return deliveries.content(path).endswith(request_digest(made[texts[path]]))


def assert_nothing_half(deliveries: Deliveries) -> None:
    for path in deliveries.videos() & set(deliveries.rows.values()):
        assert is_right(deliveries, path), path


def finish(deliveries: Deliveries, *options: str) -> None:
    """Run to the end. What nobody knows whether it was sent, and was not, a person has sent again."""
    for _ in range(4):
        ended = deliveries.run("--resolve-for", "2s", *options)
        if ended.returncode == exits.DONE:
            return
        taken = {task.request["lip_sync_tts_content"] for task in deliveries.api.tasks.values()}
        never_sent = [
            job["key"]
            for job in deliveries.report()["jobs"]
            if job["state"] == "unclear" and f"Text {job['key']}" not in taken
        ]
        if never_sent:
            deliveries.call("resolve", "spring.csv", *never_sent, "--resubmit", "--yes")
    raise AssertionError(ended.stderr)


def test_killed_before_and_after_every_step_a_run_goes_on(deliveries: Deliveries) -> None:
    """kill -9 when the store has a request and has not done it, and when it has done it and has not answered."""
    deliveries.numbered(2 * len(STEPS) + 4)
    struck: list[str] = []

    for name, is_step in STEPS.items():
        for when in ("before", "after"):
            process = deliveries.start("--max-in-flight", "4", "--resolve-for", "1s")
            kill_at(deliveries, process, is_step, when)
            process.communicate(timeout=60)
            if process.returncode == -signal.SIGKILL:
                struck.append(f"{when} {name}")
            deliveries.server.instead, deliveries.server.after = lambda _: None, lambda _: None
            assert_nothing_half(deliveries)
    finish(deliveries)

    deliveries.assert_all_right()
    assert [path for path in deliveries.paths() if "/arriving/" in path] == []
    assert len(struck) >= 2 * len(STEPS) - 2, struck


def kill_at(
    deliveries: Deliveries, process: subprocess.Popen[str], is_step: Callable[[Request], bool], when: str
) -> None:
    def strike(request: Request) -> Answer | None:
        if not is_step(request):
            return None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return BROKEN

    setattr(deliveries.server, "instead" if when == "before" else "after", strike)


def test_store_that_fails_in_every_way_gets_every_video_right(deliveries: Deliveries) -> None:
    """Resets in the middle of an upload and of a copy, lost answers, cut bodies, 403, 500 and 503."""
    deliveries.numbered(16)
    requests, faults = itertools.count(1), itertools.cycle(["denied", "broken", "slow down", "reset", "cut"])
    met: set[str] = set()

    def instead(request: Request) -> Answer | None:
        of_a_video = request.path.endswith(".mp4") or "/arriving/" in request.path
        if not of_a_video or next(requests) % 11:
            return None
        fault = next(faults)
        met.add(fault)
        if fault == "reset":
            request.reset(after=request.length // 2)
        if fault == "cut" and "/arriving/" in request.path and not request.is_copy:
            request.truncate()
        return {"denied": DENIED, "broken": BROKEN, "slow down": SLOW_DOWN}.get(fault)

    def after(request: Request) -> None:
        assert_nothing_half(deliveries) if request.is_copy else None
        if next(requests) % 7 == 0 and request.method in ("PUT", "POST") and "/_batch/arriving/" in request.path:
            met.add("lost answer")
            request.reset()

    deliveries.server.instead, deliveries.server.after = instead, after
    run("run", "spring.csv", "--store", STORE, "--patience", "20s", env=deliveries.environment, cwd=deliveries.folder)
    deliveries.server.instead, deliveries.server.after = lambda _: None, lambda _: None
    finish(deliveries)

    deliveries.assert_all_right()
    assert len(met) >= 3, met


def test_one_key_that_is_refused_stops_no_other(deliveries: Deliveries) -> None:
    """And the run ends, when nothing has moved for --patience, and says why."""
    deliveries.numbered(6)
    deliveries.server.instead = lambda request: DENIED if request.path.endswith("job1.mp4") else None

    ended = run(
        "run", "spring.csv", "--store", STORE, "--patience", "3s", env=deliveries.environment, cwd=deliveries.folder
    )

    assert ended.returncode == exits.AGAIN, ended.stderr
    assert deliveries.report()["counts"]["done"] == 5
    deliveries.server.instead = lambda _: None
    finish(deliveries)
    deliveries.assert_all_right()


def test_bucket_that_vanishes_and_comes_back(deliveries: Deliveries) -> None:
    deliveries.numbered(4)
    deliveries.server.instead = lambda request: NO_BUCKET if "/arriving/" in request.path else None

    ended = run(
        "run", "spring.csv", "--store", STORE, "--patience", "3s", env=deliveries.environment, cwd=deliveries.folder
    )

    assert ended.returncode == exits.AGAIN
    assert "there is no such bucket" in ended.stderr
    deliveries.server.instead = lambda _: None
    finish(deliveries)
    deliveries.assert_all_right()


def test_interrupt_does_not_wait_for_an_upload_that_stalls(deliveries: Deliveries) -> None:
    """Ten seconds for what is on its way, and then the end; nothing is lost by it."""
    deliveries.numbered(3)
    stalled: list[str] = []

    def stall(request: Request) -> None:
        if request.method == "PUT" and "/arriving/" in request.path:
            stalled.append(request.path)
            time.sleep(60.0)

    deliveries.server.instead = stall
    process = deliveries.start()
    wait_until(lambda: len(stalled) == 3)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)

    assert process.returncode == exits.INTERRUPTED
    assert time.monotonic() - began < 16.0
    assert deliveries.videos() == set()
    deliveries.server.instead = lambda _: None
    finish(deliveries)
    deliveries.assert_all_right()


def test_what_others_put_under_our_keys_is_never_overwritten(deliveries: Deliveries) -> None:
    deliveries.numbered(8)
    for output in deliveries.rows.values():
        obstore.put(deliveries.bucket, f"spring/{output}", output.encode())

    finish(deliveries)

    kept = {deliveries.content(path) for path in deliveries.videos() if path.startswith("_batch/superseded/")}
    assert kept == {output.encode() for output in deliveries.rows.values()}
    assert all(is_right(deliveries, output) for output in deliveries.rows.values())
