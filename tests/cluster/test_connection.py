"""What a run hears of a cluster that is not as it should be."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import wait_until
from dask_cluster import DaskCluster

from lipsync_batch.cluster import connection, errands
from lipsync_batch.cluster.connection import Cluster, ErrandError, HaltedError
from lipsync_batch.errors import MissingExtraError, UnreachableError


def test_without_dask_nothing_of_it_is_imported() -> None:
    """A run on one machine starts as fast as ever."""
    code = (
        "import sys, lipsync_batch.cli.run, lipsync_batch.session; "
        "sys.exit(bool({'dask', 'distributed', 'msgpack'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda _: None)

    with pytest.raises(MissingExtraError) as caught:
        Cluster.connected("tcp://127.0.0.1:9", at_once=4)
    assert caught.value.hint == "pip install 'lipsync-batch[dask]'"


@pytest.mark.slow
def test_scheduler_that_is_not_there_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its address, and what to do: before anything is sent."""
    monkeypatch.setattr(connection, "CONNECTS_WITHIN", 0.3)

    with pytest.raises(UnreachableError, match=r"tcp://127\.0\.0\.1:9 cannot be reached") as caught:
        Cluster.connected("tcp://127.0.0.1:9", at_once=4)
    assert "dask scheduler" in caught.value.hint
    assert caught.value.exit_code == 3


@pytest.fixture
def connected(cluster: DaskCluster) -> Iterator[Cluster]:
    cluster.be_whole(1)
    connected = Cluster.connected(cluster.address, at_once=4)
    yield connected
    connected.close()


@pytest.mark.slow
def test_errand_over_which_workers_die_is_given_up(cluster: DaskCluster, connected: Cluster) -> None:
    """It is that one's fault, as far as can be told: others are done."""
    wait_until(lambda: not connected.trouble)
    cluster.add_workers(2)

    async def deadly() -> None:
        await connected.do(os._exit, lambda _: 1, within=60.0)

    with pytest.raises(ErrandError, match="workers ended over this one"):
        asyncio.run(deadly())

    async def harmless() -> int:
        return await connected.do(abs, lambda _: -3, within=60.0)

    assert asyncio.run(harmless()) == 3


@pytest.mark.slow
def test_errands_end_when_the_run_does(connected: Cluster) -> None:
    """Whatever the workers are at."""
    wait_until(lambda: not connected.trouble)

    async def halted() -> float:
        doing = asyncio.ensure_future(connected.do(time.sleep, lambda _: 5.0, within=60.0))
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        connected.halt()
        with pytest.raises(HaltedError):
            await doing
        return time.monotonic() - begun

    assert asyncio.run(halted()) < 1.0


@pytest.mark.slow
def test_errand_that_does_not_come_back_is_given_to_another(connected: Cluster, tmp_path: Path) -> None:
    """A thread that hangs, on a drive or in a decoder, is seen by nobody in Dask: its worker goes on to answer."""
    wait_until(lambda: not connected.trouble)
    mark = tmp_path / "was here"
    hangs_once = (
        f"7 if __import__('pathlib').Path({str(mark)!r}).exists() else "
        f"(__import__('pathlib').Path({str(mark)!r}).touch(), __import__('time').sleep(20.0))"
    )

    async def asked() -> int:
        return await connected.do(eval, lambda _: hangs_once, within=1.0)

    begun = time.monotonic()
    assert asyncio.run(asked()) == 7
    assert time.monotonic() - begun < 15.0


@pytest.mark.slow
def test_worker_whose_videos_a_store_does_not_take_is_checked(connected: Cluster) -> None:
    """Its own credentials may have come to their end, in the middle of a night."""
    wait_until(lambda: not connected.trouble)
    ((address, member),) = connected._crew._members.items()
    before = member.checked_at
    answer = f"__import__('lipsync_batch.cluster.errands', fromlist=['errands']).NotKept({address!r}, 'denied')"

    async def asked() -> object:
        return await connected.do(eval, lambda _: answer, within=60.0)

    assert asyncio.run(asked()) == errands.NotKept(address, "denied")
    wait_until(lambda: member.checked_at not in (None, before))
