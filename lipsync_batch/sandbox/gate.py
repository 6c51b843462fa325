"""What every request to the API passes first: it is counted, its key is looked at, its rate is kept."""

from __future__ import annotations

import time
from collections import Counter, deque

from starlette.requests import Request
from starlette.responses import Response

from lipsync_batch.sandbox.contract import refusal
from lipsync_batch.sandbox.faults import Faults, Rate

LOGS_RATE = Rate(count=200, seconds=60.0)
"""The one limit that the API publishes: of `GET /v2/logs`."""


class SlidingWindow:
    """Instants of the requests of the last so many seconds."""

    def __init__(self) -> None:
        self._instants: deque[float] = deque()

    def fill(self, now: float, seconds: float) -> int:
        """How many requests the window holds."""
        while self._instants and self._instants[0] <= now - seconds:
            self._instants.popleft()
        return len(self._instants)

    def add(self, now: float) -> None:
        self._instants.append(now)

    def wait(self, now: float, rate: Rate) -> float:
        """Seconds until the rate allows another request; 0, and it is counted, if it does already."""
        if self.fill(now, rate.seconds) < rate.count:
            self.add(now)
            return 0.0
        return self._instants[-rate.count] + rate.seconds - now


class Gate:
    """Counts, keys and rates. It never keeps or shows a key."""

    def __init__(self, *, key: str | None) -> None:
        self._key = key
        self._admitted = SlidingWindow()
        self._arrived = SlidingWindow()
        self._logs = SlidingWindow()
        self.counts: Counter[str] = Counter()
        self.admitted = 0
        self.worst = 0
        """The most requests that arrived within one window, whether they were admitted or not."""

    def refuse(self, request: Request, faults: Faults) -> Response | None:
        """The answer for a request that may not pass; None for one that may."""
        now = time.monotonic()
        rate = Rate.parse(faults.rate) if faults.rate else None
        self._arrived.add(now)
        self.worst = max(self.worst, self._arrived.fill(now, rate.seconds if rate else 1.0))
        path = request.url.path
        self.counts[f"{request.method} {path}"] += 1
        if faults.revoked or not self._knows(request):
            return self._refused(401, "Unauthorized: a valid API key is required", path)
        if rate and (wait := self._admitted.wait(now, rate)):
            return self._throttled(path, wait, faults)
        if path == "/v2/logs" and (wait := self._logs.wait(now, LOGS_RATE)):
            return self._throttled(path, wait, faults)
        self.admitted += 1
        return None

    def _knows(self, request: Request) -> bool:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip()
        return scheme.lower() == "bearer" and bool(key) and self._key in (None, key)

    def _throttled(self, path: str, wait: float, faults: Faults) -> Response:
        headers = {"Retry-After": str(int(wait) + 1)} if faults.retry_after else {}
        # The API's own example of a 429 has its status code as a string.
        return self._refused(429, "Too Many Requests", path, headers=headers, as_text=True)

    def _refused(
        self, status: int, message: str, path: str, *, headers: dict[str, str] | None = None, as_text: bool = False
    ) -> Response:
        self.counts[f"refused {status}"] += 1
        return refusal(status, message, path=path, headers=headers, as_text=as_text)
