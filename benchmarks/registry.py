"""Every benchmark by its name, in the order of the table."""

from __future__ import annotations

from benchmarks.figures import Benchmark
from benchmarks.rows import cluster, media, own_cost, polling, rates, scale, slots, week

BENCHMARKS = (
    Benchmark(name="given-rate", claim="A rate that is given is used up, and kept", measure=rates.given, limit=360.0),
    Benchmark(name="unknown-rate", claim="A rate that is not given is found out", measure=rates.unknown, limit=600.0),
    Benchmark(name="two-runs", claim="Two runs of one account share its rate", measure=rates.shared, limit=400.0),
    Benchmark(name="rate-midway", claim="A rate that changes is followed", measure=rates.midway, limit=150.0),
    Benchmark(name="polling", claim="An end is noticed soon, for few polls", measure=polling.measure, limit=240.0),
    Benchmark(name="slots", claim="Slots at the provider are kept full", measure=slots.measure, limit=400.0),
    Benchmark(name="own-cost", claim="The program's own cost does not show", measure=own_cost.measure, limit=240.0),
    Benchmark(name="plan", claim="A million rows are planned soon, in little memory", measure=scale.plan, limit=500.0),
    Benchmark(name="resume", claim="A million rows are gone on with at once", measure=scale.resume, limit=700.0),
    Benchmark(name="week", claim="A week with outages pays once for each", measure=week.measure, limit=900.0),
    Benchmark(name="yaml", claim="Mistakes in a large YAML are found soon", measure=scale.yaml, limit=130.0),
    Benchmark(name="downloads", claim="Big results come in as fast as they can", measure=media.downloads, limit=300.0),
    Benchmark(name="uploads", claim="Big videos go out in little memory", measure=media.uploads, limit=240.0),
    Benchmark(name="workers", claim="Workers of a cluster add up", measure=cluster.scaling, limit=240.0),
    Benchmark(name="errands", claim="Handing a download out costs little", measure=cluster.overhead, limit=120.0),
)
