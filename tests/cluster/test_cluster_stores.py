"""Runs whose workers put the videos into object storage: no byte of them comes to this machine."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import obstore
import pytest
from command import KEY, QUICK, called, environment, start, wait_until
from dask_cluster import DaskCluster
from object_store import BROKEN, SECRET, ObjectServer, Request
from other_api import OtherApi

pytestmark = pytest.mark.slow

STORE = "s3://deliveries/spring"


class Delivery:
    """A manifest of links, a cluster, and a bucket."""

    def __init__(self, folder: Path, server: ObjectServer, api: OtherApi, cluster: DaskCluster) -> None:
        self.folder = folder
        self.server = server
        self.api = api
        self.cluster = cluster
        self.bucket = server.bucket("deliveries")
        self.count = 0

    def numbered(self, count: int) -> None:
        self.count = count
        lines = [f"job{n},https://media.example/c.mp4,Text {n},Emily,de/job{n}.mp4\n" for n in range(count)]
        (self.folder / "spring.csv").write_text("key,video,text,speaker,output\n" + "".join(lines), encoding="utf-8")

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("run", "spring.csv", "--store", STORE, "--dask", self.cluster.address, "--check", "size")

    @property
    def environment(self) -> Mapping[str, str]:
        return environment(self.folder, self.api.url, **self.server.environment, **QUICK)

    def run(self) -> subprocess.CompletedProcess[str]:
        return called(*self.arguments, env=self.environment, cwd=self.folder)

    def start(self) -> subprocess.Popen[str]:
        return start(*self.arguments, env=self.environment, cwd=self.folder)

    def paths(self) -> set[str]:
        return {meta["path"].removeprefix("spring/") for page in obstore.list(self.bucket, "spring") for meta in page}

    def videos(self) -> set[str]:
        return {path for path in self.paths() if path.startswith("de/")}

    def assert_all_right(self) -> None:
        """Charges are pairs, each object is whole and the one of its own request, and nothing of them is elsewhere."""
        texts = Counter(request["lip_sync_tts_content"] for request in self.api.requests)
        assert texts == Counter(f"Text {n}" for n in range(self.count))
        made = {task.request["lip_sync_tts_content"]: task for task in self.api.tasks.values()}
        for n in range(self.count):
            content = bytes(obstore.get(self.bucket, f"spring/de/job{n}.mp4").bytes())
            assert content == self.api.film(made[f"Text {n}"].id)
        reports = {"report.html", "report.csv", "report.json"}
        assert self.paths() == {f"de/job{n}.mp4" for n in range(self.count)} | reports | {"_batch/batch.json"}
        assert not [path for path in (self.folder / "out").rglob("*") if path.suffix in {".mp4", ".part"}]
        assert json.loads((self.folder / "out/spring/report.json").read_text())["counts"]["done"] == self.count


@pytest.fixture
def delivery(tmp_path: Path, store_server: ObjectServer, api: OtherApi, cluster: DaskCluster) -> Delivery:
    store_server.empty()
    return Delivery(tmp_path, store_server, api, cluster)


def test_workers_killed_while_they_upload_leave_nothing_half(delivery: Delivery) -> None:
    """None is under its final key before it is whole, and what the dead had uploaded is swept away."""
    delivery.cluster.be_whole(2)
    delivery.numbered(80)

    def watched(request: Request) -> None:
        """Uploads go below `_batch/` alone, and final keys get theirs by copies of the store's."""
        if request.method in {"PUT", "POST"} and request.path.endswith(".mp4"):
            put.append(request)

    put: list[Request] = []
    delivery.server.instead = watched
    going_on = delivery.start()
    for at in (15, 40):
        wait_until(lambda at=at: len(delivery.videos()) >= at)
        delivery.cluster.kill_worker()
        delivery.cluster.add_workers(1)
    stdout, stderr = going_on.communicate(timeout=90)

    assert going_on.returncode == 0, stdout + stderr
    delivery.assert_all_right()
    assert put
    for secret in (KEY, SECRET, "/cdn/", "X-Amz-Signature"):
        assert secret not in delivery.cluster.logs()


def test_worker_that_is_not_let_into_the_store_is_told_of(delivery: Delivery) -> None:
    """And a store that takes nothing for a while fails no job."""
    delivery.cluster.be_whole(1)
    delivery.numbered(6)
    registered = delivery.cluster.registered()
    delivery.cluster.add_workers(1, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    wait_until(lambda: delivery.cluster.registered() > registered)
    refused: list[Request] = []

    def broken(request: Request):
        if request.method == "PUT" and "arriving" in request.path and len(delivery.api.tasks) and len(refused) < 8:
            refused.append(request)
            return BROKEN
        return None

    delivery.server.instead = broken
    going_on = delivery.start()
    _, stderr = going_on.communicate(timeout=60)

    assert going_on.returncode == 0, stderr
    assert "no credentials were found" in stderr
    assert "it is not used" in stderr
    assert "could not be put into its store, again in" in stderr
    delivery.assert_all_right()


def test_next_run_takes_up_what_a_worker_had_uploaded(delivery: Delivery) -> None:
    """Its checksum is committed, and the run was killed before it gave it its name: the link may be dead by now."""
    delivery.cluster.be_whole(1)
    delivery.numbered(1)

    def kill(request: Request) -> None:
        if request.method == "PUT" and request.path.endswith("job0.mp4"):
            going_on.kill()
            delivery.server.instead = lambda _: None

    delivery.server.instead = kill
    going_on = delivery.start()
    going_on.communicate(timeout=60)
    obstore.delete(delivery.bucket, "spring/de/job0.mp4")
    fetched = len(delivery.api.cdn_paths)

    ended = delivery.run()

    assert ended.returncode == 0, ended.stderr
    assert len(delivery.api.cdn_paths) == fetched
    delivery.assert_all_right()
