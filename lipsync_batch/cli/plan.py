"""`lipsync-batch plan`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from lipsync_batch.cli.options import (
    batch_argument,
    pace_options,
    place_options,
    provider_option,
    selection_options,
)

LOOKS = 1_000
"""Rows between two words about how far the reading is."""


@click.command(short_help="Say what `run` would do, cost and take.")
@batch_argument
@place_options
@click.option("--sandbox", is_flag=True, help="Plan the rehearsal of this batch.")
@selection_options
@click.option("--by", metavar="LABEL", help="Counts and cost for each value of a label, such as language.")
@pace_options
@provider_option
@click.option("--skip-invalid", is_flag=True, default=None, help="Plan without the rows that are wrong.")
@click.option("--collect-only", is_flag=True, help="Plan a run that submits nothing.")
@click.option("--retry-failed", is_flag=True, help="Plan a run that takes failed jobs up again first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def plan(
    batch: Path,
    *,
    out: Path | None,
    state: Path | None,
    sandbox: bool,
    where: dict[str, str],
    only: tuple[str, ...] = (),
    limit: int | None = None,
    by: str | None = None,
    collect_only: bool = False,
    retry_failed: bool = False,
    as_json: bool = False,
    **settings: Any,
) -> None:
    """Check every row of BATCH, then say what `run` would do and cost. Submits nothing."""
    from lipsync_batch.batch import Batch
    from lipsync_batch.cli.plan_text import plan_document, plan_lines
    from lipsync_batch.cli.tables import width
    from lipsync_batch.clock import Clock
    from lipsync_batch.jobs import Selection

    selection = Selection(where=where, only=only, limit=limit)
    found = Batch.find(batch, out=out, state=state, sandbox=sandbox, flags=settings)
    with _progress() as told:
        outcome = found.plan(selection, by=by, collect_only=collect_only, retry_failed=retry_failed, told=told)
    place = {"out": out, "state": state, "sandbox": sandbox}
    selected = {"where": where, "only": only, "limit": limit}
    flags = {**place, **selected, "collect_only": collect_only, "retry_failed": retry_failed, **settings}
    command = ["lipsync-batch", "run", str(batch), *_words(flags)]
    if as_json:
        json.dump(plan_document(outcome, found.location, command=command), sys.stdout, ensure_ascii=False, indent=2)
        click.echo()
        return
    lines = plan_lines(outcome, found.location, selection, by=by, width=width(), now=Clock().utc(), command=command)
    for line in lines:
        click.echo(line)


def _words(flags: Mapping[str, Any]) -> Iterator[str]:
    """Flags as they are typed; those that were not given are left out."""
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        match value:
            case None | False:
                pass
            case True:
                yield flag
            case tuple():
                yield from (word for each in value for word in (flag, each))
            case dict():
                yield from (word for label, text in value.items() for word in (flag, f"{label}={text}"))
            case _:
                yield from (flag, str(value))


@contextmanager
def _progress() -> Iterator[Callable[[int], None] | None]:
    """On a terminal, how many rows were looked at by now, in a line that is wiped out at the end."""
    if not sys.stderr.isatty():
        yield None
        return

    def tell(rows: int) -> None:
        if rows % LOOKS == 0:
            click.echo(f"\r{rows:,} rows were looked at", err=True, nl=False)

    try:
        yield tell
    finally:
        click.echo("\r\033[K", err=True, nl=False)
