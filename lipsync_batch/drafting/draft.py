"""A manifest before it is written: its jobs, and what was left out and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

OUTPUT = "{language}/{video.stem}.mp4"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One item of `jobs`: field by field as it is written, templates included."""

    fields: dict[str, str | list[str]]
    """`each` stands for the languages of a grid."""
    jobs: int = 1
    """How many it makes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What a manifest is written from. Paths are relative to its folder."""

    folder: Path
    """Where the manifest belongs."""
    about: str
    """What it was made of, in a line."""
    entries: list[Entry]
    defaults: dict[str, str] = field(default_factory=dict)
    table: tuple[str, str, str | None] | None = None
    """The sheet's file, the column that names its rows, and in a workbook the sheet's name."""
    left_out: list[str] = field(default_factory=list)
    """What no job was made of, each with the reason."""

    @property
    def jobs(self) -> int:
        return sum(entry.jobs for entry in self.entries)


def counted(number: int, what: str) -> str:
    """A count and what is counted: `1 clip`, `2 clips`."""
    return f"{number:,} {what}{'s' * (number != 1)}"
