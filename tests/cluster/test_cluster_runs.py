"""Whole runs whose videos are fetched by a real Dask cluster: killed, halted and started again under them."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from command import KEY, QUICK, called, environment, start, wait_until
from dask_cluster import DaskCluster
from other_api import OtherApi, request_digest

from lipsync_batch.version import VERSION

pytestmark = pytest.mark.slow


class Batch:
    """A manifest of links, run with a cluster."""

    def __init__(self, folder: Path, api: OtherApi, cluster: DaskCluster) -> None:
        self.folder = folder
        self.api = api
        self.cluster = cluster
        self.count = 0

    def numbered(self, count: int) -> None:
        self.count = count
        lines = [f"job{n},https://media.example/c.mp4,Text {n},Emily,{n % 7}/job{n}.mp4\n" for n in range(count)]
        (self.folder / "spring.csv").write_text("key,video,text,speaker,output\n" + "".join(lines), encoding="utf-8")

    @property
    def root(self) -> Path:
        return self.folder / "out" / "spring"

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("run", "spring.csv", "--dask", self.cluster.address, "--max-in-flight", "12", "--check", "size")

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """In this process: nothing of that is about its end."""
        return called(*self.arguments, *options, env=self.environment, cwd=self.folder)

    def start(self, *options: str) -> subprocess.Popen[str]:
        return start(*self.arguments, *options, env=self.environment, cwd=self.folder)

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.folder, self.api.url, **QUICK)

    @property
    def done(self) -> list[Path]:
        return [path for path in self.root.glob("*/*.mp4") if path.parent.name != "_batch"]

    @property
    def polls(self) -> int:
        return sum(task.polls for task in self.api.tasks.values())

    def log(self) -> str:
        return (self.root / "_batch" / "run.log").read_text()

    def arriving(self) -> list[Path]:
        return list((self.root / "_batch" / "arriving").glob("*"))

    def report(self) -> dict:
        return json.loads((self.root / "report.json").read_text())

    def assert_all_right(self, *, swept: bool = True) -> None:
        """Charges are pairs, each file is whole and the one of its own request, and nothing else lies about."""
        assert Counter(request["lip_sync_tts_content"] for request in self.api.requests) == Counter(
            f"Text {n}" for n in range(self.count)
        )
        made = {task.request["lip_sync_tts_content"]: task for task in self.api.tasks.values()}
        for n in range(self.count):
            content = (self.root / f"{n % 7}/job{n}.mp4").read_bytes()
            assert content == self.api.film(made[f"Text {n}"].id)
            assert content.endswith(request_digest(made[f"Text {n}"].request))
        assert len(self.done) == self.count
        assert not list(self.root.rglob("*.part"))
        assert not (swept and self.arriving())
        assert self.report()["counts"]["done"] == self.count


@pytest.fixture
def batch(tmp_path: Path, cluster: DaskCluster, api: OtherApi) -> Batch:
    return Batch(tmp_path, api, cluster)


def slow(seconds: float):
    """A CDN that takes its time."""

    def wait(*_: object) -> bool:
        time.sleep(seconds)
        return False

    return wait


def asker(cluster: DaskCluster, handler) -> int:
    """The place of the worker that a request came from."""
    port = handler.client_address[1]
    for number, worker in enumerate(cluster.workers):
        if any(link.laddr.port == port for link in psutil.Process(worker.pid).net_connections("tcp")):
            return number
    raise AssertionError("no worker asked")


def test_workers_and_scheduler_killed_while_500_videos_come_in(batch: Batch) -> None:
    """Nothing is lost, nothing is paid twice, and nobody has to do anything but start them again."""
    batch.cluster.be_whole(3)
    batch.numbered(500)
    batch.api.on_file = slow(0.05)
    going_on = batch.start("-v")

    for at in (40, 120):
        wait_until(lambda at=at: len(batch.done) >= at)
        batch.cluster.kill_worker()
        batch.cluster.add_workers(1)
    wait_until(lambda: len(batch.done) >= 200)
    batch.cluster.kill_scheduler()
    wait_until(lambda: "does not answer" in batch.log())
    polled = batch.polls
    wait_until(lambda: batch.polls > polled + 20)
    batch.cluster.be_whole(3)
    stdout, stderr = going_on.communicate(timeout=90)

    assert going_on.returncode == 0, stdout + stderr
    assert stderr.count(f"the Dask scheduler {batch.cluster.address} does not answer") == 1
    assert stderr.count(f"the Dask cluster {batch.cluster.address} is there again: downloads go on") == 1
    assert "Traceback" not in stderr
    batch.assert_all_right()
    assert KEY not in batch.cluster.logs()
    assert "/cdn/" not in batch.cluster.logs()


def test_worker_that_was_taken_for_dead_writes_into_nothing_of_others(batch: Batch) -> None:
    """Halted beyond its time-outs, replaced, and set going again: what it brings is in nobody's way, and swept away."""
    batch.cluster.be_whole(2)
    batch.numbered(24)
    halted: list[subprocess.Popen[bytes]] = []
    one_at_a_time = threading.Lock()

    def halt_one(path: str, handler) -> bool:
        with one_at_a_time:
            if not halted and len(batch.done) >= 4:
                halted.append(batch.cluster.halt_worker(asker(batch.cluster, handler)))
        return False

    batch.api.on_file = halt_one
    ended = batch.run()
    assert ended.returncode == 0, ended.stderr
    (worker,) = halted
    batch.assert_all_right(swept=False)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in batch.done}

    worker.send_signal(signal.SIGCONT)
    wait_until(lambda: worker.poll() is not None or batch.arriving())
    time.sleep(0.5)
    again = batch.run()

    worker.kill()
    worker.wait()
    assert again.returncode == 0, again.stderr
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in batch.done} == before
    batch.assert_all_right()


def test_unfit_workers_are_told_of_and_not_used(batch: Batch, tmp_path: Path) -> None:
    """Those that join later, too: no job fails of them, and where none is fit nothing begins."""
    other_version(tmp_path / "other")
    batch.cluster.be_whole(1)
    batch.numbered(60)
    batch.api.on_file = slow(0.05)
    registered = batch.cluster.registered()
    batch.cluster.add_workers(1, PYTHONPATH=str(tmp_path / "other"))
    wait_until(lambda: batch.cluster.registered() > registered)
    going_on = batch.start()
    wait_until(lambda: len(batch.done) >= 10)
    no_program(tmp_path / "none")
    batch.cluster.add_workers(1, PYTHONPATH=str(tmp_path / "none"))
    _, stderr = going_on.communicate(timeout=60)

    assert going_on.returncode == 0, stderr
    assert f"lipsync-batch 0.0.1 is installed there, and {VERSION} here; it is not used" in stderr
    batch.assert_all_right()

    batch.cluster.kill_worker()
    refused = batch.run("--retry-failed")
    assert refused.returncode == 2
    assert "no worker of the Dask cluster" in refused.stderr
    assert "lipsync-batch 0.0.1 is installed there" in refused.stderr
    assert "pip install" in refused.stderr
    batch.cluster.be_whole(0)


def other_version(folder: Path) -> None:
    """What a worker loads first, and has another version by."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("from lipsync_batch import version\nversion.VERSION = '0.0.1'\n")


def no_program(folder: Path) -> None:
    """What a worker finds in the place of the program."""
    (folder / "lipsync_batch").mkdir(parents=True)
    (folder / "lipsync_batch" / "__init__.py").write_text("raise ImportError('there is no lipsync_batch')\n")


def test_run_without_its_scheduler_ends_by_patience(batch: Batch) -> None:
    """As in other outages: exit 3, and the next run goes on, here as well as there."""
    batch.cluster.be_whole(1)
    batch.numbered(12)
    batch.api.on_file = slow(0.3)
    going_on = batch.start("--patience", "2s", "--rate", "1000/s")
    wait_until(lambda: len(batch.done) >= 2)
    batch.cluster.kill_scheduler()
    _, stderr = going_on.communicate(timeout=60)

    assert going_on.returncode == 3, stderr
    assert batch.report()["stop_reason"] == "patience"
    assert batch.report()["counts"]["failed"] == 0
    assert batch.report()["counts"]["ready"] > 0

    batch.api.on_file = None
    assert called("run", "spring.csv", env=batch.environment, cwd=batch.folder).returncode == 0
    batch.assert_all_right()


def test_first_interrupt_ends_in_order(batch: Batch) -> None:
    """Within the time that a person waits, whatever the workers are at; the next run goes on."""
    batch.cluster.be_whole(1)
    batch.numbered(10)
    released = threading.Event()
    batch.api.on_file = lambda *_: released.wait(60) and False
    going_on = batch.start()
    wait_until(lambda: len(batch.api.cdn_paths) >= 2)

    going_on.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, stderr = going_on.communicate(timeout=60)
    took = time.monotonic() - begun
    released.set()

    assert going_on.returncode == 130, stderr
    assert took < 17
    assert "Traceback" not in stderr
    batch.api.on_file = None
    assert batch.run().returncode == 0
    batch.assert_all_right()


def test_local_workers_know_no_key_and_end_with_the_run(batch: Batch) -> None:
    """However it ends: a kill leaves none of them behind, and the next run goes on by itself."""
    batch.numbered(30)
    batch.api.on_file = slow(0.2)
    going_on = start("run", "spring.csv", "--dask", "local:2", env=batch.environment, cwd=batch.folder)
    wait_until(lambda: len(batch.done) >= 3)
    local = psutil.Process(going_on.pid).children(recursive=True)
    workers = [process for process in local if "spawn_main" in " ".join(process.cmdline())]
    assert len(workers) == 2
    assert not any(KEY in value for process in local for value in process.environ().values())
    assert all(worker.environ()["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] == "False" for worker in workers)

    going_on.kill()
    going_on.communicate()
    _, alive = psutil.wait_procs(local, timeout=20)
    batch.api.on_file = None
    ended = called("run", "spring.csv", env=batch.environment, cwd=batch.folder)

    assert alive == []
    assert ended.returncode == 0, ended.stderr
    batch.assert_all_right()
