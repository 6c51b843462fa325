"""The benchmarks themselves: what is compared with must be right, and misses must show."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import harness, optimum, table
from benchmarks.figures import Benchmark, FailedError, Figure, Measure, Note, Size
from benchmarks.registry import BENCHMARKS

ROOT = Path(__file__).parent.parent
TIMES = optimum.LogNormal(0.3)


def by_trying_all(price: float, *, floor: float, step: float) -> optimum.Schedule:
    """The best schedule, the slow way: every next question from every age."""
    grid = [step * n for n in range(math.ceil(math.exp(optimum.DEVIATIONS * TIMES.spread) / step) + 1)]
    ended, partial = [TIMES.before(t) for t in grid], [TIMES.partial(t) for t in grid]
    last, apart = len(grid) - 1, math.ceil(floor / step)
    owed, follows = [0.0] * len(grid), [last] * len(grid)
    for a in range(last - 1, -1, -1):
        owed[a], follows[a] = min(
            (
                price * (1 - ended[a]) + grid[b] * (ended[b] - ended[a]) - (partial[b] - partial[a]) + owed[b],
                b,
            )
            for b in range(min(a + apart, last), last + 1)
        )
    asks, at = [], 0
    while at < last:
        at = follows[at]
        asks.append(grid[at])
    return optimum.cost(asks, TIMES)


@pytest.mark.parametrize("price", [0.3, 0.05, 0.01])
def test_best_schedule_is_that_of_trying_all(price: float) -> None:
    """What the program is judged by must itself be the best."""
    fast = optimum.best(price, TIMES, floor=0.1, step=0.04)
    slow = by_trying_all(price, floor=0.1, step=0.04)

    assert fast.lag + price * fast.polls == pytest.approx(slow.lag + price * slow.polls, rel=1e-6)


@pytest.mark.parametrize(("polls", "percent"), [(2.26, 13.0), (2.95, 9.0), (3.94, 6.5)])
def test_curve_goes_through_known_points(polls: float, percent: float) -> None:
    """Found by another program before this one was written; it may have rounded, or measured by the mean time."""
    curve = list(optimum.curve(TIMES, floor=1 / 34))

    assert 100 * optimum.least_lag(polls, curve) == pytest.approx(percent, rel=0.07)


def test_fixed_polling_costs_what_it_is_known_to() -> None:
    """15 s on 34 s, as in the API's own example."""
    fixed = optimum.fixed(15 / 34, TIMES)

    assert (fixed.lag, fixed.polls) == (pytest.approx(0.22, abs=0.005), pytest.approx(2.9, abs=0.05))


def test_questions_keep_the_floor_between_them() -> None:
    """The program may not ask more often either."""
    asks = optimum.best(0.001, TIMES, floor=0.2).asks

    assert min(later - sooner for sooner, later in pairwise(asks[:-1])) >= 0.2 - 1e-9


def benchmark(measure: Measure, *, name: str = "polling", limit: float = 10.0) -> Benchmark:
    return Benchmark(name=name, claim="It is fast", measure=measure, limit=limit)


def test_misses_and_failures_show(capsys: pytest.CaptureFixture[str]) -> None:
    """A table that hides what was not reached is worth nothing."""

    def measure(_: Size) -> Iterator[Figure | Note]:
        yield Figure(what="time", value=2.0, unit="s", at_most=1.0, beside={"script": 3.0})
        raise FailedError("it | fell over")

    outcome = harness.run(benchmark(measure), Size(), 1, say=print)

    assert [result.reached for result in outcome.results] == [False, False]
    assert "| `polling` | time | **2.00 s** | script 3.00 s | ≤ 1.00 s | NO |" in table.markdown([outcome])
    assert "| `polling` | not measured to its end | it / fell over |" in table.markdown([outcome])


def test_runs_are_put_side_by_side_by_their_median() -> None:
    """One lucky run is not what a user will see."""
    values = iter((3.0, 1.0, 1.1))

    def measure(_: Size) -> Iterator[Figure | Note]:
        yield Figure(what="ratio", value=next(values), at_most=1.15)
        yield Note("Said once.")

    outcome = harness.run(benchmark(measure), Size(), 3, say=lambda _: None)

    assert outcome.results[0].reached is True
    assert "**1.10** (1.00 to 3.00)" in table.markdown([outcome])
    assert table.markdown([outcome]).count("Said once.") == 1


def test_a_benchmark_that_hangs_is_given_up() -> None:
    """The whole of it must end by itself."""

    def measure(_: Size) -> Iterator[Figure | Note]:
        time.sleep(5.0)
        yield Note("never")

    outcome = harness.run(benchmark(measure, limit=0.05), Size(), 1, say=lambda _: None)

    assert "not over within" in outcome.results[0].failure


def test_benchmarks_that_were_not_measured_keep_their_rows() -> None:
    """One row can be measured again without the other twenty minutes."""

    def measure(_: Size) -> Iterator[Figure | Note]:
        yield Figure(what="ratio", value=1.0)

    old = "<!-- measured: make bench -->\n| `yaml` | old |\n| `polling` | old |\n\n`polling`: old\n<!-- end -->\n"
    new = table.written(old, [harness.run(benchmark(measure), Size(), 1, say=lambda _: None)])

    assert table.lines_of("yaml", new) == ["| `yaml` | old |"]
    assert table.lines_of("polling", new) == ["| `polling` | ratio | **1.00** |  |  |  |"]


def test_names_are_given_once() -> None:
    """They are what the command line and the README know a benchmark by."""
    assert len({benchmark.name for benchmark in BENCHMARKS}) == len(BENCHMARKS)


@pytest.mark.slow
def test_quick_measurement_runs_to_its_end() -> None:
    """Servers, processes and table, with small numbers; the rest of `--quick` takes minutes."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "yaml", "downloads", "uploads"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert "not measured" not in ended.stdout
    assert ended.stdout.count("| `") >= 9
