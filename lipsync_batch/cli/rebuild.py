"""`lipsync-batch rebuild`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lipsync_batch import exits
from lipsync_batch.cli.options import batch_argument, place_options, provider_option

if TYPE_CHECKING:
    from lipsync_batch.rebuilding import Rebuilt


@click.command()
@batch_argument
@place_options
@click.option("--sandbox", is_flag=True, help="It was a rehearsal.")
@provider_option
@click.option("--store", metavar="URL", help="The object storage that its videos went to, where no file says so.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A copy of run.log, report.json or jobs.db from elsewhere; may be given more than once.",
)
@click.option("--batch-id", metavar="ID", help="Which batch it was, where no file says so.")
@click.option("--skip-invalid", is_flag=True, default=None, help="Go on without the rows that are wrong.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@click.pass_context
def rebuild(
    ctx: click.Context,
    /,
    batch: Path,
    *,
    out: Path | None,
    state: Path | None,
    sandbox: bool,
    sources: tuple[Path, ...],
    batch_id: str | None,
    yes: bool,
    **settings: Any,
) -> None:
    """Make the lost or damaged jobs.db of BATCH again, so that nothing is paid for twice. Submits nothing.

    It is made of the manifest, of run.log and report.json where they are left, and of the provider's own records. What
    was submitted, and is in none of them, is unclear then, and not submitted again. A damaged file is kept aside.
    """
    from lipsync_batch.batch import Batch
    from lipsync_batch.rebuilding import Wishes

    interactive = sys.stdin.isatty() and sys.stderr.isatty() and not yes
    found = Batch.find_lost(batch, out=out, state=state, sandbox=sandbox, flags=settings)
    rebuilt = found.rebuild(
        Wishes(
            sources=sources,
            batch_id=batch_id,
            yes=yes,
            confirm=(lambda question: click.confirm(question, err=True)) if interactive else None,
        ),
        say=lambda text: click.echo(text, err=True),
    )
    _tell(rebuilt, found.location.folder.root)
    ctx.exit(exits.DONE)


def _tell(rebuilt: Rebuilt, folder: Path) -> None:
    from lipsync_batch.jobs import State
    from lipsync_batch.report.advice import command
    from lipsync_batch.report.figures import counted, dollars
    from lipsync_batch.ui.lines import plain

    click.echo(f"Rebuilt the batch {rebuilt.batch_id}: {counted(sum(rebuilt.counts.values()), 'job')}")
    for state, number in rebuilt.counts.items():
        if number:
            click.echo(f"  {state}: {number:,}")
    click.echo(plain(f"Videos: {rebuilt.videos}"))
    if rebuilt.in_place:
        click.echo(f"{counted(rebuilt.in_place, 'video')} in place, as reported; others are fetched again for nothing.")
    if left := sum(rebuilt.left_behind.values()):
        click.echo(f"{counted(left, 'pair')} of rows that are gone: fetched into _batch/superseded/.")
    if rebuilt.settled is not None:
        click.echo(f"Charged by now: {dollars(rebuilt.settled)}")
    for unread in rebuilt.unread:
        click.echo(plain(f"Not read of the provider's records: {unread}"))
    if rebuilt.set_aside is not None:
        click.echo(f"The damaged file is now {rebuilt.set_aside}")
    if rebuilt.counts[State.UNCLEAR]:
        click.echo(f"Unclear ones are looked up by the next run, or by: {command('resolve', folder)}")
    click.echo(f"Next: {command('run', folder)}")
