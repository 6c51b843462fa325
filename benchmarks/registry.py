"""Every benchmark by its name, in the order of the table."""

from __future__ import annotations

from benchmarks.figures import Benchmark
from benchmarks.rows import own_cost

BENCHMARKS = (
    Benchmark(name="own-cost", claim="The program's own cost does not show", measure=own_cost.measure, limit=240.0),
)
