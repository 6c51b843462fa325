"""What runs of one account share, where there is nobody to share it with: a memory that ends with the process.

A run has one where the file of its account cannot be used, or where it is about a limit that is no other's.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol


class Memory(Protocol):
    """What a run keeps of its account's requests. `AccountMemory` is the one that is shared, in a file."""

    def exclusive(self) -> AbstractContextManager[None]: ...
    def join(self, *, now: float, limit: tuple[int, float] | None) -> None: ...
    def leave(self, now: float) -> None: ...
    def others(self) -> int: ...
    def bury_the_dead(self, now: float) -> None: ...
    def strictest_limit(self) -> tuple[int, float] | None: ...
    def took(self, requests: int) -> None: ...
    def answered(self, requests: int, *, at: float) -> None: ...
    def count(self, requests: int, *, at: float) -> None: ...
    def counted_since(self, instant: float, *, now: float) -> int: ...
    def arrivals_since(self, instant: float) -> Iterator[tuple[float, int]]: ...
    def recall(self, name: str) -> dict[str, Any] | None: ...
    def remember(self, name: str, value: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


class LoneMemory:
    """The memory of one run alone."""

    def __init__(self) -> None:
        self._limit: tuple[int, float] | None = None
        self._unanswered = 0
        self._answered: list[tuple[float, int]] = []
        """(by when they had arrived, how many), oldest first."""
        self._learned: dict[str, dict[str, Any]] = {}

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()

    def join(self, *, now: float, limit: tuple[int, float] | None) -> None:  # noqa: ARG002 - nobody was here before
        self._limit = limit

    def leave(self, now: float) -> None: ...

    def others(self) -> int:
        return 0

    def bury_the_dead(self, now: float) -> None: ...

    def strictest_limit(self) -> tuple[int, float] | None:
        return self._limit

    def took(self, requests: int) -> None:
        self._unanswered += requests

    def answered(self, requests: int, *, at: float) -> None:
        self._unanswered -= requests
        self.count(requests, at=at)

    def count(self, requests: int, *, at: float) -> None:
        if self._limit is not None:  # else nobody asks
            insort(self._answered, (at, requests))

    def counted_since(self, instant: float, *, now: float) -> int:  # noqa: ARG002 - older ones are asked after no more
        del self._answered[: self._first_after(instant)]
        return self._unanswered + sum(requests for _, requests in self._answered)

    def arrivals_since(self, instant: float) -> Iterator[tuple[float, int]]:
        return iter(self._answered[self._first_after(instant) :])

    def _first_after(self, instant: float) -> int:
        return bisect_right(self._answered, instant, key=lambda arrival: arrival[0])

    def recall(self, name: str) -> dict[str, Any] | None:
        return self._learned.get(name)

    def remember(self, name: str, value: Mapping[str, Any]) -> None:
        self._learned[name] = dict(value)

    def close(self) -> None: ...
