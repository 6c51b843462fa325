"""A cap on the generations that are alive at the provider: then slots are what a batch waits for."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import manifests
from benchmarks.figures import Figure, Note, Size
from benchmarks.sandbox import provider
from benchmarks.workshop import KEY, Workshop, workshop

CAP = 20
SPEED_UP = 20.0
PLENTY = "1000/s"


def measure(size: Size) -> Iterator[Figure | Note]:
    """A cap that the user knows, and one that only the provider knows."""
    jobs = CAP * size.pick(40, 4)
    with workshop() as shop:
        script, _ = _script(shop, CAP * size.pick(20, 4))
        known, _ = _ours(shop, "known", jobs, in_flight=CAP)
        yield Figure(
            what=f"cap of {CAP} generations, --max-in-flight {CAP}, {jobs} jobs: time ÷ (Σ generation times ÷ {CAP})",
            value=known,
            at_most=1.10,
            beside={"script": script},
        )
        unknown, refused = _ours(shop, "unknown", jobs, in_flight=2 * CAP)
        yield Figure(
            what=f"cap of {CAP} generations, --max-in-flight {2 * CAP}: the same",
            value=unknown,
            at_most=1.10,
        )
        yield Figure(what=f"cap of {CAP} generations, --max-in-flight {2 * CAP}: refusals a job", value=refused)


def _ours(shop: Workshop, name: str, jobs: int, *, in_flight: int) -> tuple[float, float]:
    """Time by the least possible, and refusals a job."""
    with provider(shop, name, "--slots", CAP, speed_up=SPEED_UP) as api:
        ended = shop.run(
            *("run", manifests.texts(shop.folder / f"{name}.csv", jobs, name=name)),
            *("--rate", PLENTY, "--max-in-flight", in_flight),
            api=api.url,
            **api.timing,
        ).must(0)
        stats = api.stats()
    return ended.seconds / (stats["generation_seconds"] / CAP), stats["refused"] / jobs


def _script(shop: Workshop, jobs: int) -> tuple[float, float]:
    with provider(shop, "script", "--slots", CAP, speed_up=SPEED_UP) as api:
        ended = shop.module(
            "afternoon_script",
            *(manifests.texts(shop.folder / "script.csv", jobs), shop.folder / "script"),
            *("--base-url", api.url, "--key", KEY, "--workers", CAP, "--poll", api.script_poll),
        )
        stats = api.stats()
    return ended.seconds / (stats["generation_seconds"] / CAP), stats["refused"] / jobs
