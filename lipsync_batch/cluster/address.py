"""What `--dask` may be given: a scheduler's address, or so many workers on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lipsync_batch.errors import UsageError

MOST_LOCAL = 64
"""Workers on one machine: more are a slip of the finger."""
_ADDRESS = re.compile(r"(?P<scheme>tcp|tls)://(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):(?P<port>\d{1,5})/?")
_HINT = "Write it like --dask tcp://scheduler:8786, tls://scheduler:8786, or local:4 to try it on this machine."


@dataclass(frozen=True, slots=True)
class Remote:
    """A scheduler that is there already."""

    address: str


@dataclass(frozen=True, slots=True)
class Local:
    """Workers that are started on this machine, and end with the run."""

    workers: int


def parse(text: str) -> Remote | Local:
    """UsageError for what is neither."""
    text = text.strip()
    if found := re.fullmatch(r"local:(\d+)", text):
        workers = int(found[1])
        if not 1 <= workers <= MOST_LOCAL:
            raise UsageError(f"--dask {text}: from 1 to {MOST_LOCAL} workers can be started here", hint=_HINT)
        return Local(workers)
    if (address := _ADDRESS.fullmatch(text)) and int(address["port"]) <= 65_535:
        return Remote(text.rstrip("/"))
    raise UsageError(f"--dask {text}: this is not the address of a scheduler", hint=_HINT)
