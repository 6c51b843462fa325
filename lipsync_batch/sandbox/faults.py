"""What goes wrong in the sandbox, how often, and when: switches, and dice that fall the same way for the same seed.

Each roll is a hash of the seed, of what is decided and of what it is decided for. What happens to a generation hangs on
its order and on how often that came before, so not on who was faster. A fault happens where the roll is below its
chance *as it is set at that moment*: switching `stuck` off lets the stuck generations go on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from statistics import NormalDist
from typing import Any, TypeVar

Choice = TypeVar("Choice")


class Kind(StrEnum):
    """What values a switch takes. The command line and the control endpoint check by it."""

    CHANCE = "chance"  #: 0 to 1
    COUNT = "count"  #: a whole number, from 0
    SECONDS = "seconds"  #: from 0
    USD = "usd"  #: from 0
    RATE = "rate"  #: 20/s or 60/m
    SWITCH = "switch"  #: on or off


class FaultError(ValueError):
    """A switch that does not exist, or a value that it does not take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """So many requests in any so many seconds."""

    count: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """`20/s`, `60/m` or `200/h`; FaultError for anything else."""
        count, _, unit = text.partition("/")
        seconds = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(unit)
        if seconds is None or not count.isdecimal() or int(count) < 1:
            raise FaultError(f"{text!r} is not a rate such as 20/s or 60/m")
        return cls(count=int(count), seconds=seconds)


def _switch(kind: Kind, text: str, default: Any) -> Any:
    return field(default=default, metadata={"kind": kind, "help": text})


@dataclass(frozen=True, kw_only=True, slots=True)
class Faults:
    """The switches. Every one is an option of `lipsync-batch sandbox` and a name in `PUT /_sandbox/faults`."""

    rate: str | None = _switch(Kind.RATE, "Answer 429 above this many API requests, counted in a sliding window.", None)
    retry_after: bool = _switch(Kind.SWITCH, "Send Retry-After with each 429.", default=False)
    slots: int | None = _switch(Kind.COUNT, "Answer 429 to a submit while this many generations run.", None)
    credits: float = _switch(Kind.USD, "What the account may spend; then submits are answered with 403.", 1000.0)
    revoked: bool = _switch(Kind.SWITCH, "Answer 401 to every key.", default=False)
    server_errors: float = _switch(Kind.CHANCE, "API requests that end in 500, 502, 503 or 504, as JSON or HTML.", 0.0)
    lost: float = _switch(
        Kind.CHANCE, "Submits that are accepted and charged, but whose connection is cut unanswered.", 0.0
    )
    hidden: float = _switch(Kind.CHANCE, "Submits that are accepted and charged, but answered with 502.", 0.0)
    slow: float = _switch(Kind.CHANCE, "API requests that are answered late.", 0.0)
    slow_seconds: float = _switch(Kind.SECONDS, "How late.", 5.0)
    errors: float = _switch(
        Kind.CHANCE, "Generations that end in an error, in every documented shape; never charged.", 0.0
    )
    retryable: float = _switch(
        Kind.CHANCE, "Those errors among them that say that they will pass: overload, try again.", 0.0
    )
    stuck: float = _switch(Kind.CHANCE, "Generations that never end.", 0.0)
    odd: float = _switch(Kind.CHANCE, "Generations with the ids, statuses and codes of neighbouring models.", 0.0)
    no_link: float = _switch(Kind.CHANCE, "Finished generations that do not say where the video is, at first.", 0.0)
    no_link_polls: int = _switch(Kind.COUNT, "For how many polls.", 2)
    late_file: float = _switch(Kind.CHANCE, "Links that are given before their file exists: 404, at first.", 0.0)
    late_file_tries: int = _switch(Kind.COUNT, "For how many tries.", 2)
    link_seconds: float | None = _switch(Kind.SECONDS, "Links are signed and answered with 403 after this time.", None)
    cut: float = _switch(Kind.CHANCE, "Downloads that break off half-way.", 0.0)
    html: float = _switch(Kind.CHANCE, "Downloads that are an HTML page, with status 200.", 0.0)

    def __post_init__(self) -> None:
        for switch in fields(self):
            _check(switch.name, switch.metadata["kind"], getattr(self, switch.name), optional=switch.default is None)

    def changed(self, changes: Mapping[str, object]) -> Faults:
        """These switches with some of them set anew; FaultError where one does not exist or take the value."""
        known = {switch.name for switch in fields(self)}
        if unknown := sorted(set(changes) - known):
            raise FaultError(f"no such fault: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return replace(self, **changes)  # type: ignore[arg-type]  # __post_init__ checks every value

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def _check(name: str, kind: Kind, value: object, *, optional: bool) -> None:
    if value is None and optional:
        return
    if kind is Kind.RATE:
        Rate.parse(str(value))
        return
    if kind is Kind.SWITCH:
        right = isinstance(value, bool)
    elif kind is Kind.COUNT:
        right = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    else:
        right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
        right = right and (kind is not Kind.CHANCE or value <= 1)  # type: ignore[operator]  # a number by now
    if not right:
        raise FaultError(f"{name}: {value!r} is not a {kind}")


class Dice:
    """Rolls that depend on the seed and on what they are for, and on nothing else."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def roll(self, what: str, *subject: object) -> float:
        """A number in (0, 1) for deciding `what` about `subject`; always the same one."""
        name = "\0".join(map(str, (self._seed, what, *subject)))
        digest = hashlib.blake2b(name.encode(), digest_size=6).digest()
        return (int.from_bytes(digest) + 0.5) / 2**48

    def happens(self, chance: float, what: str, *subject: object) -> bool:
        return self.roll(what, *subject) < chance

    def pick(self, choices: tuple[Choice, ...], what: str, *subject: object) -> Choice:
        return choices[int(self.roll(what, *subject) * len(choices))]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """How long generations take: log-normal around a median, then shortened."""

    median: float = 34.0
    """Seconds; the middle of the times before they are shortened."""
    spread: float = 0.3
    """Standard deviation of the times' logarithm."""
    speed_up: float = 20.0

    def seconds(self, roll: float) -> float:
        """The time that belongs to a roll between 0 and 1."""
        return self.median * math.exp(self.spread * NormalDist().inv_cdf(roll)) / self.speed_up
