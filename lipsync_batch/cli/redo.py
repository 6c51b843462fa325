"""`lipsync-batch redo`."""

from __future__ import annotations

from pathlib import Path

import click

from lipsync_batch.cli.options import batch_argument, keys_argument, place_options, where_option


@click.command(short_help="Have finished jobs made once more.")
@batch_argument
@keys_argument
@place_options
@where_option
@click.option("--reason", required=True, help='What was wrong, such as "lips late"; kept in the history.')
def redo(
    batch: Path, keys: tuple[str, ...], *, out: Path | None, state: Path | None, where: dict[str, str], reason: str
) -> None:
    """Have finished jobs of BATCH made once more, as another take: paid for again in the next `run`.

    Those with the given KEYS, or all finished ones with a label. The old video stays in place until the new one lands,
    and is kept in _batch/superseded/ then.
    """
    from lipsync_batch.batch import Batch
    from lipsync_batch.report.advice import command
    from lipsync_batch.report.figures import counted, dollars

    found = Batch.find_existing(batch, out=out, state=state)
    redone = found.redo(keys, reason=reason, where=where)
    cost = "" if redone.cost is None else f", for about {dollars(redone.cost)}"
    click.echo(f"{counted(redone.pairs, 'video')} to be made and paid for once more{cost}.")
    if keys and (others := [key for key in redone.keys if key not in keys]):
        click.echo(f"These jobs share a video with them, and the new one: {', '.join(others)}")
    click.echo(f"Next: {command('run', found.location.folder.root)}")
