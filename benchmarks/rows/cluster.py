"""Downloads by the workers of a cluster: how they add up, and what handing them out costs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from benchmarks import manifests
from benchmarks.cluster import cluster
from benchmarks.figures import FailedError, Figure, Note, Size
from benchmarks.films import film
from benchmarks.rows.media import EAGER, MB, first_asked
from benchmarks.workshop import Workshop, server, workshop

THROTTLE = 10
"""MB/s that the server gives a connection."""
EACH = 2
"""Videos that one worker, or this machine, fetches at once: so many connections."""
SMALL = 4


def scaling(size: Size) -> Iterator[Figure | Note]:
    """Big videos from a server that is slow on each connection: bytes a second by the number of workers."""
    files, bytes_ = size.pick(36, 6), size.pick(10, 1) * MB
    with workshop() as shop:
        path = film(shop.folder / "film.mp4", bytes_)
        with server("file_server", path, "--throttle", THROTTLE * MB) as links:
            alone = files * bytes_ / MB / _fetched(shop, links, files, "alone")
            speeds = []
            for workers in (1, 2, 3):
                with cluster(shop, workers, threads=EACH) as address:
                    seconds = _fetched(shop, links, files, f"by-{workers}", "--dask", address)
                    speeds.append(files * bytes_ / MB / seconds)
    what = f"{files} videos of {bytes_ // MB} MB, {THROTTLE} MB/s a connection, {EACH} at a time each"
    yield Figure(what=f"{what}: 1 worker, MB/s", value=speeds[0], beside={"without a cluster": alone})
    yield Figure(what="the same: 2 workers ÷ 1 worker", value=speeds[1] / speeds[0], at_least=1.8)
    yield Figure(what="the same: 3 workers ÷ 1 worker", value=speeds[2] / speeds[0], at_least=2.5)


def _fetched(shop: Workshop, links: str, files: int, name: str, *options: object) -> float:
    """Seconds from the first request for a video until all are in place. Every generation is finished already."""
    manifest = manifests.texts(shop.folder / f"{name}.csv", files, name=name)
    out = shop.folder / "out" / name / name
    first_asked(links)
    arguments = ("run", manifest, *EAGER, "--max-in-flight", files, "--downloads", EACH, "--check", "size", *options)
    with (
        server("instant_server", "--links", links) as api,
        shop.start(*arguments, api=api, poll_floor=0.01) as command,
    ):
        while command.running and len(list(out.rglob("*.mp4"))) < files:
            time.sleep(0.01)
        over = time.monotonic()
        command.wait(60.0).must(0)
    if len(list(out.rglob("*.mp4"))) != files:
        raise FailedError("videos are missing")
    shutil.rmtree(out)
    return over - first_asked(links)


def overhead(size: Size) -> Iterator[Figure | Note]:
    """Small videos from a server that answers at once: what an errand costs more than a thread of this machine."""
    jobs = size.pick(1_000, 40)
    with workshop() as shop, cluster(shop, 1, threads=SMALL) as address:
        alone = _whole(shop, jobs, "alone")
        handed_out = _whole(shop, jobs, "by-one", "--dask", address)
    yield Figure(
        what=f"{jobs:,} videos of some 10 KB, {SMALL} at a time, 1 worker: ms a job more than without a cluster",
        value=1000 * (handed_out - alone) / jobs,
        unit="ms",
        at_most=25.0,
    )
    yield Figure(
        what="the same: jobs/s", value=jobs / handed_out, unit="/s", beside={"without a cluster": jobs / alone}
    )


def _whole(shop: Workshop, jobs: int, name: str, *options: object) -> float:
    """Seconds of the whole command."""
    manifest = manifests.texts(shop.folder / f"{name}.csv", jobs, name=name)
    arguments = ("run", manifest, *EAGER, "--max-in-flight", 64, "--downloads", SMALL, "--check", "size", *options)
    with server("instant_server") as api:
        return shop.run(*arguments, api=api, poll_floor=0.01).must(0).seconds
