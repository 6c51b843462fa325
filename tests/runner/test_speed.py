"""What is known of an account before a run: what its earlier runs have learned, else what was given, else a guess."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.estimate import Origin, Speed, estimate, nights_left
from lipsync_batch.runner import forecast, pace, slots
from lipsync_batch.runner.forecast import Times
from lipsync_batch.runner.pace import Pace
from lipsync_batch.runner.slots import Slots
from lipsync_batch.runner.speed import speed_of
from lipsync_batch.settings import Settings
from lipsync_batch.store import account_memory
from lipsync_batch.store.account_memory import AccountMemory

LEARNED: dict[str, dict[str, Any]] = {
    forecast.LEARNED: asdict(Times(mean=4.0, variance=0.09, weight=20.0)),
    pace.LEARNED: Pace(per_second=2.0, ceiling=2.2).as_dict(),
    slots.LEARNED: {"count": 5},
}
NOW = datetime(2026, 5, 1, 22, 0, tzinfo=UTC)


def settings(**flags: Any) -> Settings:
    return Settings.layered(flags, {}, {})


def speed(**changes: Any) -> Speed:
    known = {"typical_seconds": 34.0, "spread": 0.0, "slots": 20, "per_second": None}
    origins = {"times_from": Origin.LEARNED, "slots_from": Origin.LEARNED, "rate_from": Origin.LEARNED}
    return Speed(**{**known, **origins, **changes})


def test_what_was_learned_is_read_without_taking_part(tmp_path: Path) -> None:
    """`plan` beside a run must neither count as a run of the account nor make a memory where there is none."""
    path = tmp_path / "account.db"
    assert account_memory.learned(path) == {}
    assert not path.exists()
    memory = AccountMemory.open(path)
    with memory.exclusive():
        memory.join(now=time.monotonic(), limit=None)
        for name, value in LEARNED.items():
            memory.remember(name, value)

    known = speed_of(settings(), LIP_SYNC, account_memory.learned(path), [])

    assert known.typical_seconds == pytest.approx(54.6, abs=0.1)
    assert (known.per_second, known.slots) == (2.2, 5)
    assert {known.times_from, known.rate_from, known.slots_from} == {Origin.LEARNED}
    assert memory.others() == 0
    memory.close()


def test_what_is_given_or_guessed_is_told_as_such() -> None:
    """A first plan rests on a guess, and must say so."""
    guessed = speed_of(settings(), LIP_SYNC, {}, [])
    given = speed_of(settings(rate="30/m", typical_seconds="50", max_in_flight=3), LIP_SYNC, {}, [])

    assert (guessed.typical_seconds, guessed.times_from) == (34.0, Origin.DEFAULT)
    assert (guessed.per_second, guessed.rate_from, guessed.slots_from) == (None, Origin.UNKNOWN, Origin.DEFAULT)
    assert (given.typical_seconds, given.per_second, given.slots) == (50.0, 0.5, 3)
    assert {given.times_from, given.rate_from, given.slots_from} == {Origin.GIVEN}


def test_own_history_counts_where_the_account_is_unknown() -> None:
    """Its generations took a minute: so will the next ones, on this machine or another."""
    known = speed_of(settings(), LIP_SYNC, {}, [60.0] * 40)

    assert known.typical_seconds == pytest.approx(57.0, abs=4.0)
    assert known.times_from is Origin.BATCH


def test_more_slots_than_are_allowed_here_are_not_planned_with() -> None:
    """--max-in-flight 2 holds, however many the provider has room for."""
    assert speed_of(settings(max_in_flight=2), LIP_SYNC, LEARNED, []).slots == 2


@pytest.mark.parametrize(
    ("pairs", "known", "seconds", "short_of_requests"),
    [
        pytest.param(0, {}, 0.0, False, id="nothing"),
        pytest.param(1, {}, 34.0, False, id="one"),
        pytest.param(60, {}, 3 * 34.0, False, id="three rounds of slots"),
        pytest.param(60, {"per_second": 0.5}, 60 * 2.1 / 0.5 + 34.0, True, id="a slow rate"),
    ],
)
def test_time_is_that_of_what_is_scarce(
    pairs: int, known: dict[str, Any], seconds: float, short_of_requests: bool
) -> None:
    """Requests or slots, whichever is slower, and the last generation."""
    assert speed(**known).seconds(pairs) == pytest.approx(seconds)
    assert speed(**known).is_short_of_requests(pairs) is short_of_requests


@pytest.mark.parametrize("known", [{}, {"per_second": 0.5}], ids=["slots", "rate"])
def test_what_fits_into_a_time_takes_about_that_time(known: dict[str, Any]) -> None:
    """The nights of a plan agree with its hours."""
    assert speed(**known).seconds(speed(**known).fits(3_600.0)) == pytest.approx(3_600.0, rel=0.02)


def test_night_that_holds_nothing_has_no_number() -> None:
    """A deadline in ten seconds: dividing by what it holds would be a traceback."""
    night = estimate(5, speed(), resuming=0, now=NOW, deadline=NOW + timedelta(seconds=10)).night

    assert night is not None
    assert (night.pairs, night.nights) == (0, None)
    assert nights_left(5, made=0) is None
    assert nights_left(5, made=2) == 3


def test_slots_are_remembered_once_they_were_shown() -> None:
    """A run that met no refusal raises what an earlier one had shown only where it had more alive at once."""
    seen = Slots(20)
    for alive in range(8):
        seen.accepted(alive, 0.0)

    assert seen.learned(None) is None
    assert seen.learned(5) == 8
    assert seen.learned(12) == 12
    seen.refused(8, 1.0, typical_seconds=34.0)
    assert seen.learned(12) == 8
