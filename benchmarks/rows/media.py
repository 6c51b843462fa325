"""The bytes: big results coming in beside curl, and big local videos going out."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks import manifests
from benchmarks.figures import FailedError, Figure, Note, Size
from benchmarks.films import film
from benchmarks.workshop import Command, Workshop, server, workshop

AT_ONCE = 8
MB = 1_000_000
EAGER = ("--rate", "100000/s", "--typical-seconds", 0.05)


def downloads(size: Size) -> Iterator[Figure | Note]:
    """Results of 50 MB, so many at a time; hashing included on our side, and not on curl's."""
    files, bytes_ = size.pick(64, 8), size.pick(50, 5) * MB
    with workshop() as shop, server("file_server", film(shop.folder / "film.mp4", bytes_)) as links:
        curl = _curl(shop, links, files)
        seconds, peak = _fetched(shop, links, files, "few" if size.quick else "many")
        _, small = _fetched(shop, links, files // 4, "fewer")
    yield Figure(
        what=f"{files} downloads of {bytes_ // MB} MB, {AT_ONCE} at a time: speed ÷ curl --parallel's",
        value=curl / seconds,
        at_least=0.4,
        beside={"curl": 1.0},
    )
    yield Figure(
        what="the same: MB/s", value=files * bytes_ / MB / seconds, beside={"curl": files * bytes_ / MB / curl}
    )
    yield Figure(what="the same: peak memory", value=peak, unit="MiB")
    yield Figure(what="the same: peak memory ÷ that of a quarter of the files", value=peak / small, at_most=1.15)


def _curl(shop: Workshop, links: str, files: int) -> float:
    """Seconds for the same links into files."""
    if shutil.which("curl") is None:
        raise FailedError("curl is not installed")
    out = shop.folder / "curl"
    out.mkdir()
    config = shop.folder / "links.txt"
    config.write_text("".join(f'url = "{links}/cdn/{n}.mp4"\noutput = "{out}/{n}.mp4"\n' for n in range(files)))
    started = time.monotonic()
    subprocess.run(
        [
            "curl",
            "--silent",
            "--no-progress-meter",
            "--parallel",
            "--parallel-max",
            str(AT_ONCE),
            "--config",
            str(config),
        ],
        check=True,
        timeout=120,
    )
    took = time.monotonic() - started
    shutil.rmtree(out)
    return took


def _fetched(shop: Workshop, links: str, files: int, name: str) -> tuple[float, float]:
    """Seconds from the first request for a file until all are in place, and the peak memory of the whole run.

    All generations are finished already: nothing but downloads is left, eight at a time.
    """
    manifest = manifests.texts(shop.folder / f"{name}.csv", files, name=name)
    out = shop.folder / "out" / name / name
    first_asked(links)
    arguments = ("run", manifest, *EAGER, "--max-in-flight", files, "--downloads", AT_ONCE, "--check", "size")
    with (
        server("instant_server", "--links", links) as api,
        shop.start(*arguments, api=api, poll_floor=0.01) as command,
    ):
        while command.running and len(list(out.rglob("*.mp4"))) < files:
            time.sleep(0.01)
        over = time.monotonic()
        ended = command.wait(60.0).must(0)
    if len(list(out.rglob("*.mp4"))) != files:
        raise FailedError("videos are missing")
    shutil.rmtree(out)
    return over - first_asked(links), ended.peak


def first_asked(links: str) -> float:
    """When the server of files was first asked for one since this was last asked, on the monotonic clock."""
    with urllib.request.urlopen(f"{links}/_bench/first", timeout=10) as answer:
        return float(json.load(answer)["first"] or 0.0)


def uploads(size: Size) -> Iterator[Figure | Note]:
    """Local videos of 50 MB inside the submits. Each is in three jobs, so that hashing it once can be told."""
    videos, bytes_ = size.pick(8, 2), size.pick(50, 5) * MB
    jobs = 3 * videos
    with workshop() as shop, server("instant_server") as api:
        manifest = _local(shop, videos, bytes_)
        with shop.start(
            *("run", manifest, *EAGER, "--max-in-flight", AT_ONCE, "--check", "size"), api=api, poll_floor=0.01
        ) as command:
            read = _bytes_read(command)
            ended = command.wait(1.0).must(0)
        with urllib.request.urlopen(f"{api}/_bench/stats", timeout=10) as answer:
            accepted = json.load(answer)["accepted"]
    if accepted != jobs:
        raise FailedError(f"{accepted} submits arrived of {jobs}")
    yield Figure(
        what=f"{jobs} uploads of {videos} videos of {bytes_ // MB} MB, {AT_ONCE} at a time: peak memory",
        value=ended.peak,
        unit="MiB",
        at_most=150.0,
    )
    hashed = (read - jobs * bytes_) / (videos * bytes_)
    yield Figure(what="the same: times that each distinct video was read beside sending it", value=hashed, at_most=1.1)
    yield Figure(what="the same: MB/s", value=jobs * bytes_ / MB / ended.seconds)


def _local(shop: Workshop, videos: int, bytes_: int) -> Path:
    path = shop.folder / "local.csv"
    for n in range(videos):
        film(shop.folder / f"clip-{n}.mp4", bytes_, number=n)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("key", "video", "text", "speaker", "output"))
        for n in range(3 * videos):
            rows.writerow((f"job-{n}", f"clip-{n % videos}.mp4", f"Line {n}.", "Emily", f"out/{n}.mp4"))
    return path


def _bytes_read(command: Command, within: float = 200.0) -> int:
    """What it read from files until its end: Linux counts that, and sockets apart from it."""
    read, until = 0, time.monotonic() + within
    while command.running and time.monotonic() < until:
        try:
            told = Path(f"/proc/{command.pid}/io").read_text()
        except OSError:
            break
        read = int(told.split("rchar:")[1].split()[0])
        time.sleep(0.02)
    return read
