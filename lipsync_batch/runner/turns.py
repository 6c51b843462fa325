"""Whose turn it is to be submitted: pending pairs in order, a page at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

from lipsync_batch.store.lane_reads import Turn


class Turns:
    """The next pending pairs. While jobs.db is known to hold no more of them, it is not asked again."""

    def __init__(self, read: Callable[[Collection[str]], Sequence[Turn]]) -> None:
        """`read` gives the next page, without the pairs that it is told to leave out."""
        self._read = read
        self._page: deque[Turn] = deque()
        self._read_all = False
        """Nothing is pending but what was left out the last time."""

    def grew(self) -> None:
        """A pair became pending again, or one that was left out need not be any more."""
        self._read_all = False

    def read_anew(self) -> None:
        """What is in the page may not be next any more."""
        self._page.clear()
        self.grew()

    def next(self, *, busy: Collection[str], last: Collection[str] = ()) -> Turn | None:
        """The pair whose turn it is; None where none is pending but the `busy` ones. Those of `last` come last."""
        if not self._page and not self._read_all:
            self._page.extend(self._read([*busy, *last]))
            if not self._page and last:
                self._page.extend(self._read(busy))
            self._read_all = not self._page
        return self._page[0] if self._page else None

    def take(self) -> Turn:
        """The pair that `next` named has its turn now."""
        return self._page.popleft()
