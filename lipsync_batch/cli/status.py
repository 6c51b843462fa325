"""`lipsync-batch status`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from lipsync_batch.cli import known
from lipsync_batch.cli.options import batch_argument, place_options, where_option


@click.command(short_help="Where it stands, what is wrong, what to do.")
@batch_argument
@click.argument("key", required=False, shell_complete=known.keys)
@place_options
@where_option
@click.option("--watch", is_flag=True, help="Show it again every two seconds until the run ends.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_context
def status(
    ctx: click.Context,
    /,
    batch: Path,
    key: str | None,
    *,
    out: Path | None,
    state: Path | None,
    where: dict[str, str],
    watch: bool,
    as_json: bool,
) -> None:
    """Where BATCH stands, what is wrong, what each command would cost, and the one that goes on.

    With KEY, one job's whole history. Works while a run holds the batch.
    """
    from lipsync_batch.batch import Batch
    from lipsync_batch.cli.status_text import history_document, history_lines, status_document, status_lines
    from lipsync_batch.cli.watch import watched
    from lipsync_batch.jobs import Selection

    if watch and (key is not None or as_json):
        raise click.UsageError("--watch shows a batch, and for people: neither KEY nor --json goes with it", ctx)
    if where and key is not None:
        raise click.UsageError("--where chooses jobs, and KEY is one: give one of the two", ctx)
    found = Batch.find_existing(batch, out=out, state=state)
    folder = found.location.folder.root
    if key is not None:
        history = found.history(key)
        document, lines = history_document(history, folder), history_lines(history, folder)
    else:
        selection = Selection(where=where)
        glance = watched(lambda: found.status(selection), sys.stdout) if watch else found.status(selection)
        document, lines = status_document(glance), status_lines(glance)
    if as_json:
        json.dump(document, sys.stdout, ensure_ascii=False, indent=2)
        click.echo()
        return
    for line in lines:
        click.echo(line)
