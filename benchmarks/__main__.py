"""python -m benchmarks [NAME ...]: measure, print the table."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from benchmarks import harness, table
from benchmarks.figures import Size
from benchmarks.registry import BENCHMARKS


def main() -> int:
    """Exit 0 even where a target is missed, unless told to be strict."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything that was started is ended
    chosen = [benchmark for benchmark in BENCHMARKS if not options.names or benchmark.name in options.names]
    started = time.monotonic()
    outcomes = []
    for benchmark in chosen:
        _say(f"== {benchmark.name}: {benchmark.claim}")
        outcomes.append(harness.run(benchmark, Size(quick=options.quick), options.runs, say=_say))
        _say(f"   {outcomes[-1].seconds:.0f} s")
    print(table.markdown(outcomes), end="")
    missed = [result for outcome in outcomes for result in outcome.results if result.reached is False]
    print(f"\n{len(missed)} targets were missed." if missed else "\nEvery target was reached.")
    _say(f"{time.monotonic() - started:.0f} s in all")
    if options.write:
        table.write(outcomes)
    return 1 if missed and options.strict else 0


def _options() -> argparse.Namespace:
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones; all by default: {', '.join(names)}")
    parser.add_argument("--runs", type=int, default=1, help="how often each is measured")
    parser.add_argument("--quick", action="store_true", help="small numbers: shows that it works, not how fast it is")
    parser.add_argument("--strict", action="store_true", help="exit 1 where a target is missed")
    parser.add_argument("--write", action="store_true", help="put the figures into the README's table")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in names]:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(names)}")
    if options.write and options.quick:
        parser.error("--quick measures too little to be written into the README")
    return options


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
