"""The rate that no one has named: found by doubling until the first refusal, then kept close below it. Pure.

Additive increase and multiplicative decrease alone would on average leave a quarter of the account's rate unused. So
the way back to the rate of the last refusal is that of CUBIC (RFC 9438): steep at first, flat around that rate, then
ever steeper, in case there is more now. Requests are spaced evenly: whatever window the provider counts in, none of its
parts is fuller than the others.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

LEARNED = "pace"
"""The name under which an account's runs remember it, where no rate was given."""
FIRST = 8.0
LOWEST = 0.02
HIGHEST = 10_000.0
DOUBLED_AFTER = 0.5
"""Seconds at one rate before it is doubled."""
DEPTH = 0.1
"""The share by which a refusal lowers the rate that it met."""
HEADROOM = 0.98
"""The ceiling, as a share of the rate that was refused: around it the rate stays for longest."""
OVERSHOT = 0.75
"""Where the limit is likely to be after a doubling went past it: half-way between the last rate and this one."""
PLATEAU_SECONDS = 6.0
PLATEAU_REQUESTS = 60.0
"""So long, and so many requests, pass until the rate is again what it was at the last refusal: they are its price."""
FEW = 5.0
"""Requests since the last cut; refused again within them, the rate was more than a little too high."""
LONG_ROW = 3
"""Refusals in a row from which on it was far too high."""
ECHO = 1.0
"""Seconds after a cut in which further refusals are of the same excess: the provider's window is still full."""
CATCH_UP = 0.02
"""Seconds by which a request may be late without a later one having to be."""
SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = 20.0
FARTHEST_GATE = 3_600.0 + LONGEST_PAUSE
"""A Retry-After is believed up to an hour."""
ANSWER_SECONDS = 5.0
"""So long the answer to a single try is waited for before there is another one."""
PROOF = 30.0
"""So many requests that were taken say how many may be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast requests may follow each other. Instants in seconds of one clock."""

    per_second: float | None = FIRST
    """None: nothing limits it but a rate that was given."""
    ceiling: float | None = None
    """About where the provider refused; None before the first refusal, while the rate is doubled."""
    depth: float = DEPTH
    spent: float = 0.0
    """Seconds in which the rate was used to the full since it was cut (or doubled)."""
    next_at: float = 0.0
    cut_at: float = float("-inf")
    closed_at: float = float("-inf")
    """When the last refusal came that was news."""
    opens_at: float = float("-inf")
    """The gate: after a refusal nothing leaves before this."""
    pause: float = 0.0
    """How long the gate was closed the last time; 0 once a request was taken since."""
    row: int = 0
    """Refusals since a request was taken, without those of what had left before anyone knew."""
    refused_at: float = 0.0
    """When the first of them came."""
    since: float | None = None
    """When the provider began to take requests again after it last refused one; None before the first."""
    sent: float = 0.0
    """Requests since then, without those that were tries at a closed window."""

    @classmethod
    def read(cls, known: dict[str, Any] | None, *, now: float) -> Self | None:
        """From what was remembered; None where that cannot be. Instants from before its last start are left out."""
        if known is None or known.keys() != {field.name for field in fields(cls)}:
            return None
        pace = cls(**known)
        farthest = now + LONGEST_PAUSE + (2.0 / pace.per_second if pace.per_second else 0.0)
        if pace.cut_at > now or pace.next_at > farthest or pace.opens_at > now + FARTHEST_GATE:
            never = float("-inf")
            return replace(pace, cut_at=never, closed_at=never, opens_at=never, next_at=now, pause=0.0, row=0)
        return pace

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def wait(self, now: float) -> float:
        """Seconds until the next request may leave."""
        return max(0.0, self.opens_at - now, self.next_at - now if self.per_second is not None else 0.0)

    def spend(self, requests: int, now: float, *, most: float | None = None) -> Pace:
        """After so many requests have left. The rate grows as far as it is used; beyond `most` it limits nothing."""
        if self.per_second is None:
            return self
        spacing = 1.0 / self.per_second
        late = now - self.next_at
        next_at = max(self.next_at, now - max(CATCH_UP, spacing / 2.0)) + requests * spacing
        pace = replace(self, next_at=next_at, since=now if self.since is None else self.since)
        if self.row:  # a single request tries whether that is over, and its answer is waited for
            return replace(pace, opens_at=now + max(ANSWER_SECONDS, self.pause))
        pace = replace(pace, sent=self.sent + requests)
        if late > 2.0 * spacing + CATCH_UP:
            return pace  # nobody was waiting: whether more is possible was not tried
        return pace._grown(self.spent + requests * spacing, most)

    def _grown(self, spent: float, most: float | None) -> Pace:
        if self.ceiling is None:
            assert self.per_second is not None
            if spent < DOUBLED_AFTER:
                return replace(self, spent=spent)
            return replace(self, per_second=min(HIGHEST, self.per_second * 2.0), spent=0.0)
        plateau = max(PLATEAU_SECONDS, PLATEAU_REQUESTS / self.ceiling)
        rate = self.ceiling * (1.0 + self.depth * ((spent - plateau) / plateau) ** 3)
        if most is not None and rate >= most:
            return replace(self, per_second=None, ceiling=None, spent=0.0)
        return replace(self, per_second=min(HIGHEST, max(LOWEST, rate)), spent=spent)

    def refused(self, now: float, *, left_at: float, retry_after: float | None, given: float | None = None) -> Pace:
        """After a refusal of a request that left then: slower, and a pause, which is longer each time in a row.

        `given` is the rate that was being kept, in requests a second, where one was given.
        """
        if left_at <= self.closed_at:  # it had left before anyone knew
            return replace(self, opens_at=max(self.opens_at, now + (retry_after or 0.0)))
        pace = self.cut(now, given)
        pause = min(LONGEST_PAUSE, 2.0 * self.pause) if self.row else pace._first_pause()
        return replace(
            pace,
            row=self.row + 1,
            refused_at=self.refused_at if self.row else now,
            pause=pause,
            closed_at=now,
            opens_at=now + (pause if retry_after is None else max(retry_after, SHORTEST_PAUSE)),
        )

    def cut(self, now: float, given: float | None) -> Pace:
        """Slower, unless that was done just now."""
        if now - self.cut_at < (max(ECHO, FEW / self.per_second) if self.per_second else ECHO):
            return self
        rate = self.per_second if self.per_second is not None else given or FIRST
        few = self.ceiling is not None and self.spent * rate < FEW
        if self.per_second is not None and self.ceiling is None:
            ceiling, depth = rate * OVERSHOT, 1.0 - 0.5 / OVERSHOT
        elif few:
            ceiling, depth = rate * (0.5 if self.row >= LONG_ROW else 0.8) / (1.0 - DEPTH), DEPTH
        else:
            ceiling, depth = rate * HEADROOM, DEPTH
        ceiling = max(ceiling, LOWEST)
        per_second = max(LOWEST, ceiling * (1.0 - depth))
        return replace(self, per_second=per_second, ceiling=ceiling, depth=depth, spent=0.0, cut_at=now, next_at=now)

    def _first_pause(self) -> float:
        """Until the provider's window has moved on by a request."""
        return max(SHORTEST_PAUSE, min(1.0, 1.0 / self.per_second)) if self.per_second else SHORTEST_PAUSE

    def accepted(self, now: float, *, left_at: float) -> Pace:
        """A request that left then was taken: the next refusal starts with a short pause again.

        The provider may count in windows of a minute, and refuse for the rest of one that was full early. What it took
        in all that time, pauses included, it will take again: the rate was cut too often meanwhile.
        """
        if not self.row or left_at <= self.closed_at:
            return self
        pace = replace(self, pause=0.0, row=0, opens_at=now, since=now, sent=1.0)
        if self.per_second is None or self.since is None or self.sent < PROOF:
            return pace
        if now - self.refused_at < self.refused_at - self.since:
            return pace  # it took more than before for longer than it refused: no window that was full early
        proven = self.sent / (now - self.since) * (1.0 - DEPTH)
        if proven <= self.per_second:
            return pace
        return replace(pace, per_second=proven, ceiling=proven / (1.0 - DEPTH), depth=DEPTH, spent=0.0)
