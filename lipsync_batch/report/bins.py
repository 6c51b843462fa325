"""Counting values into steps, however many values come and however far apart they lie."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


class Bins:
    """Sums by steps of equal width, the finest of a ladder that holds everything in `limit` steps.

    Each width of the ladder divides the next one, so that going up a rung only merges neighbours and nothing counted
    before becomes wrong. Memory is bounded by `limit`.
    """

    def __init__(self, ladder: Sequence[int], limit: int) -> None:
        assert all(wide % narrow == 0 for narrow, wide in pairwise(ladder))
        self._ladder = ladder
        self._limit = limit
        self._rung = 0
        self.sums: dict[int, int] = {}
        """Step number → sum. Step `n` reaches from `n * width` up to and without `(n + 1) * width`."""

    @property
    def width(self) -> int:
        return self._ladder[self._rung]

    def add(self, value: float, amount: int = 1) -> None:
        step = int(value // self.width)
        self.sums[step] = self.sums.get(step, 0) + amount
        while len(self.sums) > self._limit and self._rung + 1 < len(self._ladder):
            self._climb()

    def at_width(self, width: int) -> dict[int, int]:
        """The sums by steps of a width of the ladder that is no finer than the present one, in order."""
        return _merged(self.sums, width // self.width)

    def coarse(self, steps: int, *, up_to: float) -> int:
        """The finest width of the ladder, from the present one on, that reaches `up_to` in so many steps."""
        widths = self._ladder[self._rung :]
        return next((width for width in widths if up_to / width <= steps), widths[-1])

    def _climb(self) -> None:
        factor = self._ladder[self._rung + 1] // self.width
        self._rung += 1
        self.sums = _merged(self.sums, factor)


def _merged(sums: dict[int, int], factor: int) -> dict[int, int]:
    merged: dict[int, int] = {}
    for step in sorted(sums):
        merged[step // factor] = merged.get(step // factor, 0) + sums[step]
    return merged
