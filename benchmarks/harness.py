"""Runs benchmarks, each within its time, and puts the figures of several runs side by side."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from benchmarks.figures import Benchmark, FailedError, Figure, Note, Size


@dataclass(kw_only=True, slots=True)
class Result:
    """One figure of a benchmark over all its runs."""

    benchmark: Benchmark
    what: str
    runs: list[Figure] = field(default_factory=list)
    failure: str = ""

    @property
    def values(self) -> list[float]:
        return sorted(figure.value for figure in self.runs)

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; None where there is none. What failed has reached nothing."""
        if self.failure or not self.runs:
            return False
        low, high = self.runs[0].at_least, self.runs[0].at_most
        if low is None and high is None:
            return None
        middle = median(self.values)
        return (low is None or middle >= low) and (high is None or middle <= high)


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What a benchmark brought."""

    benchmark: Benchmark
    results: list[Result] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def take(self, figure: Figure) -> None:
        for result in self.results:
            if result.what == figure.what:
                result.runs.append(figure)
                return
        self.results.append(Result(benchmark=self.benchmark, what=figure.what, runs=[figure]))

    def fail(self, why: str) -> None:
        """A run did not get to its end; one row says so, however many did not."""
        if not any(result.failure for result in self.results):
            self.results.append(Result(benchmark=self.benchmark, what="not measured to its end", failure=why))


def run(benchmark: Benchmark, size: Size, runs: int, *, say: Callable[[str], None]) -> Outcome:
    """Measure so many times. A run that fails is told of, and stops nothing."""
    outcome = Outcome(benchmark=benchmark)
    started = time.monotonic()
    for _ in range(runs):
        try:
            with within(benchmark.limit):
                for found in benchmark.measure(size):
                    if isinstance(found, Note):
                        outcome.notes.append(found.text)
                        continue
                    outcome.take(found)
                    say(f"{benchmark.name}: {found.what}: {found.value:.3g} {found.unit}")
        except FailedError as error:
            say(f"{benchmark.name}: FAILED: {error}")
            outcome.fail(" ".join(str(error).split())[:160])
    outcome.seconds = time.monotonic() - started
    return outcome


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """FailedError in the middle of whatever goes on when the time is over; what was started is ended on the way out."""

    def over(*_: object) -> None:
        raise FailedError(f"not over within {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
