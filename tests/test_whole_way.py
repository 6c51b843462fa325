"""The main job against a server that is not ours: a manifest in, the right videos out, each paid for once."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from command import KEY, environment, run, start
from media_factory import make_audio, make_video
from other_api import OtherApi, other_api, request_digest

pytestmark = pytest.mark.slow

LANGUAGES = ("de", "fr", "ja")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project: videos, a recording, and a place for manifests."""
    (tmp_path / "clips").mkdir()
    for number in range(4):
        make_video(tmp_path / "clips" / f"clip-{number}.mp4", seconds=0.5 + number / 10)
    make_audio(tmp_path / "dub.wav", 0.6)
    return tmp_path


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherApi]:
    video = make_video(tmp_path_factory.mktemp("api") / "result.mp4", seconds=0.5)
    with other_api(video, key=KEY) as server:
        yield server


def write_csv(path: Path, rows: int) -> Path:
    """A manifest of so many jobs: links and local files, recordings and texts in three languages."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["key", "video", "audio", "text", "speaker", "output", "language"])
        for number in range(rows):
            language = LANGUAGES[number % 3]
            local = f"clips/clip-{number % 4}.mp4"
            video = local if number % 2 else f"https://media.example/{number}.mp4?X-Amz-Signature=s3cr3t{number}"
            text = f"Satz Nummer {number}, ça va, こんにちは"
            speech = ["dub.wav", "", ""] if number % 5 == 0 and number % 2 == 0 else ["", text, "Emily"]
            table.writerow([f"job-{number:02}", video, *speech, f"{language}/job-{number:02}.mp4", language])
    return path


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def assert_right_videos(out: Path, api: OtherApi) -> None:
    """Every job's file is the one that was made of its own request."""
    jobs = {job["client_request_id"]: job for job in report(out)["jobs"]}
    for task in api.tasks.values():
        content = (out / jobs[task.client_request_id]["output"]).read_bytes()
        assert content.endswith(request_digest(task.request))


def test_sixty_jobs_with_odd_answers_under_a_rate(folder: Path, api: OtherApi) -> None:
    """Odd ids, odd statuses, missing meta, 201: none may cost a second submit or mix up two videos."""
    api.rate = (20, 1.0)
    manifest = write_csv(folder / "spring.csv", 60)

    ended = run("run", manifest, "--rate", "20/s", env=environment(folder, api.url), cwd=folder)

    assert ended.returncode == 0, ended.stderr
    out = folder / "out" / "spring"
    assert len(api.tasks) == 60
    assert api.refused == 0
    assert api.worst_window <= 20
    assert report(out)["counts"]["done"] == 60
    assert report(out)["stop_reason"] == "finished"
    assert [job["key"] for job in report(out)["jobs"]] == [f"job-{n:02}" for n in range(60)]
    assert_right_videos(out, api)


def test_key_goes_to_the_api_alone_and_into_no_file(folder: Path, api: OtherApi) -> None:
    """Not to the CDN, not into jobs.db, logs or reports; nor do signatures of input links get into reports."""
    manifest = write_csv(folder / "spring.csv", 6)

    ended = run("run", manifest, "-v", env=environment(folder, api.url), cwd=folder)

    assert ended.returncode == 0, ended.stderr
    assert api.keys_at_api == {f"Bearer {KEY}"}
    assert api.headers_at_cdn
    assert all("Authorization" not in headers for headers in api.headers_at_cdn)
    written = [path for path in (folder / "out").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    assert KEY not in ended.stdout + ended.stderr
    shared = [path for path in written if "_batch" not in path.parts]
    assert not [path for path in shared if b"s3cr3t" in path.read_bytes()]


def test_process_that_fetches_knows_no_key(folder: Path, api: OtherApi) -> None:
    """What it is sent comes from servers that nobody vouches for."""
    manifest = write_csv(folder / "spring.csv", 60)

    going_on = start("run", manifest, env=environment(folder, api.url), cwd=folder)
    told: dict[str, str] = {}
    while going_on.poll() is None and not told:
        time.sleep(0.01)
        with suppress(psutil.Error):
            for child in psutil.Process(going_on.pid).children():
                told = child.environ() if "lipsync_batch.fetching.worker" in child.cmdline() else told
    going_on.communicate()

    assert going_on.returncode == 0
    assert "PATH" in told
    assert KEY not in told.values()


def test_escaped_slashes_reach_the_cdn_as_they_are(folder: Path, api: OtherApi) -> None:
    """`%2F` is part of a result link: decoded, the CDN answers 404 for a video that was paid for."""
    manifest = write_csv(folder / "spring.csv", 4)

    run("run", manifest, env=environment(folder, api.url), cwd=folder)

    assert api.cdn_paths
    assert all(path.startswith("/cdn/panda/pixverse%2Fmp4%2F") for path in api.cdn_paths)


def test_finished_batch_does_nothing(folder: Path, api: OtherApi) -> None:
    """`run` in a cron line every night costs nothing once all is done."""
    manifest = write_csv(folder / "spring.csv", 5)
    env = environment(folder, api.url)
    run("run", manifest, env=env, cwd=folder)
    asked = sum(task.polls for task in api.tasks.values())

    again = run("run", manifest, env=env, cwd=folder)

    assert again.returncode == 0, again.stderr
    assert len(api.tasks) == 5
    assert sum(task.polls for task in api.tasks.values()) == asked


@pytest.mark.parametrize("wait", [0.8, 2.0])
def test_killed_run_goes_on_and_pays_once(folder: Path, api: OtherApi, wait: float) -> None:
    """kill -9 at some moment: the next run ends the batch without a second submit of anything that was answered."""
    manifest = write_csv(folder / "spring.csv", 24)
    env = environment(folder, api.url)
    with start("run", manifest, "--rate", "30/s", env=env, cwd=folder) as process:
        time.sleep(wait)
        process.kill()
        process.communicate()

    ended = run("run", manifest, "--rate", "30/s", "--resolve-for", "10s", env=env, cwd=folder)

    charged = [task.client_request_id for task in api.tasks.values()]
    pairs = [request_id.split(".")[2] for request_id in charged]
    assert len(pairs) == len(set(pairs)), "a pair was paid for twice"
    counts = report(folder / "out" / "spring")["counts"]
    assert counts["done"] + counts["unclear"] == 24
    assert ended.returncode == (1 if counts["unclear"] else 0), ended.stderr
    assert_right_videos(folder / "out" / "spring", api)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_ends_in_order(folder: Path, api: OtherApi, number: signal.Signals, code: int) -> None:
    """Ctrl-C or a shutdown: a true report, the documented exit code, and the next run ends the batch."""
    api.seconds = 3.0
    manifest = write_csv(folder / "spring.csv", 8)
    env = environment(folder, api.url)
    with start("run", manifest, "--typical-seconds", "3", env=env, cwd=folder) as process:
        while len(api.tasks) < 8 and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, number)
        _, stderr = process.communicate(timeout=30)

    assert process.returncode == code, stderr
    assert report(folder / "out" / "spring")["stop_reason"] in ("interrupted", "terminated")
    assert report(folder / "out" / "spring")["counts"]["submitted"] == 8
    assert "go on" in stderr

    ended = run("run", manifest, env=env, cwd=folder)

    assert ended.returncode == 0, ended.stderr
    assert len(api.tasks) == 8


def test_second_run_of_a_held_batch_sends_nothing(folder: Path, api: OtherApi) -> None:
    """Two cron jobs at once would pay twice."""
    api.seconds = 3.0
    manifest = write_csv(folder / "spring.csv", 4)
    env = environment(folder, api.url)
    with start("run", manifest, env=env, cwd=folder) as process:
        while len(api.tasks) < 4 and process.poll() is None:
            time.sleep(0.02)

        second = run("run", manifest, env=env, cwd=folder)
        glance = run("status", manifest, env=env, cwd=folder)

        assert second.returncode == 4, second.stderr
        assert len(api.tasks) == 4
        assert glance.returncode == 0, glance.stderr
        assert "going on" in glance.stdout
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_batch_is_bound_to_its_account_and_manifest(folder: Path, api: OtherApi) -> None:
    """A rehearsal that turned into the real thing, or another customer's manifest in the same folder, is stopped."""
    manifest = write_csv(folder / "spring.csv", 2)
    other = write_csv(folder / "summer.csv", 3)
    env = environment(folder, api.url)
    run("run", manifest, env=env, cwd=folder)

    elsewhere = run("run", manifest, env=environment(folder, "http://127.0.0.1:9"), cwd=folder)
    another = run("run", other, "--out", folder / "out" / "spring", env=env, cwd=folder)
    rehearsal = run("run", manifest, "--sandbox", "--out", folder / "out" / "spring", env=env, cwd=folder)

    assert [elsewhere.returncode, another.returncode, rehearsal.returncode] == [2, 2, 2]
    assert "belongs to" in elsewhere.stderr
    assert "another manifest" in another.stderr
    assert len(api.tasks) == 2


def test_lost_answers_are_looked_up_and_never_sent_again(folder: Path, api: OtherApi) -> None:
    """One answer in three is dropped after the provider took the job: the money is spent, so the video is fetched."""
    api.lose_answers = 0.34
    manifest = write_csv(folder / "spring.csv", 12)
    env = environment(folder, api.url)

    ended = run("run", manifest, "--resolve-for", "15s", env=env, cwd=folder)

    assert len(api.tasks) == 12
    assert ended.returncode == 0, ended.stderr
    assert_right_videos(folder / "out" / "spring", api)


def test_ledger_is_readable_with_any_tool(folder: Path, api: OtherApi) -> None:
    """jobs.db is the user's: states and ids can be asked with plain SQLite, and only its owner may read it."""
    manifest = write_csv(folder / "spring.csv", 3)
    run("run", manifest, env=environment(folder, api.url), cwd=folder)
    path = folder / "out" / "spring" / "_batch" / "jobs.db"

    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT generation_id FROM generations WHERE live = 1").fetchall()
    database.close()

    assert {row[0] for row in rows} == set(api.tasks)
    assert path.stat().st_mode & 0o077 == 0
