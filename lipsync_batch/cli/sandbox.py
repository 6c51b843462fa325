"""lipsync-batch sandbox: a local server of the same API that makes real videos."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from lipsync_batch.errors import MissingExtraError, UsageError
from lipsync_batch.sandbox.faults import FaultError, Faults, Kind, Rate, Timing

Command = Callable[..., None]


class RateType(click.ParamType[str]):
    """20/s or 60/m, kept as it is written."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            Rate.parse(value)
        except FaultError as error:
            self.fail(str(error), param, ctx)
        return str(value)


TYPES: dict[Kind, click.ParamType[Any]] = {
    Kind.CHANCE: click.FloatRange(0, 1),
    Kind.COUNT: click.IntRange(0),
    Kind.SECONDS: click.FloatRange(0),
    Kind.USD: click.FloatRange(0),
    Kind.RATE: RateType(),
}


def fault_options(command: Command) -> Command:
    """An option for each switch of `Faults`, in its words."""
    for switch in reversed(fields(Faults)):
        flag, kind = "--" + switch.name.replace("_", "-"), switch.metadata["kind"]
        if kind is Kind.SWITCH:
            option = click.option(flag, is_flag=True, help=switch.metadata["help"])
        else:
            shown = switch.default is not None
            option = click.option(
                flag, type=TYPES[kind], default=switch.default, show_default=shown, help=switch.metadata["help"]
            )
        command = option(command)
    return command


@click.command(short_help="Serve the same API on this machine.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; any key may spend there.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free one.  [default: 0]")
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="What was accepted.  [default: temporary]"
)
@click.option("--key", help="The only key that is let in.  [default: any]")
@click.option("--price", type=click.FloatRange(0), default=0.24, show_default=True, help="USD a generation.")
@click.option("--log-lag", type=click.FloatRange(0), default=2.0, show_default=True, help="Seconds until logs show it.")
@click.option(
    "--median",
    type=click.FloatRange(0),
    default=34.0,
    show_default=True,
    help="Middle of the generation times, seconds.",
)
@click.option(
    "--spread", type=click.FloatRange(0, 3), default=0.3, show_default=True, help="Deviation of their logarithm."
)
@click.option(
    "--speed-up", type=click.FloatRange(0, min_open=True), default=20.0, show_default=True, help="Divides the times."
)
@click.option("--instant-media", is_flag=True, help="Every result is the same test card: no rendering, for load tests.")
@click.option("--body-limit", type=click.IntRange(1), help="Answer 413 to a body over this many bytes.")
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True, help="Renders at a time.")
@click.option("--seed", type=int, default=1, show_default=True, help="Times and faults repeat with it.")
@click.option("--with-parent", is_flag=True, help="Stop when stdin ends.")
@fault_options
def sandbox(
    *,
    host: str,
    port: int,
    data: Path | None,
    key: str | None,
    price: float,
    log_lag: float,
    median: float,
    spread: float,
    speed_up: float,
    instant_media: bool,
    body_limit: int | None,
    workers: int,
    seed: int,
    with_parent: bool,
    **faults: Any,
) -> None:
    """Serve the same API on this machine, with real videos and made-up money.

    Prints {"sandbox": "http://127.0.0.1:PORT"} when it is ready. Point AIMLAPI_BASE_URL at it, or let
    `lipsync-batch run --sandbox` start one by itself. Nothing leaves the machine: links to media must lead to it, too.

    What can go wrong is switched on below: chances from 0 to 1, the same for the same seed. All of it can be
    changed while it runs (PUT /_sandbox/faults), and what happened be asked (GET /_sandbox/stats).
    """
    try:
        from lipsync_batch.sandbox.backend import Options
        from lipsync_batch.sandbox.server import FolderHeldError, serve
    except ImportError as error:
        raise MissingExtraError("The sandbox", "sandbox") from error
    with ExitStack() as stack:
        folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lipsync-sandbox-")))
        options = Options(
            folder=folder.absolute(),
            key=key,
            price=round(price * 1_000_000),
            log_lag=log_lag,
            timing=Timing(median=median, spread=spread, speed_up=speed_up),
            instant_media=instant_media,
            body_limit=body_limit,
            workers=workers,
            seed=seed,
        )
        try:
            serve(options, Faults(**faults), host=host, port=port, with_parent=with_parent)
        except (FolderHeldError, OSError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            hint = (
                "Leave --port away, and it takes a free one." if taken else "Choose another --host, --port or --data."
            )
            raise UsageError(f"the sandbox cannot start: {error}", hint=hint) from error
