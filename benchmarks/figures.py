"""What a benchmark hands back: figures with their targets, and notes. Pure data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One thing that was measured once."""

    what: str
    """The same in every run, so that runs can be put side by side."""
    value: float
    unit: str = ""
    """Shown behind the value: `%`, `s`, `MiB`, `/s`; nothing for a ratio."""
    at_most: float | None = None
    at_least: float | None = None
    beside: Mapping[str, float] = field(default_factory=dict)
    """The same figure of what one would use instead, measured in the same run, by its name."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something to be read below the table, such as a curve."""

    text: str


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: all of it, or just so much that every step is made once."""

    quick: bool = False

    def pick(self, full: int, quick: int) -> int:
        return quick if self.quick else full


Measure = Callable[[Size], Iterator[Figure | Note]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """Some figures that are measured together."""

    name: str
    claim: str
    """What is said of the program, for the table's first column."""
    measure: Measure
    limit: float
    """Seconds after which a run of it is given up."""


class FailedError(Exception):
    """The thing that was to be measured did not do what it should: there is no figure."""
