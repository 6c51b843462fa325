"""The command line: one module a command; parse, call the library, print.

Commands are imported when they are called, and heavy libraries where they are used, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import pairwise
from typing import NoReturn, TextIO

import click

from lipsync_batch import exits
from lipsync_batch.errors import LipsyncBatchError
from lipsync_batch.version import VERSION

COMMANDS = (
    *("init", "run", "plan", "status", "retry", "redo", "resolve", "report", "rebuild"),
    *("sandbox", "schema", "completion"),
)
LEFT_BEHIND = ("download", "store", "links")
"""What threads are called that may hang in what they asked of a server."""


class Group(click.Group):
    """Commands by name of their module; expected errors as `Error:` and `Hint:` with their own exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"lipsync_batch.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, and for a manifest where a command should stand, the command that was meant."""
        typed = args[0] if args else ""
        if typed and typed not in COMMANDS and not typed.startswith("-"):
            close = get_close_matches(typed, COMMANDS, 1)
            meant = f"run {typed}" if os.path.exists(typed) else close[0] if close else "--help"  # noqa: PTH110 - as typed
            ctx.fail(f"No such command {typed!r}. Did you mean `lipsync-batch {meant}`?")
        return super().resolve_command(ctx, args)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="lipsync-batch")
def cli() -> None:
    """Hosted lip-sync in bulk: a manifest in, finished videos and a report out, each paid for once.

    BATCH is a manifest (YAML, CSV or JSONL) or the batch folder that was made for it.
    """


def main() -> NoReturn:
    """The console script: expected errors for people, bugs with their traceback, and the documented exit codes."""
    _open_closed_streams()
    _leave(_main())


def _open_closed_streams() -> None:
    """Some who start programs close what they do not use; the next file to be opened, jobs.db say, would stand there.

    Then whatever is printed would go into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            stream = os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)
            setattr(sys, name, stream)


def _main() -> int:
    try:
        code = cli.main(prog_name="lipsync-batch", standalone_mode=False)
    except LipsyncBatchError as error:
        show(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted; run the same command again to go on.", err=True)
        return exits.INTERRUPTED
    except BrokenPipeError:
        _mute(sys.stdout)
        return exits.LOOK
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return _bug()
        # Only what is printed has no name: the disk of whoever keeps our output is full. What was done is done.
        _mute(sys.stdout)
        return exits.LOOK
    except ExceptionGroup as group:  # out of the lanes of a run
        told = _foreseen(group)
        if told is None:
            return _bug()
        show(told)
        return told.exit_code
    except Exception:  # noqa: BLE001 - the last line of defence: a bug is shown whole, with its own exit code
        return _bug()
    return code if isinstance(code, int) else exits.DONE


def _foreseen(group: ExceptionGroup[Exception]) -> LipsyncBatchError | None:
    """The first error of a group in which there is nothing but errors that are told; else None."""
    _, bugs = group.split(LipsyncBatchError)
    first: Exception = group
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first if bugs is None and isinstance(first, LipsyncBatchError) else None


def _bug() -> int:
    click.echo(_without_secrets(traceback.format_exc()), err=True)
    click.echo("Error: this is a bug in lipsync-batch. Nothing paid for is lost: run the command again.", err=True)
    return exits.BUG


def _without_secrets(trace: str) -> str:
    """A traceback as it may be shown: its last line may quote a request."""
    from lipsync_batch.masking import MOST, mask
    from lipsync_batch.settings import secrets_of

    return mask(trace, secrets=secrets_of(os.environ, _notified(sys.argv)), limit=MOST)


def _notified(arguments: Sequence[str]) -> list[str]:
    """Every address that stands after --notify."""
    after = [value for option, value in pairwise(arguments) if option == "--notify"]
    return after + [text.partition("=")[2] for text in arguments if text.startswith("--notify=")]


def show(error: LipsyncBatchError) -> None:
    """An expected error, as people read it."""
    with suppress(OSError):
        click.echo(f"Error: {error}", err=True)
        if error.hint:
            click.echo(f"Hint: {error.hint}", err=True)


def say(text: str) -> None:
    """A result, on stdout. Where its reader has gone, or its disk is full, the exit code still says how it went."""
    try:
        click.echo(text)
    except OSError:
        _mute(sys.stdout)


def _mute(stream: TextIO) -> None:
    """Nothing more can be said there; without this the interpreter tries once more when it ends, and exits with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _mute(stream)
    if any(thread.name.startswith(LEFT_BEHIND) for thread in threading.enumerate()):
        # What hangs in a read was told to stop and left behind: it must not keep the process.
        os._exit(code)
    sys.exit(code)
