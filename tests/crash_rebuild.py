"""Rebuilds a batch in a process that dies at one of its points: `crash_rebuild.py MANIFEST STEP`.

With step 0 it lives, and says how many points there were.
"""

from __future__ import annotations

import sys
from pathlib import Path

from crash_points import Crash, Deadly, install

from lipsync_batch import Batch
from lipsync_batch.rebuilding import Wishes, records


def main(manifest: Path, step: int) -> None:
    crash = Crash(manifest.with_name("passed.json"), Deadly(step=step) if step else None)
    install(crash)
    records.PAUSES = (0.0,)  # the server of the test has no charges
    Batch.find_lost(manifest, flags={"rate": "1000/s"}).rebuild(Wishes(yes=True))
    print(len(crash._passed))  # noqa: T201 - its result


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
