"""Whole runs whose inputs are in object storage: each paid for once, and no link in any file."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import obstore
import pytest
from command import QUICK, called, environment, run, start, wait_until
from media_factory import make_audio, make_video
from object_store import BROKEN, BUCKET, DENIED, SECRET, ObjectServer
from other_api import OtherApi

pytestmark = pytest.mark.slow

SIGNATURE = b"X-Amz-Signature="
CLIPS = 4


class Studio:
    """A bucket with clips and a dub, and manifests that name them."""

    def __init__(self, folder: Path, server: ObjectServer) -> None:
        self.folder = folder
        self.server = server
        self.bucket = server.bucket()
        clip, dub = make_video(folder / "clip.mp4", seconds=0.5), make_audio(folder / "dub.wav", 0.5)
        self.clip = clip.read_bytes()
        for number in range(CLIPS):
            self.put(f"clips/clip {number}.mp4", self.clip + box(number))
        self.put("dubs/dub.wav", dub.read_bytes())
        server.requests.clear()

    def put(self, key: str, content: bytes) -> None:
        obstore.put(self.bucket, key, content)

    def manifest(self) -> Path:
        path = self.folder / "spring.yaml"
        path.write_text(
            f"""jobs:
  - {{video: "s3://{BUCKET}/clips/*.mp4", text: "Hallo.", speaker: Emily}}
  - {{key: dubbed, video: "s3://{BUCKET}/clips/clip 0.mp4", audio: "s3://{BUCKET}/dubs/dub.wav"}}
""",
            encoding="utf-8",
        )
        return path

    def environment(self, api: str | None = None, **more: str) -> Mapping[str, str]:
        return environment(self.folder, api, **self.server.environment, **QUICK, **more)

    def report(self, name: str = "spring") -> dict:
        return json.loads((self.folder / "out" / name / "report.json").read_text())

    def videos_in_jobs_db(self) -> set[str]:
        with closing(sqlite3.connect(self.folder / "out" / "spring" / "_batch" / "jobs.db")) as database:
            return {row[0] for row in database.execute("SELECT json_extract(video, '$.object') FROM pairs")}

    @property
    def log(self) -> Path:
        return self.folder / "out" / "spring" / "_batch" / "run.log"

    def written(self) -> list[Path]:
        return [path for path in (self.folder / "out").rglob("*") if path.is_file()]


def box(number: int) -> bytes:
    """An MP4 box that players skip: other bytes for each clip."""
    return (12).to_bytes(4, "big") + b"free" + number.to_bytes(4, "big")


@pytest.fixture
def studio(tmp_path: Path, server: ObjectServer) -> Studio:
    return Studio(tmp_path, server)


def test_sandbox_fetches_the_links_that_it_is_given(studio: Studio) -> None:
    """So they work: the sandbox knows no credentials, and makes its videos of what it fetched."""
    ended = run("run", str(studio.manifest()), "--sandbox", env=studio.environment(), cwd=studio.folder)

    assert ended.returncode == 0, ended.stderr
    assert studio.report("spring.sandbox")["counts"]["done"] == CLIPS + 1
    fetched = {request.path for request in studio.server.requests if request.is_presigned}
    assert f"/{BUCKET}/dubs/dub.wav" in fetched
    assert {f"/{BUCKET}/clips/clip {number}.mp4" for number in range(CLIPS)} <= fetched


def test_no_link_is_written_down(studio: Studio, api: OtherApi) -> None:
    """Not where all goes well, and not where the API quotes the link in what it refuses."""

    def quote(request, handler) -> bool:
        if "audio_url" not in request:
            return False
        said = f"cannot fetch {request['audio_url']} ({json.dumps(request)})"
        handler.answer(422, {"statusCode": 422, "message": said, "received": request})
        return True

    api.on_submit = quote

    ended = called("run", str(studio.manifest()), "-v", env=studio.environment(api.url), cwd=studio.folder)

    assert ended.returncode == 1, ended.stderr
    assert len(api.tasks) == CLIPS
    assert all(SIGNATURE.decode() in request["video_url"] for request in api.requests)
    told = ended.stdout.encode() + ended.stderr.encode()
    for content in (told, *(path.read_bytes() for path in studio.written())):
        assert SIGNATURE not in content
        assert SECRET.encode() not in content
        assert b"AKIAMARKED" not in content
    assert studio.videos_in_jobs_db() == {f"s3://{BUCKET}/clips/clip {number}.mp4" for number in range(CLIPS)}
    assert b"cannot fetch http://127.0.0.1" in (studio.folder / "out" / "spring" / "report.json").read_bytes()


def test_second_run_pays_for_nothing_and_a_changed_object_for_itself(studio: Studio, api: OtherApi) -> None:
    """Nor do objects that are gone cost anything: the provider has their pairs already."""
    manifest, env = studio.manifest(), studio.environment(api.url)
    assert called("run", str(manifest), env=env, cwd=studio.folder).returncode == 0
    again = called("run", str(manifest), env=env, cwd=studio.folder)
    assert len(api.tasks) == CLIPS + 1
    assert again.returncode == 0

    studio.put("clips/clip 1.mp4", studio.clip + box(99))
    obstore.delete(studio.bucket, "dubs/dub.wav")
    planned = called("plan", str(manifest), "--json", env=env, cwd=studio.folder)
    changed = called("run", str(manifest), env=env, cwd=studio.folder)

    assert json.loads(planned.stdout)["changed"][0]["inputs"] == ["video"]
    assert changed.returncode == 0, changed.stderr
    assert len(api.tasks) == CLIPS + 2


def test_object_that_is_changed_under_a_run_is_not_sent(studio: Studio, api: OtherApi) -> None:
    """Its result would stand for what was planned."""
    changed: list[str] = []

    def change(request, handler) -> bool:
        if not changed:
            changed.append("yes")
            for number in range(CLIPS):
                studio.put(f"clips/clip {number}.mp4", studio.clip + box(90 + number))
        return False

    api.on_submit = change
    ended = called(
        "run", str(studio.manifest()), "--max-in-flight", "1", env=studio.environment(api.url), cwd=studio.folder
    )

    assert ended.returncode == 1
    assert len(api.tasks) == 1
    failed = [job for job in studio.report()["jobs"] if job["state"] == "failed"]
    assert {job["error"]["code"] for job in failed} == {"input_changed"}
    assert "changed after the batch was planned" in failed[0]["error"]["message"]


def test_store_that_falls_silent_is_waited_for(studio: Studio, api: OtherApi) -> None:
    """Nothing fails, and nothing is sent; once it answers again the run goes on."""
    silent = [True]

    def instead(request):
        # The plan is let through: what counts is the moment of the submit.
        asked = [path for path in studio.server.asked("HEAD") if path.endswith("dub.wav")]
        return BROKEN if silent and request.method == "HEAD" and len(asked) > 1 else None

    studio.server.instead = instead
    going_on = start("run", str(studio.manifest()), "-v", env=studio.environment(api.url), cwd=studio.folder)
    wait_until(lambda: studio.log.exists() and b"object storage does not answer" in studio.log.read_bytes())
    assert len(api.tasks) == CLIPS
    silent.clear()
    stdout, stderr = going_on.communicate(timeout=90)

    assert going_on.returncode == 0, stderr
    assert len(api.tasks) == CLIPS + 1
    assert "object storage does not answer; waiting until it does" in stdout + stderr


def test_credentials_that_end_midway_stop_the_submitting(studio: Studio, api: OtherApi) -> None:
    """After three the others stay pending; `retry` takes up those for nothing."""
    rows = [f'job-{number},"s3://{BUCKET}/clips/clip 0.mp4",Satz {number}.,Emily\n' for number in range(24)]
    manifest = studio.folder / "spring.csv"
    manifest.write_text("key,video,text,speaker\n" + "".join(rows), encoding="utf-8")
    studio.server.instead = lambda request: DENIED if len(studio.server.asked("HEAD")) > 10 else None

    called(
        "run",
        str(manifest),
        "--patience",
        "1s",
        "--max-in-flight",
        "2",
        env=studio.environment(api.url),
        cwd=studio.folder,
    )

    counts = studio.report()["counts"]
    assert counts["failed"] <= 6
    assert counts["pending"] >= 10
    studio.server.instead = lambda _: None
    assert called("retry", str(manifest), env=studio.environment(api.url), cwd=studio.folder).returncode == 0
    assert called("run", str(manifest), env=studio.environment(api.url), cwd=studio.folder).returncode == 0
    assert len(api.tasks) == 24


def test_kill_while_a_store_is_slow_leaves_nothing_in_doubt(studio: Studio, api: OtherApi) -> None:
    """What surely was not sent is sent by the next run, and nobody has to find out first."""
    rows = [
        f'job-{number},"s3://{BUCKET}/clips/clip {number % CLIPS}.mp4",Satz {number}.,Emily\n' for number in range(12)
    ]
    manifest = studio.folder / "spring.csv"
    manifest.write_text("key,video,text,speaker\n" + "".join(rows), encoding="utf-8")
    env = studio.environment(api.url)

    def slow(request) -> None:
        time.sleep(0.0 if len(studio.server.asked("HEAD")) <= CLIPS + 3 else 3.0)

    studio.server.instead = slow
    going_on = start("run", str(manifest), env=env, cwd=studio.folder)
    wait_until(lambda: len(studio.server.asked("HEAD")) > CLIPS + 3)
    going_on.kill()
    going_on.communicate()
    studio.server.instead = lambda _: None
    ended = called("run", str(manifest), env=env, cwd=studio.folder)

    assert ended.returncode == 0, ended.stderr
    assert studio.report()["counts"]["done"] == 12
    assert len(api.tasks) == 12
