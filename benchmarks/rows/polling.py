"""Polls when requests are plentiful: how soon an end is noticed, and for how many questions, as the server knows it."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import manifests, optimum
from benchmarks.figures import FailedError, Figure, Note, Size
from benchmarks.sandbox import FLOOR, MEDIAN, SCRIPT_POLL, SPREAD, Provider, provider
from benchmarks.workshop import KEY, Workshop, workshop

SLOTS = 60
LEARNING = 60
"""Jobs from which the program learns, and by which it is not judged."""
PLENTY = "1000/s"
TIMES = optimum.LogNormal(SPREAD)


def measure(size: Size) -> Iterator[Figure | Note]:
    """The program and the script against the best that one could do who knows the distribution."""
    jobs, speed_up = size.pick(660, 150), float(size.pick(10, 34))
    schedules = list(optimum.curve(TIMES, floor=FLOOR / MEDIAN))
    with workshop() as shop:
        with provider(shop, "ours", speed_up=speed_up) as api:
            manifest = manifests.texts(shop.folder / "polls.csv", jobs)
            shop.run(
                *("run", manifest, "--rate", PLENTY, "--max-in-flight", SLOTS, "--downloads", 8),
                api=api.url,
                **api.timing,
            ).must(0)
            lag, polls = _noticed(api, jobs)
        script_lag, script_polls = _script(shop, size.pick(360, 120), speed_up)
    best = optimum.least_lag(polls, schedules)
    yield Figure(
        what=f"{SLOTS} slots, requests plentiful: mean time from finished to noticed, of the median generation time",
        value=100 * lag,
        unit="%",
        at_most=10.0,
        beside={"script": 100 * script_lag, "best at as many polls": 100 * best},
    )
    yield Figure(what="the same: polls a job", value=polls, at_most=3.1, beside={"script": script_polls})
    yield Figure(
        what="the same: that time ÷ the best schedule's that knows the distribution, at as many polls",
        value=lag / best,
        at_most=1.15,
        beside={"script": script_lag / optimum.least_lag(script_polls, schedules)},
    )
    yield Note(_curve(schedules))


def _noticed(api: Provider, jobs: int) -> tuple[float, float]:
    """Mean lag in medians, and polls a job, of the jobs after those from which one learns."""
    polling = api.stats(after=LEARNING)["polling"]
    if polling["noticed"] != jobs - LEARNING:
        raise FailedError(f"{polling['noticed']} ends were noticed of {jobs - LEARNING}")
    return polling["lag_mean"] * api.speed_up / MEDIAN, polling["polls_mean"]


def _script(shop: Workshop, jobs: int, speed_up: float) -> tuple[float, float]:
    with provider(shop, "script", speed_up=speed_up) as api:
        shop.module(
            "afternoon_script",
            *(manifests.texts(shop.folder / "script.csv", jobs), shop.folder / "script"),
            *("--base-url", api.url, "--key", KEY, "--workers", SLOTS, "--poll", api.script_poll),
        )
        return _noticed(api, jobs)


def _curve(schedules: list[optimum.Schedule]) -> str:
    points = [f"{100 * s.lag:.1f} % at {s.polls:.2f}" for s in schedules[::2] if 2.0 <= s.polls <= 5.1]
    fixed = optimum.fixed(SCRIPT_POLL / MEDIAN, TIMES)
    return (
        f"The best schedules for log-normal times of spread {SPREAD} (mean time until noticed, of the median, at polls "
        f"a job): {'; '.join(points)}. Every {SCRIPT_POLL:.0f} s on {MEDIAN:.0f} s: {100 * fixed.lag:.1f} % at "
        f"{fixed.polls:.2f}."
    )
