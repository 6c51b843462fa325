"""`lipsync-batch report`."""

from __future__ import annotations

from pathlib import Path

import click

from lipsync_batch.cli.options import batch_argument, place_options


@click.command()
@batch_argument
@place_options
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
def report(batch: Path, *, out: Path | None, state: Path | None, open_page: bool) -> None:
    """Write report.html, report.csv and report.json of BATCH again. Works while a run holds the batch."""
    from lipsync_batch.batch import Batch

    paths = Batch.find_existing(batch, out=out, state=state).report()
    for path in (paths.html, paths.csv, paths.json):
        click.echo(path)
    if open_page:
        click.launch(paths.html.as_uri())
