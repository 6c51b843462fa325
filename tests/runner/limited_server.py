"""A provider that counts requests in a sliding window, as far as a throttle can tell."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass
class LimitedServer:
    """Takes `count` requests in any `seconds`; what it refuses it does not count."""

    count: int
    seconds: float = 1.0
    admitted: deque[float] = field(default_factory=deque)
    arrivals: list[tuple[float, bool]] = field(default_factory=list)
    """When each request arrived, and whether it was taken."""

    def takes(self, now: float) -> bool:
        while self.admitted and self.admitted[0] <= now - self.seconds:
            self.admitted.popleft()
        taken = len(self.admitted) < self.count
        if taken:
            self.admitted.append(now)
        self.arrivals.append((now, taken))
        return taken

    def taken(self, start: float = 0.0, end: float = float("inf")) -> int:
        return sum(taken for at, taken in self.arrivals if start <= at < end)

    def refused_share(self, start: float = 0.0, end: float = float("inf")) -> float:
        answers = [taken for at, taken in self.arrivals if start <= at < end]
        return 1.0 - sum(answers) / max(1, len(answers))
