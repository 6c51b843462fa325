"""`lipsync-batch status`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from lipsync_batch.cli import known
from lipsync_batch.cli.options import batch_argument, place_options


@click.command()
@batch_argument
@click.argument("key", required=False, shell_complete=known.keys)
@place_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def status(batch: Path, key: str | None, *, out: Path | None, state: Path | None, as_json: bool) -> None:
    """Where BATCH stands, what is wrong, and the command that goes on. With KEY, one job's whole history.

    Works while a run holds the batch.
    """
    from lipsync_batch.batch import Batch
    from lipsync_batch.cli.status_text import history_document, history_lines, status_document, status_lines

    found = Batch.find_existing(batch, out=out, state=state)
    if key is not None:
        history = found.history(key)
        document, lines = history_document(history), history_lines(history)
    else:
        glance = found.status()
        document, lines = status_document(glance), status_lines(glance)
    if as_json:
        json.dump(document, sys.stdout, ensure_ascii=False, indent=2)
        click.echo()
        return
    for line in lines:
        click.echo(line)
