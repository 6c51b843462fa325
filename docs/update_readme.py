"""Writes what the README shows of `--help` anew: python docs/update_readme.py"""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from lipsync_batch.cli import cli

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"(<!-- generated: (?P<command>[a-z -]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def updated(text: str) -> str:
    """The README with every generated block as it is today."""

    def block(match: re.Match[str]) -> str:
        output = CliRunner().invoke(cli, match["command"].split(), prog_name="lipsync-batch").output
        shown = "\n".join(line.rstrip() for line in output.rstrip().splitlines())
        return f"{match[1]}```console\n$ lipsync-batch {match['command']}\n{shown}\n```\n{match[3]}"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
