"""`lipsync-batch resolve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lipsync_batch import exits
from lipsync_batch.cli.options import batch_argument, keys_argument, place_options

if TYPE_CHECKING:
    from lipsync_batch.resolving import Resolved

SHOWN = 20


@click.command(short_help="Find out what became of unclear jobs.")
@batch_argument
@keys_argument
@place_options
@click.option("--adopt", metavar="ID", help="This is the generation that the job's submit started: poll it.")
@click.option("--resubmit", is_flag=True, help="Send again. What was accepted after all is then paid for twice.")
@click.option("--give-up", is_flag=True, help="Look no more: failed, until `retry --pay-again`.")
@click.option("--resolve-for", help="Look for so long.  [default: 2m]")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@click.pass_context
def resolve(
    ctx: click.Context,
    /,
    batch: Path,
    keys: tuple[str, ...],
    *,
    out: Path | None,
    state: Path | None,
    adopt: str | None,
    resubmit: bool,
    give_up: bool,
    yes: bool,
    **settings: Any,
) -> None:
    """Find out what became of unclear jobs of BATCH: all, or those with the given KEYS.

    They are looked up in the provider's log, and adopted if it names them. That it does not name them proves nothing:
    then a person decides, with what the provider's own pages show.
    """
    from lipsync_batch.batch import Batch

    interactive = sys.stdin.isatty() and sys.stderr.isatty() and not yes
    found = Batch.find_existing(batch, out=out, state=state, flags=settings)
    resolved = found.resolve(
        keys,
        adopt=adopt,
        resubmit=resubmit,
        give_up=give_up,
        confirm=(lambda question: click.confirm(question, err=True)) if interactive else (lambda _: True),
    )
    folder = found.location.folder.root
    _tell(resolved, folder, resubmit=resubmit)
    ctx.exit(exits.LOOK if resolved.left else exits.DONE)


def _tell(resolved: Resolved, folder: Path, *, resubmit: bool) -> None:
    from lipsync_batch.report.advice import command
    from lipsync_batch.ui.lines import plain

    for key, generation_id in resolved.adopted:
        click.echo(plain(f"{key}: accepted as {generation_id}; `run` fetches it"))
    for key, generation_id in resolved.found_late:
        click.echo(plain(f"{key}: what was written off was accepted after all, as {generation_id}"))
    if resolved.found_late:
        click.echo(f"{command('retry', folder)} fetches those that were given up, for nothing.")
    if resolved.moved and resubmit:
        click.echo(f"{len(resolved.moved):,} to be sent again: what was accepted after all is paid for twice.")
    elif resolved.moved:
        click.echo(
            f"{len(resolved.moved):,} given up. {command('retry', folder, 'KEY', '--pay-again')} submits one anew."
        )
    if resolved.denied is not None:
        click.echo(plain(f"The provider's log cannot be read with this key: {resolved.denied}"))
    if resolved.left:
        _tell_left(resolved, folder)
    elif not (resolved.adopted or resolved.moved or resolved.found_late):
        click.echo("Nothing is unclear.")
    if resolved.adopted or (resolved.moved and resubmit):
        click.echo(f"Next: {command('run', folder)}")


def _tell_left(resolved: Resolved, folder: Path) -> None:
    from lipsync_batch.report.advice import by_hand
    from lipsync_batch.ui.lines import plain

    names = ", ".join(resolved.left[:SHOWN]) + (", ..." if len(resolved.left) > SHOWN else "")
    click.echo(plain(f"{len(resolved.left):,} still unclear: {names}"))
    if resolved.denied is None:
        click.echo("The log does not name them, which proves nothing: it may be late. Look again, or decide by hand:")
    for step in by_hand(folder):
        click.echo(f"  {step.command}   # {step.text}")
