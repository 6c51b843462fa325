"""`lipsync-batch retry`."""

from __future__ import annotations

from pathlib import Path

import click

from lipsync_batch.cli.options import batch_argument, place_options


@click.command()
@batch_argument
@click.argument("keys", nargs=-1)
@place_options
def retry(batch: Path, keys: tuple[str, ...], *, out: Path | None, state: Path | None) -> None:
    """Take failed jobs of BATCH up again: all, or those with the given KEYS. `run` then goes on with them.

    A job whose generation may still be there is polled again, for nothing. One that was never accepted, or that the
    provider gave up without charging it, is submitted anew.
    """
    from lipsync_batch.batch import Batch

    found = Batch.find_existing(batch, out=out, state=state)
    again = found.retry(keys)
    click.echo(f"{again.polled:,} to be polled again, {again.resubmitted:,} to be submitted again.")
    if again.left:
        click.echo(f"{len(again.left):,} left as they are, since money may have been spent on them:")
        for name in again.left[:20]:
            click.echo(f"  {name}")
    if again.polled or again.resubmitted:
        click.echo(f"Next: lipsync-batch run {found.location.folder.root}")
