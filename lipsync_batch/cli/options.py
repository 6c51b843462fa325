"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lipsync_batch.cli import known

F = TypeVar("F", bound=Callable[..., Any])

BATCH = click.Path(path_type=Path, readable=False)  # what cannot be read is told with the remedy


def batch_argument(function: F) -> F:
    return click.argument("batch", type=BATCH)(function)


def keys_argument(function: F) -> F:
    return click.argument("keys", nargs=-1, shell_complete=known.keys)(function)


def place_options(function: F) -> F:
    """Where the batch is."""
    function = click.option(
        "--state", type=click.Path(path_type=Path, file_okay=False), help="Keep _batch/ below this local folder."
    )(function)
    return click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        help="Batch folder.  [default: out/NAME beside the manifest]",
    )(function)


def provider_option(function: F) -> F:
    return click.option(
        "--provider",
        metavar="NAME",
        shell_complete=known.providers,
        help="Who makes the videos.  [default: as it was begun, else aimlapi]",
    )(function)


def where_option(function: F) -> F:
    return click.option(
        "--where",
        multiple=True,
        callback=_labels,
        shell_complete=known.labels,
        metavar="LABEL=VALUE",
        help="Only jobs with this label; may be given more than once.",
    )(function)


def selection_options(function: F) -> F:
    """Which jobs."""
    function = click.option("--limit", type=click.IntRange(min=1), help="Only the first N unfinished jobs.")(function)
    function = click.option(
        "--only", multiple=True, metavar="GLOB", help="Only jobs whose key fits; may be given more than once."
    )(function)
    return where_option(function)


def pace_options(function: F) -> F:
    """What says how long a run takes, and how far it may go."""
    options = (
        click.option("--rate", help="Requests allowed, as 20/s or 60/m.  [default: learned]"),
        click.option("--budget", help="USD that this batch may cost, over all its runs."),
        click.option("--finish-by", help="Be over by then: 06:00 (the next such hour) or 8h."),
        click.option("--max-in-flight", type=int, help="Generations alive at the provider at once.  [default: 20]"),
        click.option("--typical-seconds", help="How long a generation takes.  [default: learned]"),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _labels(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    labels = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{value!r} is not LABEL=VALUE, such as language=de", ctx, parameter)
        labels[name] = text
    return labels
