"""The account's rate, which is what a large batch waits for: the least that a job can cost is two requests.

Times are those of whole commands, start-up and report included, divided by the least possible, 2N / rate.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import manifests
from benchmarks.figures import FailedError, Figure, Note, Size
from benchmarks.sandbox import Provider, provider, refused_percent
from benchmarks.workshop import KEY, Command, Workshop, workshop

RATE = 20
GIVEN = ("--rate", f"{RATE}/s")
LIMITED = ("--rate", f"{RATE}/s")
IN_FLIGHT = ("--max-in-flight", 200)
SCRIPT_WORKERS = 60


def least(jobs: int) -> float:
    """Seconds that so many jobs need at that rate if no request is wasted."""
    return 2 * jobs / RATE


@cache
def script(jobs: int) -> tuple[float, float, float]:
    """What the afternoon script makes of the same server: time by the least, percent refused, worst window by limit."""
    with workshop() as shop, provider(shop, "script", *LIMITED) as api:
        ended = shop.module(
            "afternoon_script",
            *(manifests.texts(shop.folder / "script.csv", jobs), shop.folder / "script"),
            *("--base-url", api.url, "--key", KEY, "--workers", SCRIPT_WORKERS, "--poll", api.script_poll),
        )
        stats = api.stats()
    refused = 100.0 * stats["refused"] / (stats["refused"] + stats["admitted"])
    return ended.seconds / least(jobs), refused, stats["worst_window"] / RATE


def start(shop: Workshop, api: Provider, manifest: Path, *options: object) -> Command:
    return shop.start("run", manifest, *IN_FLIGHT, *options, api=api.url, **api.timing)


def given(size: Size) -> Iterator[Figure | Note]:
    """`--rate 20/s`, once to its end and once with a kill in the middle."""
    jobs = size.pick(300, 30)
    by_script, refused_script, worst_script = script(jobs)
    with workshop() as shop:
        manifest = manifests.texts(shop.folder / "given.csv", jobs)
        with provider(shop, "given", *LIMITED) as api, start(shop, api, manifest, *GIVEN) as command:
            took = command.wait(120).must(0).seconds
            stats = api.stats()
        yield Figure(
            what=f"`--rate {RATE}/s`, {jobs} jobs: time ÷ least possible",
            value=took / least(jobs),
            at_most=1.10,
            beside={"script": by_script},
        )
        yield from _kept("the same", stats, beside=(refused_script, worst_script))
    with workshop() as shop:
        manifest = manifests.texts(shop.folder / "killed.csv", jobs)
        with provider(shop, "killed", *LIMITED) as api:
            took, stats = _killed_half_way(shop, api, manifest, jobs)
        yield Figure(what="killed half-way and started again at once: time ÷ least possible", value=took / least(jobs))
        yield from _kept("killed half-way", stats)
        yield Figure(
            what="killed half-way: pairs paid for twice",
            value=float(stats["accepted"] - stats["pairs_accepted"]),
            at_most=0.0,
        )


def _kept(name: str, stats: dict[str, Any], *, beside: tuple[float, float] | None = None) -> Iterator[Figure]:
    """Whether the limit was kept, as the server counts."""
    refused, worst = ({}, {}) if beside is None else ({"script": beside[0]}, {"script": beside[1]})
    value = 100.0 * stats["refused"] / (stats["refused"] + stats["admitted"])
    yield Figure(what=f"{name}: requests refused", value=value, unit="%", at_most=0.5, beside=refused)
    yield Figure(
        what=f"{name}: worst sliding window at the server ÷ limit",
        value=stats["worst_window"] / RATE,
        at_most=1.0,
        beside=worst,
    )


def _killed_half_way(shop: Workshop, api: Provider, manifest: Path, jobs: int) -> tuple[float, dict[str, Any]]:
    """Seconds from the first start to the second end, and what the server counted."""
    with start(shop, api, manifest, *GIVEN) as first:
        while first.running and api.stats()["admitted"] < jobs:
            time.sleep(0.05)
        if not first.running:
            raise FailedError("it ended before it could be killed")
        first.kill()
        # A submit that was on the wire may stay unclear, if it never arrived: exit 1, after having looked for so long.
        with start(shop, api, manifest, *GIVEN, "--resolve-for", 3) as second:
            second.wait(120).must(0, 1)
        return time.monotonic() - first.started, api.stats()


def unknown(size: Size) -> Iterator[Figure | Note]:
    """No `--rate`, and 429 without Retry-After: from a cold start, then with what the first run remembers."""
    jobs = size.pick(600, 40)
    by_script, refused_script, _ = script(size.pick(300, 30))
    with workshop() as shop, provider(shop, "unknown", *LIMITED) as api:
        for name, ratio, refused in (("cold", 1.30, 3.0), ("next", 1.15, None)):
            before = api.stats()
            with start(shop, api, manifests.texts(shop.folder / f"{name}.csv", jobs, name=name)) as command:
                took = command.wait(300).must(0).seconds
            what = "rate unknown, from a cold start" if name == "cold" else "the next run, which remembers"
            yield Figure(
                what=f"{what}, {jobs} jobs: time ÷ least possible",
                value=took / least(jobs),
                at_most=ratio,
                beside={"script": by_script},
            )
            yield Figure(
                what=f"{what}: requests refused",
                value=refused_percent(before, api.stats()),
                unit="%",
                at_most=refused,
                beside={"script": refused_script},
            )


def shared(size: Size) -> Iterator[Figure | Note]:
    """Two runs of one account on one machine at the same time."""
    jobs = size.pick(150, 20)
    with workshop() as shop, provider(shop, "given", *LIMITED) as api:
        yield from _pair_of_runs(shop, api, jobs, "rate given", *GIVEN)
        yield Figure(
            what="two runs, rate given: worst sliding window at the server ÷ limit",
            value=api.stats()["worst_window"] / RATE,
            at_most=1.0,
        )
    with workshop() as shop, provider(shop, "learned", *LIMITED) as api:
        warm = manifests.texts(shop.folder / "warm.csv", size.pick(150, 20), name="warm")
        with start(shop, api, warm) as command:
            command.wait(120).must(0)
        yield from _pair_of_runs(shop, api, jobs, "rate learned by an earlier run")


def _pair_of_runs(shop: Workshop, api: Provider, jobs: int, name: str, *options: object) -> Iterator[Figure]:
    before = api.stats()
    one, two = (manifests.texts(shop.folder / f"{which}.csv", jobs, name=which) for which in ("one", "two"))
    with start(shop, api, one, *options) as first, start(shop, api, two, *options) as second:
        times = sorted((first.wait(200).must(0).seconds, _end(second)))
    yield Figure(what=f"two runs, {name}, 2 x {jobs} jobs: time ÷ least possible", value=times[1] / least(2 * jobs))
    yield Figure(
        what=f"two runs, {name}: requests refused", value=refused_percent(before, api.stats()), unit="%", at_most=1.0
    )
    yield Figure(what=f"two runs, {name}: time of the faster ÷ the slower", value=times[0] / times[1], at_least=0.6)


def _end(command: Command) -> float:
    """When it ended, though it may have been some time ago, while another one was waited for."""
    return command.wait(200).must(0).seconds


def midway(size: Size) -> Iterator[Figure | Note]:
    """A rate that is halved while a run goes on, and restored."""
    learn, settle, look = (30, 20, 10) if not size.quick else (4, 2, 2)
    with workshop() as shop, provider(shop, "midway", *LIMITED) as api:
        manifest = manifests.texts(shop.folder / "midway.csv", RATE * 2 * (learn + 2 * (settle + look)))
        with start(shop, api, manifest, "--max-in-flight", 400) as command:
            time.sleep(learn)
            for rate, name in ((RATE // 2, "halved"), (RATE, "restored")):
                api.change(rate=f"{rate}/s")
                changed = api.stats()
                time.sleep(settle)
                settled = api.stats()
                time.sleep(look)
                looked = api.stats()
                if not command.running:
                    raise FailedError("it ended too early")
                yield Figure(
                    what=f"rate {name} midway: admitted {settle} to {settle + look} s after ÷ the new best",
                    value=_admitted(settled, looked) / rate,
                    at_least=0.9,
                )
                yield Figure(
                    what=f"rate {name} midway: admitted in the first {settle + look} s ÷ the new best",
                    value=_admitted(changed, looked) / rate,
                )
                yield Figure(
                    what=f"rate {name} midway: requests refused",
                    value=refused_percent(changed, looked),
                    unit="%",
                )


def _admitted(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Requests a second."""
    return float((after["admitted"] - before["admitted"]) / (after["at"] - before["at"]))
