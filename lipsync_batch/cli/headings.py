"""Options under headings: what a newcomer needs first stands first in `--help`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


class Headed(click.Command):
    """A command that shows its options under headings; what none of them names, `--help` say, ends the last one."""

    def __init__(self, *args: Any, headings: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        """`headings` names the options under each, in their order, by the names of their parameters."""
        super().__init__(*args, **kwargs)
        self.headings = headings

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shown = {
            parameter.name: record
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None
        }
        width = max(len(option) for option, _ in shown.values())
        sections = {heading: [shown.pop(name) for name in names] for heading, names in self.headings.items()}
        sections[list(sections)[-1]] += shown.values()
        for heading, options in sections.items():
            with formatter.section(heading):
                # Each section measures its first column by itself; padded, they line up.
                formatter.write_dl([(option.ljust(width), text) for option, text in options])
