"""`lipsync-batch report`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lipsync_batch.cli.options import batch_argument, place_options, where_option

if TYPE_CHECKING:
    from lipsync_batch.batch import Batch


@click.command(short_help="Write the reports again; --client packs a ZIP.")
@batch_argument
@place_options
@where_option
@click.option(
    "--client",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.zip",
    help="Pack the finished videos and a page without costs, ids and errors instead.",
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
def report(
    batch: Path, *, out: Path | None, state: Path | None, where: Mapping[str, str], client: Path | None, open_page: bool
) -> None:
    """Write report.html, report.csv and report.json of BATCH again. Works while a run holds the batch.

    With --where they are about those jobs alone, and have names of their own: report.language-de.html.
    """
    from lipsync_batch.batch import Batch

    if client is not None and open_page:
        raise click.UsageError("--open is about the batch's own page; the client's is in the ZIP")
    found = Batch.find_existing(batch, out=out, state=state)
    if client is not None:
        _pack(found, client, where)
        return
    paths = found.report(where=where)
    for path in (paths.html, paths.csv, paths.json):
        click.echo(path)
    if open_page:
        click.launch(paths.html.as_uri())


def _pack(batch: Batch, client: Path, where: Mapping[str, str]) -> None:
    from lipsync_batch.report.figures import counted

    packed = batch.pack_for_client(client, where=where)
    click.echo(client)
    click.echo(f"{counted(packed.videos, 'video')} packed, with a page: open report.html in it.", err=True)
    if packed.unfinished:
        click.echo(f"{counted(packed.unfinished, 'job')} not done, and so without a video in it.", err=True)
    if packed.suspects:
        click.echo(
            f"Look at {packed.suspects:,} of them before you send it: `status` and report.html say why.", err=True
        )
    if packed.missing:
        hint = "`run` fetches them again, for nothing"
        click.echo(f"{counted(packed.missing, 'finished video')} not in place, and so not packed: {hint}.", err=True)
