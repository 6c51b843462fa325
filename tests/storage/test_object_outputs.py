"""Finished videos in object storage: whole under their final key or not there, each right, and none paid for twice."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest
from command import called, wait_until
from deliveries import STORE, Deliveries
from object_store import BROKEN, DENIED, object_server
from other_api import request_digest

pytestmark = pytest.mark.slow


def test_videos_and_reports_go_to_the_store(deliveries: Deliveries) -> None:
    """And nothing of them stays on the disk but the reports."""
    deliveries.numbered(12)

    ended = deliveries.run()

    assert ended.returncode == 0, ended.stderr
    deliveries.assert_all_right()
    assert deliveries.left_here() == []
    assert {"report.html", "report.csv", "report.json"} <= deliveries.paths()
    assert json.loads(deliveries.content("report.json"))["counts"]["done"] == 12
    assert f"Videos:  {STORE}" in ended.stdout + ended.stderr
    shown = deliveries.call("status", "spring.csv", "job3")
    assert f"{STORE}/de/job3.mp4" in shown.stdout


def test_next_run_finds_everything_there(deliveries: Deliveries) -> None:
    """What is gone or was replaced in the store is fetched again, for nothing."""
    deliveries.numbered(6)
    deliveries.run()
    obstore.delete(deliveries.bucket, "spring/de/job1.mp4")
    obstore.put(deliveries.bucket, "spring/de/job2.mp4", b"somebody else's")

    ended = deliveries.call("run", "out/spring")

    assert ended.returncode == 0, ended.stderr
    assert deliveries.content("de/job1.mp4")
    assert len(deliveries.api.tasks) == 6
    made = {task.request["lip_sync_tts_content"]: task.request for task in deliveries.api.tasks.values()}
    for number in (1, 2):
        assert deliveries.content(f"de/job{number}.mp4").endswith(request_digest(made[f"Text job{number}"]))


def test_listing_says_what_would_take_a_question_each(deliveries: Deliveries) -> None:
    """A resume of 200,000 videos asks for 200 pages, and not for each of them."""
    deliveries.numbered(6)
    deliveries.run()
    obstore.delete(deliveries.bucket, "spring/de/job1.mp4")
    deliveries.server.requests.clear()

    assert deliveries.run().returncode == 0
    assert {path for path in deliveries.server.asked("HEAD") if "/de/" in path} == {"/deliveries/spring/de/job1.mp4"}
    assert len(deliveries.api.tasks) == 6


def test_store_that_cannot_be_listed_for_a_while_does_not_end_the_run(deliveries: Deliveries) -> None:
    """What was made before is looked at later; what is new is made."""
    deliveries.numbered(2)
    deliveries.run()
    obstore.delete(deliveries.bucket, "spring/de/job1.mp4")
    deliveries.numbered(4)
    refused: list[str] = []

    def refuse_some(request):
        if request.method == "GET" and request.query.get("prefix") == ["spring/"] and len(refused) < 1:
            refused.append(request.path)
            return DENIED
        return None

    deliveries.server.instead = refuse_some

    assert deliveries.run().returncode == 0
    assert refused
    deliveries.assert_all_right()


def test_verify_reads_the_objects_themselves(deliveries: Deliveries) -> None:
    """What lies about its checksum is found out by that alone."""
    deliveries.numbered(3)
    deliveries.run()
    right = deliveries.content("de/job0.mp4")
    said = obstore.get(deliveries.bucket, "spring/de/job0.mp4", options={"head": True}).attributes
    obstore.put(deliveries.bucket, "spring/de/job0.mp4", bytes(len(right)), attributes=dict(said))

    assert deliveries.run("--verify").returncode == 0
    assert deliveries.content("de/job0.mp4") == right
    assert len(deliveries.api.tasks) == 3


def test_renamed_and_swapped_rows_are_moved_in_the_store(deliveries: Deliveries) -> None:
    """No byte comes here for that, and nothing is paid for."""
    deliveries.write(a="x/a.mp4", b="x/b.mp4", c="x/c.mp4")
    deliveries.run()
    fetched = len(deliveries.api.cdn_paths)

    deliveries.write(a="x/b.mp4", b="x/a.mp4", c="y/new.mp4")
    ended = deliveries.run()

    assert ended.returncode == 0, ended.stderr
    deliveries.assert_all_right()
    assert len(deliveries.api.cdn_paths) == fetched


def test_what_stands_in_the_way_is_kept(deliveries: Deliveries) -> None:
    obstore.put(deliveries.bucket, "spring/de/job0.mp4", b"not ours")
    deliveries.numbered(1)

    assert deliveries.run().returncode == 0

    aside = [key for key in deliveries.videos() if key.startswith("_batch/superseded/")]
    assert [deliveries.content(key) for key in aside] == [b"not ours"]
    assert len(deliveries.content("de/job0.mp4")) > 100


def test_jobs_that_want_the_same_pair_get_copies_by_the_store(deliveries: Deliveries) -> None:
    deliveries.write(a="a.mp4")
    line = "b,https://media.example/c.mp4,Text a,Emily,b.mp4\n"
    with (deliveries.folder / "spring.csv").open("a") as file:
        file.write(line)

    assert deliveries.run().returncode == 0
    assert len(deliveries.api.tasks) == 1
    assert deliveries.content("a.mp4") == deliveries.content("b.mp4")


def test_store_that_takes_nothing_for_a_while_loses_nothing(deliveries: Deliveries) -> None:
    """Generations go on; a few videos wait on the disk, and are carried over when it takes them again."""
    deliveries.numbered(12)
    refused: list[str] = []
    refusing = [True]

    def refuse(request):
        if not refusing or request.method not in ("PUT", "POST") or "/arriving/" not in request.path:
            return None
        refused.append(request.path)
        return DENIED if len(refused) % 2 else BROKEN

    deliveries.server.instead = refuse

    going_on = deliveries.start("-v", "--downloads", "2")
    wait_until(lambda: len(set(refused)) >= 3 and len(deliveries.api.tasks) == 12)
    assert deliveries.videos() == set()
    assert 0 < len(deliveries.left_here()) <= 4  # those that wait, and those that were on their way
    refusing.clear()
    stdout, stderr = going_on.communicate(timeout=100)

    assert going_on.returncode == 0, stderr
    assert "could not be put into its store" in stdout + stderr
    deliveries.assert_all_right()
    assert deliveries.left_here() == []


def test_kill_at_any_moment_costs_nothing(deliveries: Deliveries) -> None:
    """The next run goes on: nothing is paid for twice, and nothing is under its key that is not whole."""
    deliveries.api.seconds = 0.1
    deliveries.numbered(20)
    deliveries.server.seconds = 0.05

    for seconds in (0.0, 0.3, 0.9):
        going_on = deliveries.start()
        # A kill between intent and request leaves doubts, as everywhere; here it is about what comes after.
        wait_until(lambda: len(deliveries.api.tasks) == 20)
        time.sleep(seconds)
        going_on.kill()
        going_on.communicate()
        for path in deliveries.videos():
            assert deliveries.content(path)[-64:].isalnum()
    deliveries.server.seconds = 0.0
    ended = deliveries.run("--resolve-for", "30s")

    assert ended.returncode == 0, ended.stderr
    deliveries.assert_all_right()


def test_what_nobody_waits_for_is_swept_away(deliveries: Deliveries) -> None:
    """Uploads that a killed run, or a worker that was halted for hours, left there: somebody pays for them."""
    deliveries.numbered(1)
    begin = deliveries.server.client.create_multipart_upload
    begin(Bucket="deliveries", Key="spring/_batch/arriving/0a0a0a0a-1.old")
    others = [begin(Bucket="deliveries", Key=key)["UploadId"] for key in ("autumn/de/a.mp4", "spring/theirs.mp4")]
    obstore.put(deliveries.bucket, "spring/_batch/arriving/0a0a0a0a-1.stray", b"nobody's")

    def arrive_late(request, handler) -> bool:
        obstore.put(deliveries.bucket, "spring/_batch/arriving/0b0b0b0b-1.late", b"nobody's")
        return False

    deliveries.api.on_submit = arrive_late
    assert deliveries.run().returncode == 0

    left = deliveries.server.client.list_multipart_uploads(Bucket="deliveries")["Uploads"]
    assert sorted(upload["UploadId"] for upload in left) == sorted(others)
    assert [key for key in deliveries.paths() if "/arriving/" in key] == []


def lose_ledger(out: Path) -> None:
    (out / "_batch" / "jobs.db").unlink()


@pytest.mark.parametrize(
    ("lose", "knows_store"),
    [(lose_ledger, True), (shutil.rmtree, True), (shutil.rmtree, False)],
    ids=["jobs.db", "everything", "the machine"],
)
def test_lost_ledger_is_rebuilt_with_the_videos_in_the_store(
    deliveries: Deliveries, lose: Callable[[Path], None], knows_store: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is paid for twice; what stands there is known again, by the reports that stand there, too."""
    monkeypatch.setattr("lipsync_batch.rebuilding.records.PAUSES", (0.0,))  # the other server has no charges
    deliveries.numbered(6)
    deliveries.write(**{key: output for key, output in deliveries.rows.items() if key < "job3"})
    assert deliveries.run().returncode == 0
    deliveries.numbered(6)
    going_on = deliveries.start("--rate", "20/s")
    wait_until(lambda: len(deliveries.api.tasks) == 6)
    going_on.kill()
    going_on.communicate()
    fetched = len(deliveries.api.cdn_paths)

    lose(deliveries.folder / "out" / "spring")
    forgotten = deliveries.folder / ".local" / "state" / "lipsync-batch" / "batches"
    if knows_store:
        rebuilt = deliveries.call("rebuild", "spring.csv", "--yes")
    else:  # another machine: the user says it
        shutil.rmtree(forgotten)
        rebuilt = deliveries.call("rebuild", "spring.csv", "--store", STORE, "--yes")
    ended = deliveries.run("--resolve-for", "5s")

    assert rebuilt.returncode == 0, rebuilt.stderr
    assert f"Videos: {STORE}" in rebuilt.stdout
    log = (deliveries.folder / "out" / "spring" / "_batch" / "run.log").read_text()
    (told,) = [line for line in log.splitlines() if '"rebuilt"' in line]
    assert json.loads(told)["store"] == STORE
    assert "3 videos in place" in rebuilt.stdout
    assert ended.returncode == 0, ended.stderr
    deliveries.assert_all_right()
    assert len(deliveries.api.cdn_paths) <= fetched + 3


def test_batch_stays_where_it_was_begun(deliveries: Deliveries) -> None:
    deliveries.numbered(1)
    deliveries.run()

    ended = deliveries.call("run", "spring.csv", "--store", "s3://deliveries/b")

    assert ended.returncode == 2
    assert f"go to {STORE}, not to s3://deliveries/b" in ended.stderr


def test_two_batches_do_not_share_a_folder(deliveries: Deliveries) -> None:
    """Each would take the other's videos for its own."""
    deliveries.numbered(1)
    deliveries.run()

    ended = deliveries.run("--out", "elsewhere")

    assert ended.returncode == 2
    assert "holds the videos of another batch" in ended.stderr
    assert not (deliveries.folder / "elsewhere").exists()
    assert len(deliveries.api.tasks) == 1


def test_profile_leads_to_another_server_than_the_inputs(deliveries: Deliveries, tmp_path: Path) -> None:
    """Inputs in one cloud, deliveries in another."""
    with object_server() as other:
        bucket = other.bucket("deliveries")
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "config").write_text(
            f"[profile far]\naws_access_key_id = A\naws_secret_access_key = S\nregion = eu-west-1\n"
            f"endpoint_url = {other.url}\n"
        )
        env = {**deliveries.environment, "LIPSYNC_BATCH_STORE_PROFILE": "far"}
        deliveries.numbered(2)
        ended = called("run", "spring.csv", "--store", STORE, env=env, cwd=tmp_path)

        assert ended.returncode == 0, ended.stderr
        assert other.asked("PUT")
        assert not deliveries.server.asked("PUT")
    del bucket


def test_rehearsal_has_a_folder_of_its_own(deliveries: Deliveries) -> None:
    deliveries.numbered(1)
    (deliveries.folder / "spring.csv").write_text(
        "key,video,text,speaker\na,https://media.example/c.mp4,Hallo,Emily\n", encoding="utf-8"
    )
    deliveries.run("--sandbox")

    assert deliveries.paths() == set()
    assert [meta["path"] for page in obstore.list(deliveries.bucket, "spring.sandbox") for meta in page]


def test_bucket_that_is_not_there_is_a_slip_of_the_pen(deliveries: Deliveries) -> None:
    """It does not come by itself: cron must not try it again each night."""
    deliveries.numbered(2)

    ended = deliveries.call("run", "spring.csv", "--store", "s3://deliverys/spring")

    assert ended.returncode == 2
    assert "there is no s3://deliverys" in ended.stderr
    assert not deliveries.api.tasks


def test_reports_that_the_store_does_not_take_fail_no_run(deliveries: Deliveries) -> None:
    """All videos are there: the run has done what it is for, and says where the reports are."""
    deliveries.numbered(2)
    deliveries.server.instead = lambda asked: BROKEN if asked.method == "PUT" and "/report." in asked.path else None

    ended = deliveries.run()

    deliveries.server.instead = lambda _: None
    deliveries.assert_all_right()
    assert ended.returncode == 0, ended.stderr
    assert "the reports are in" in (deliveries.folder / "out" / "spring" / "_batch" / "run.log").read_text()
    assert deliveries.run().returncode == 0
    assert {"report.html", "report.csv", "report.json"} <= deliveries.paths()


def test_strangers_object_with_an_odd_name_ends_no_run(deliveries: Deliveries) -> None:
    """No listing can be made beside it: each video is asked for by its name."""
    deliveries.numbered(3)
    deliveries.run()
    deliveries.server.client.put_object(Bucket="deliveries", Key="spring//odd.txt", Body=b"a stranger's")
    obstore.delete(deliveries.bucket, "spring/de/job1.mp4")

    ended = deliveries.run()

    assert ended.returncode == 0, ended.stderr
    assert deliveries.content("de/job1.mp4")
    assert len(deliveries.api.tasks) == 3
