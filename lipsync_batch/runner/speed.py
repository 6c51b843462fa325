"""What is known of an account's speed before a run: given, learned by its earlier runs, or guessed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from lipsync_batch.capabilities import Capabilities
from lipsync_batch.estimate import Origin, Speed
from lipsync_batch.runner import forecast, pace, slots
from lipsync_batch.runner.forecast import USUAL_SPREAD, Forecast, Times
from lipsync_batch.runner.pace import Pace
from lipsync_batch.settings import Settings

Learned = Mapping[str, dict[str, Any]]
"""What an account's runs have remembered, by name."""


def speed_of(settings: Settings, takes: Capabilities, learned: Learned, history: Sequence[float]) -> Speed:
    """As a run would go by it. `history`: how long generations of this batch took until they were noticed, seconds."""
    typical, spread, times_from = _times(settings, takes, learned, history)
    per_second, rate_from = _rate(settings, learned)
    count, slots_from = _slots(settings, learned)
    return Speed(
        typical_seconds=typical,
        spread=spread,
        times_from=times_from,
        slots=count,
        slots_from=slots_from,
        per_second=per_second,
        rate_from=rate_from,
    )


def _times(
    settings: Settings, takes: Capabilities, learned: Learned, history: Sequence[float]
) -> tuple[float, float, Origin]:
    typical = settings.typical_seconds or takes.typical_seconds
    if (known := Times.read(learned.get(forecast.LEARNED))) is not None:
        told = Forecast(typical, known=known)
        return told.median, told.spread, Origin.LEARNED
    if history:
        told = forecast.of_history(Forecast(typical, given=settings.typical_seconds is not None), history)
        return told.median, told.spread, Origin.BATCH
    return typical, USUAL_SPREAD, Origin.DEFAULT if settings.typical_seconds is None else Origin.GIVEN


def _rate(settings: Settings, learned: Learned) -> tuple[float | None, Origin]:
    if settings.rate is not None:
        return settings.rate.count / settings.rate.seconds, Origin.GIVEN
    known = Pace.read(learned.get(pace.LEARNED), now=time.monotonic())
    if known is None or known.ceiling is None:  # while it is being doubled, it says nothing yet
        return None, Origin.UNKNOWN
    return known.ceiling, Origin.LEARNED


def _slots(settings: Settings, learned: Learned) -> tuple[int, Origin]:
    most = settings.max_in_flight
    known = slots.read(learned.get(slots.LEARNED))
    if known is not None and known < most:
        return known, Origin.LEARNED
    is_given = "max_in_flight" in settings.model_fields_set
    return most, Origin.GIVEN if is_given else Origin.DEFAULT
