"""A million rows: planning them, going on with them, and the memory of it. And a large YAML with a mistake."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from benchmarks import manifests
from benchmarks.figures import FailedError, Figure, Note, Size
from benchmarks.workshop import Command, Workshop, server, workshop

VIDEO = b"a video that nobody looks into"
HARD_LINKS = 60_000
"""ext4 takes 65,000 names of a file."""


def plan(size: Size) -> Iterator[Figure | Note]:
    """`plan` of a CSV that was never run: every row checked, keys and outputs compared, cost summed up."""
    many, few = size.pick(1_000_000, 10_000), size.pick(100_000, 1_000)
    with workshop() as shop, server("instant_server") as api:
        small = shop.run("plan", manifests.texts(shop.folder / "small.csv", few), api=api, within=120).must(0)
        large = shop.run("plan", manifests.texts(shop.folder / "large.csv", many), api=api, within=400).must(0)
    yield Figure(what=f"plan of {many:,} rows: time", value=large.seconds, unit="s", at_most=40.0)
    yield Figure(what="the same: peak memory", value=large.peak, unit="MiB", at_most=300.0)
    yield Figure(what=f"the same: peak memory ÷ that of {few:,} rows", value=large.peak / small.peak, at_most=1.15)


def resume(size: Size) -> Iterator[Figure | Note]:
    """A batch of which half is done, whose manifest is unchanged: how soon does the first submit go out?"""
    jobs = size.pick(1_000_000, 10_000)
    with workshop() as shop, server("instant_server") as api:
        manifest = manifests.texts(shop.folder / "half.csv", jobs)
        out = shop.folder / "out" / "half"
        with shop.start("run", manifest, "--collect-only", "-q", api=api) as command:
            _take_in(out / "_batch" / "jobs.db", command, within=500)
            command.kill()
        finish_half(out, jobs // 2)
        with shop.start("run", manifest, "--check", "size", api=api) as command:
            first = _first_post(api, command, within=120)
            peak = command.peak
            command.kill()
        wait = first - command.started
    yield Figure(
        what=f"{jobs:,} rows, half done, manifest unchanged: from the start to the first submit",
        value=wait,
        unit="s",
        at_most=3.0,
    )
    yield Figure(what="the same: peak memory up to there", value=peak, unit="MiB", at_most=300.0)


def _take_in(database: Path, command: Command, *, within: float) -> None:
    """Wait until a run has put the jobs of its manifest into the store, which it does at one stroke.

    It is killed then: its reports are of no use here, and take minutes.
    """
    until = time.monotonic() + within
    while time.monotonic() < until and command.running:
        time.sleep(0.2)
        if database.exists():
            with (
                closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db,
                suppress(sqlite3.OperationalError),
            ):
                if db.execute("SELECT 1 FROM jobs LIMIT 1").fetchone():
                    return
    command.wait(1.0).must(0, 3)  # a small one may be over by now


def _first_post(api: str, command: Command, *, within: float) -> float:
    """When the first submit came, on the machine's monotonic clock."""
    until = time.monotonic() + within
    while time.monotonic() < until and command.running:
        with urllib.request.urlopen(f"{api}/_bench/stats", timeout=10) as answer:
            first = json.load(answer)["first_post"]
        if first is not None:
            return float(first)
        time.sleep(0.05)
    raise FailedError(f"no submit within {within:.0f} s")


def finish_half(folder: Path, count: int) -> None:
    """Say of the first so many pairs that they are done, and put files where their videos would be."""
    with closing(sqlite3.connect(folder / "_batch" / "jobs.db", isolation_level=None)) as db:
        batch = db.execute("SELECT batch_id FROM batch").fetchone()[0]
        db.execute("BEGIN")
        db.execute("CREATE TEMP TABLE half AS SELECT fingerprint FROM pairs ORDER BY position LIMIT ?", (count,))
        db.execute("CREATE UNIQUE INDEX temp.half_by ON half (fingerprint)")
        db.execute(
            """
            INSERT INTO generations (client_request_id, fingerprint, attempt, generation_id, live, intended_at,
                accepted_at, finished_at, reserve, quote, outcome)
            SELECT 'lb1.' || ? || '.' || substr(fingerprint, 4, 24) || '.1', fingerprint, 1,
                'g' || substr(fingerprint, 4, 20), 0, '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:01.000Z',
                '2026-01-01T00:00:40.000Z', 240000, 240000, 'succeeded'
            FROM half
            """,
            (batch,),
        )
        db.execute(
            """
            INSERT INTO outputs (path, fingerprint) SELECT output, fingerprint FROM jobs
            WHERE fingerprint IN (SELECT fingerprint FROM half)
            """
        )
        db.execute(
            """
            UPDATE pairs SET state = 'done', bytes = ?, sha256 = ?
            WHERE fingerprint IN (SELECT fingerprint FROM half)
            """,
            (len(VIDEO), hashlib.sha256(VIDEO).hexdigest()),
        )
        db.execute("COMMIT")
        _put_files(folder, [path for (path,) in db.execute("SELECT path FROM outputs ORDER BY path")])


def _put_files(folder: Path, paths: list[str]) -> None:
    made: set[Path] = set()
    source = folder
    for number, name in enumerate(paths):
        path = folder / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        if number % HARD_LINKS == 0:
            path.write_bytes(VIDEO)
            source = path
        else:
            path.hardlink_to(source)


def yaml(size: Size) -> Iterator[Figure | Note]:
    """A YAML of many items whose last but one has a mistake: found, and said where it stands."""
    items = size.pick(100_000, 2_000)
    with workshop() as shop:
        ended = shop.run("plan", _yaml(shop, items), within=120).must(2)
    told = ended.stdout + ended.stderr
    expected = f"line {4 + 5 * (items - 2)}"
    if expected not in told or "Emely" not in told:
        raise FailedError(f"the mistake on {expected} was not named: {told[-200:]}")
    yield Figure(
        what=f"YAML of {items:,} items with a mistake near the end: time to its position",
        value=ended.seconds,
        unit="s",
        at_most=10.0,
    )
    yield Figure(what="the same: peak memory", value=ended.peak, unit="MiB")


def _yaml(shop: Workshop, items: int) -> Path:
    path = shop.folder / "large.yaml"
    with path.open("w", encoding="utf-8") as file:
        file.write("version: 1\njobs:\n")
        for n in range(items):
            speaker = "Emely" if n == items - 2 else "Emily"
            file.write(
                f"  - video: https://media.example/clips/{n % 500}.mp4\n    speaker: {speaker}\n"
                f"    text: This is line number {n}.\n    output: lines/{n // 1000}/{n}.mp4\n    language: de\n"
            )
    return path
