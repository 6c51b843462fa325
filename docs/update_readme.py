"""Writes what the README and `docs/` show of the program anew: python docs/update_readme.py

A block begins with `<!-- generated: NAME -->` and ends with `<!-- end -->`. NAME is a command (`run --help`), the
beginning of one's help (`run --help, first options`), or a table of `reference`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from click.testing import CliRunner

from lipsync_batch.cli import cli

sys.path.insert(0, str(Path(__file__).parent))
from reference import GENERATED

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z, -]+) -->\n).*?(<!-- end -->)", re.DOTALL)
FIRST = ", first options"


def updated(text: str) -> str:
    """A page with every generated block as it is today."""
    return BLOCK.sub(lambda match: f"{match[1]}{_content(match['name'])}\n{match[3]}", text)


def _content(name: str) -> str:
    if name in GENERATED:
        return GENERATED[name]()
    command = name.removesuffix(FIRST)
    output = CliRunner().invoke(cli, command.split(), prog_name="lipsync-batch").output
    shown = "\n".join(line.rstrip() for line in output.rstrip().splitlines())
    if command != name:
        usage, first = shown.split("\n\n")[0], shown[shown.index("\nThe six") :].split("\n\n")[0]
        shown = f"{usage}\n{first}\n..."
    return f"```console\n$ lipsync-batch {command}\n{shown}\n```"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(updated(page.read_text(encoding="utf-8")), encoding="utf-8")
