"""Every benchmark by its name, in the order of the table."""

from __future__ import annotations

from benchmarks.figures import Benchmark
from benchmarks.rows import own_cost, rates

BENCHMARKS = (
    Benchmark(name="given-rate", claim="A rate that is given is used up, and kept", measure=rates.given, limit=360.0),
    Benchmark(name="unknown-rate", claim="A rate that is not given is found out", measure=rates.unknown, limit=600.0),
    Benchmark(name="two-runs", claim="Two runs of one account share its rate", measure=rates.shared, limit=400.0),
    Benchmark(name="rate-midway", claim="A rate that changes is followed", measure=rates.midway, limit=150.0),
    Benchmark(name="own-cost", claim="The program's own cost does not show", measure=own_cost.measure, limit=240.0),
)
