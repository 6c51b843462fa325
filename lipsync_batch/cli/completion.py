"""`lipsync-batch completion`."""

from __future__ import annotations

import click


@click.command(short_help="Print what a shell needs to complete commands.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options and files.

    For good, in ~/.bashrc or ~/.zshrc: eval "$(lipsync-batch completion bash)". For fish:
    lipsync-batch completion fish > ~/.config/fish/completions/lipsync-batch.fish
    """
    from click.shell_completion import get_completion_class

    from lipsync_batch.cli import cli

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "lipsync-batch", "_LIPSYNC_BATCH_COMPLETE").source())
