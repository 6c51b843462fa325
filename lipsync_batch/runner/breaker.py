"""After three troubles in a row no more is submitted until the service answers a plain GET again.

It closes one submit at a time: after an outage the first submit goes alone.
"""

from __future__ import annotations

from lipsync_batch.clock import Clock

TROUBLES = 3
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


class Breaker:
    """Closed: submits flow. Open: only probes go out, ever more seldom. Half open: one submit at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._troubles = 0
        self._pause = FIRST_PAUSE
        self._half_open = False
        self.open_since: float | None = None
        self.probe_at = 0.0

    @property
    def is_open(self) -> bool:
        return self.open_since is not None

    def allows(self, on_the_wire: int) -> bool:
        """Whether a submit may leave, given how many are unanswered."""
        if self.is_open:
            return False
        return not self._half_open or on_the_wire == 0

    def trouble(self) -> bool:
        """A submit met silence or a broken service. True when that opened the breaker."""
        self._troubles += 1
        if self.is_open or (self._troubles < TROUBLES and not self._half_open):
            return False
        self.open_since = self._clock.now()
        self._schedule()
        return True

    def open_at_once(self) -> bool:
        """What every submit needs does not answer. True when that opened the breaker."""
        self._troubles = TROUBLES
        return self.trouble()

    def success(self) -> None:
        """A submit was answered as it should be."""
        self._troubles = 0
        self._half_open = False
        self._pause = FIRST_PAUSE

    def probe_due(self) -> bool:
        return self.is_open and self._clock.now() >= self.probe_at

    def probe_failed(self) -> None:
        self._schedule()

    def probe_answered(self) -> None:
        """The service is back: let one submit through."""
        self.open_since = None
        self._half_open = True
        self._troubles = 0

    def _schedule(self) -> None:
        self.probe_at = self._clock.now() + self._pause
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
