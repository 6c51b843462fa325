"""What the shell can complete: keys and labels of a batch that was run before, and the providers that are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lipsync_batch.store.reads import Reads

MOST = 200
"""Offered at once; a shell that lists more asks first."""


def keys(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Keys of the batch that is named before them on the line."""
    given = set(ctx.params.get("keys") or ())
    return [key for key in _known(ctx, lambda reads: reads.keys_like(begun, MOST)) if key not in given]


def labels(ctx: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """Labels with their values: language=de."""
    return list(_known(ctx, lambda reads: reads.labels_like(begun, MOST)))


def providers(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    from lipsync_batch.providers.plugins import installed

    return [name for name in installed() if name.startswith(begun)]


def _known(ctx: click.Context, ask: Callable[[Reads], Iterable[str]]) -> Iterable[str]:
    """What the batch's store says; nothing where there is none. Who types must never see an error of ours."""
    from lipsync_batch import location
    from lipsync_batch.clock import Clock
    from lipsync_batch.store import Store

    batch, out, state = (ctx.params.get(name) for name in ("batch", "out", "state"))
    batch = batch or next(iter(ctx.args), "")  # an option without its value yet keeps click from reading the rest
    try:
        for sandbox in (False, True):
            place = location.find(Path(batch), out=out, state=state, sandbox=sandbox)
            if place.exists:
                with closing(Store.read_only(place.database, Clock())) as store:
                    return list(ask(store.reads))
    except Exception:  # noqa: BLE001 - a batch that cannot be opened has nothing to offer
        return []
    return []
