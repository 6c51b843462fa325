"""`lipsync-batch retry`."""

from __future__ import annotations

from pathlib import Path

import click

from lipsync_batch.cli.options import batch_argument, keys_argument, place_options, where_option


@click.command(short_help="Take failed jobs up again.")
@batch_argument
@keys_argument
@place_options
@where_option
@click.option("--pay-again", is_flag=True, help="Submit the given KEYS anew, although they may have been paid for.")
def retry(
    batch: Path,
    keys: tuple[str, ...],
    *,
    out: Path | None,
    state: Path | None,
    where: dict[str, str],
    pay_again: bool,
) -> None:
    """Take failed jobs of BATCH up again: all, or those with the given KEYS. `run` then goes on with them.

    A job whose generation may still be there is polled again, for nothing. One that was never accepted, or that the
    provider gave up without charging it, is submitted anew.
    """
    from lipsync_batch.batch import Batch
    from lipsync_batch.report.advice import command

    found = Batch.find_existing(batch, out=out, state=state)
    again = found.retry(keys, where=where, pay_again=pay_again)
    folder = found.location.folder.root
    if not (again.polled or again.resubmitted or again.paid_again or again.left):
        click.echo("None of them has failed: nothing was changed.")
        return
    click.echo(f"{again.polled:,} to be polled again, {again.resubmitted:,} to be submitted again.")
    if again.paid_again:
        click.echo(f"{again.paid_again:,} to be submitted anew, and paid for again.")
    if again.left:
        click.echo(f"{len(again.left):,} left as they are, since money may have been spent on them:")
        for name in again.left[:20]:
            click.echo(f"  {name}")
        click.echo(f"To pay for one again: {command('retry', folder, 'KEY', '--pay-again')}")
    if again.polled or again.resubmitted or again.paid_again:
        click.echo(f"Next: {command('run', folder)}")
