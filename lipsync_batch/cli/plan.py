"""`lipsync-batch plan`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from lipsync_batch.cli.options import batch_argument, place_options, provider_option, where_option


@click.command()
@batch_argument
@place_options
@click.option("--sandbox", is_flag=True, help="Plan the rehearsal of this batch.")
@where_option
@click.option("--by", metavar="LABEL", help="Counts for each value of a label, such as language.")
@provider_option
@click.option("--skip-invalid", is_flag=True, default=None, help="Plan without the rows that are wrong.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def plan(
    batch: Path,
    *,
    out: Path | None,
    state: Path | None,
    sandbox: bool,
    where: dict[str, str],
    by: str | None = None,
    as_json: bool = False,
    **settings: Any,
) -> None:
    """Check every row of BATCH, then say what `run` would do and cost. Submits nothing."""
    from lipsync_batch.batch import Batch
    from lipsync_batch.cli.tables import plan_document, plan_lines

    outcome = Batch.find(batch, out=out, state=state, sandbox=sandbox, flags=settings).plan(by=by, where=where)
    if as_json:
        json.dump(plan_document(outcome), sys.stdout, ensure_ascii=False, indent=2)
        click.echo()
        return
    for line in plan_lines(outcome, by=by):
        click.echo(line)
