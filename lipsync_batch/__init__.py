"""Hosted lip-sync in bulk: a manifest in, finished videos and a report out, each pair paid for once.

`Batch.find(manifest).run()` does it all; see the README for the command line.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lipsync_batch import version

if TYPE_CHECKING:
    from lipsync_batch.batch import Batch
    from lipsync_batch.errors import LipsyncBatchError
    from lipsync_batch.jobs import Selection, State, StopReason
    from lipsync_batch.manifest import Manifest
    from lipsync_batch.plan import Plan
    from lipsync_batch.session import Orders, Outcome

__all__ = [
    "Batch",
    "LipsyncBatchError",
    "Manifest",
    "Orders",
    "Outcome",
    "Plan",
    "Selection",
    "State",
    "StopReason",
    "__version__",
]

__version__ = version.VERSION

_HOMES = {
    "Batch": "batch",
    "LipsyncBatchError": "errors",
    "Manifest": "manifest",
    "Orders": "session",
    "Outcome": "session",
    "Plan": "plan",
    "Selection": "jobs",
    "State": "jobs",
    "StopReason": "jobs",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `lipsync-batch --help` must not wait for all of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
