"""The program's own cost: against a server that answers at once, nothing else is left to wait for."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import manifests
from benchmarks.figures import FailedError, Figure, Note, Size
from benchmarks.workshop import KEY, Workshop, server, workshop

AT_ONCE = 64
BOUNDLESS = "100000/s"


def measure(size: Size) -> Iterator[Figure | Note]:
    """Length checks only, beside the script and the bare loop; then with the media check on."""
    jobs = size.pick(10_000, 300)
    with workshop() as shop, server("instant_server") as api:
        script_jobs = size.pick(2_000, 100)
        manifest = manifests.texts(shop.folder / "script.csv", script_jobs)
        script = shop.module(
            "afternoon_script",
            *(manifest, shop.folder / "script", "--base-url", api, "--key", KEY),
            *("--workers", AT_ONCE, "--poll", 0),
        )
        bare = shop.module("bare_loop", "--base-url", api, "--jobs", jobs, "--at-once", AT_ONCE)
        ours = jobs_a_second(shop, api, jobs, check="size")
        theirs, floor = script_jobs / script.seconds, jobs / bare.seconds
        yield Figure(
            what=f"{jobs:,} jobs, instant server, {AT_ONCE} at a time, length checks: jobs/s ÷ the script's",
            value=ours / theirs,
            at_least=2.5,
            beside={"script": 1.0},
        )
        yield Figure(
            what="the same: time ÷ that of a bare loop of the same requests",
            value=floor / ours,
            at_most=1.6,
            beside={"bare loop": 1.0},
        )
        yield Figure(what="the same: jobs/s", value=ours, unit="/s", beside={"script": theirs, "bare loop": floor})
        checked = jobs_a_second(shop, api, size.pick(3_000, 200), check="media")
        yield Figure(what="with the media check on: jobs/s", value=checked, unit="/s", at_least=150.0)


def jobs_a_second(shop: Workshop, api: str, jobs: int, *, check: str) -> float:
    """A new batch from the start of the command to its end."""
    manifest = manifests.texts(shop.folder / f"{check}.csv", jobs, name=check)
    ended = shop.run(
        *("run", manifest, "--check", check, "--rate", BOUNDLESS),
        *("--max-in-flight", AT_ONCE, "--downloads", AT_ONCE, "--typical-seconds", 0.05),
        api=api,
        poll_floor=0.01,
    ).must(0)
    if len(list((shop.folder / "out" / check).rglob(f"{check}/*/*.mp4"))) != jobs:
        raise FailedError("videos are missing")
    return jobs / ended.seconds
