"""`lipsync-batch run`."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import click

from lipsync_batch.cli import say
from lipsync_batch.cli.headings import Headed
from lipsync_batch.cli.options import batch_argument, place_options, provider_option, where_option

HEADINGS = {
    "The six that matter first": ("out", "sandbox", "rate", "budget", "finish_by", "where"),
    "Which jobs": ("only", "limit", "retry_failed", "collect_only", "skip_invalid"),
    "Care": ("dry_run", "by", "json", "remake", "yes", "check", "verify"),
    "Tuning": ("provider", "max_in_flight", "downloads", "typical_seconds", "patience", "resolve_for"),
    "Where things go": ("state", "store", "dask"),
    "Who is told": ("notify", "metrics"),
    "What is shown": ("events", "quiet", "verbose"),
}


@click.command(cls=Headed, headings=HEADINGS)
@batch_argument
@place_options
@click.option("--sandbox", is_flag=True, help="Rehearse against a local server; nothing is paid.")
@click.option("--rate", help="Requests allowed, as 20/s or 60/m.  [default: learned]")
@click.option("--budget", help="USD that this batch may cost, over all its runs.")
@click.option("--finish-by", help="Be over by then: 06:00 (the next such hour) or 8h.")
@where_option
@click.option("--only", multiple=True, metavar="GLOB", help="Only jobs whose key fits; may be given more than once.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N unfinished jobs.")
@provider_option
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done; the same as `plan`.")
@click.option("--by", metavar="LABEL", help="With --dry-run: counts and cost for each value of a label.")
@click.option("--json", is_flag=True, help="With --dry-run: one JSON document on stdout.")
@click.option("--retry-failed", is_flag=True, help="Take failed jobs up again first, as `retry` does.")
@click.option("--collect-only", is_flag=True, help="Submit nothing; fetch what was paid for.")
@click.option("--skip-invalid", is_flag=True, default=None, help="Go on without the rows that are wrong.")
@click.option("--max-in-flight", type=int, help="Generations alive at the provider at once.  [default: 20]")
@click.option("--downloads", type=int, help="Files fetched at once.  [default: 4]")
@click.option("--store", metavar="URL", help="Put the videos into object storage, as s3://bucket/folder.")
@click.option("--dask", metavar="ADDRESS", help="Fetch by a cluster: tcp://scheduler:8786, or local:4 to try it.")
@click.option("--typical-seconds", help="How long a generation takes.  [default: learned]")
@click.option(
    "--patience", help="End when only work over an hour old is left and nothing moves so long.  [default: 1h]"
)
@click.option("--resolve-for", help="Look unclear submits up for so long once all else is done.  [default: 2m]")
@click.option("--check", type=click.Choice(["media", "size"]), help="How a finished file is checked.  [default: media]")
@click.option("--verify", is_flag=True, help="Read finished files again and compare their checksums.")
@click.option("--remake", is_flag=True, help="Yes, make and pay for many finished videos anew.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@click.option("--notify", multiple=True, metavar="URL", help="Tell of the end by apprise, as mailto://...; repeatable.")
@click.option("--metrics", type=click.Path(path_type=Path), metavar="FILE", help="Keep figures there for Prometheus.")
@click.option("--events", is_flag=True, help="JSON events on stdout, one a line.")
@click.option("-q", "--quiet", is_flag=True, help="Problems only.")
@click.option("-v", "--verbose", is_flag=True, help="A line at every step.")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    batch: Path,
    *,
    out: Path | None,
    state: Path | None,
    sandbox: bool,
    where: dict[str, str],
    only: tuple[str, ...],
    limit: int | None,
    dry_run: bool,
    by: str | None,
    json: bool,
    retry_failed: bool,
    collect_only: bool,
    verify: bool,
    remake: bool,
    yes: bool,
    notify: tuple[str, ...],
    metrics: Path | None,
    dask: str | None,
    events: bool,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> None:
    """Submit every unfinished job of BATCH and download the results.

    Run it again at any time: it goes on where it was, and pays for nothing twice.
    """
    if dry_run:
        from lipsync_batch.cli.plan import plan

        place = {"out": out, "state": state, "sandbox": sandbox}
        selected = {"where": where, "only": only, "limit": limit}
        taken = {"collect_only": collect_only, "retry_failed": retry_failed, "by": by, "as_json": json}
        ctx.invoke(plan, batch=batch, **place, **selected, **taken, **settings)
        return
    if by or json:
        raise click.UsageError("--by and --json say how a plan is shown: they go with --dry-run", ctx)
    from lipsync_batch.batch import Batch
    from lipsync_batch.clock import Clock
    from lipsync_batch.jobs import Selection
    from lipsync_batch.session import Orders
    from lipsync_batch.ui.lines import view

    interactive = sys.stdin.isatty() and sys.stderr.isatty() and not yes
    orders = Orders(
        selection=Selection(where=where, only=only, limit=limit),
        collect_only=collect_only,
        retry_failed=retry_failed,
        verify=verify,
        remake=remake or yes,
        anew=remake,
        confirm=_ask if interactive else None,
        notify=notify,
        metrics=metrics,
        dask=dask,
    )
    job = Batch.find(batch, out=out, state=state, sandbox=sandbox, flags=settings)
    _collect_garbage_seldom()
    with view(events=events, quiet=quiet, verbose=verbose, clock=Clock()) as shown:
        outcome = job.run(orders, listeners=shown.listeners, say=shown.say)
    if not events:
        say(outcome.summary)
    ctx.exit(outcome.exit_code)


def _collect_garbage_seldom() -> None:
    """What is loaded by now stays, and a run makes few cycles: looking for them took some three percent of its time."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _ask(question: str) -> bool:
    return click.confirm(question, err=True)
