"""How long generations take, learned from polls: against the optimum of one who knows it from the start."""

from __future__ import annotations

import math
from dataclasses import asdict
from itertools import pairwise

import pytest
from poll_simulation import costs, log_normal, optimum, simulate

from lipsync_batch.runner.forecast import POLL_PRICE, Forecast, Times


@pytest.mark.parametrize(("guess", "median"), [(34.0, 34.0), (34.0, 3.4), (34.0, 300.0)], ids=["right", "slow", "fast"])
def test_learned_schedule_is_close_to_the_best_one(guess: float, median: float) -> None:
    """After the first 60 jobs: noticed within about a tenth of the median, at three polls, whatever the guess was."""
    forecasts = [Forecast(guess, floor=median / 34) for _ in range(4)]
    polled = [p for seed, forecast in enumerate(forecasts) for p in simulate(forecast, log_normal(median), seed=seed)]

    polls, lag = costs([p for p in polled if p.number >= 60], median)
    best_polls, best_lag = optimum(0.3, POLL_PRICE)
    assert polls <= 3.1
    assert lag <= 0.11
    assert lag + polls * POLL_PRICE <= 1.05 * (best_lag + best_polls * POLL_PRICE)


def test_few_slots_are_watched_more_closely_while_pairs_wait_for_them() -> None:
    """A slot that is free without anyone knowing is lost time; of few, each can be asked after more often."""
    polls, lag = costs(simulate(Forecast(34.0), log_normal(), slots=20, short_of_slots=True)[60:], 34.0)

    assert lag <= 0.06
    assert (polls + 1.0) * 20 <= 4.1 * 60  # as many requests a second as sixty slots make at three polls each
    best_polls, best_lag = optimum(0.3, POLL_PRICE / 9)
    assert lag + polls * POLL_PRICE / 9 <= 1.1 * (best_lag + best_polls * POLL_PRICE / 9)


@pytest.mark.parametrize("factor", [3.0, 1 / 3], ids=["slower", "faster"])
def test_another_pace_of_the_provider_is_followed(factor: float) -> None:
    """The provider slows down threefold in the middle of the night: a few dozen jobs later that is what is expected."""
    forecast = Forecast(34.0)
    usual = log_normal()

    simulate(forecast, lambda n, random: usual(n, random) * (factor if n >= 400 else 1.0), count=400 + 60 + 40)

    assert forecast.median == pytest.approx(34.0 * factor, rel=0.25)


def test_late_notice_is_not_taken_for_a_long_time() -> None:
    """Where requests are short, ends are noticed late; taken for the times, they would be asked ever later."""
    forecast = Forecast(30.0, known=Times(mean=math.log(30.0), variance=0.09, weight=20.0))

    for _ in range(200):
        forecast.learn(0.0, 90.0)

    assert forecast.median == pytest.approx(30.0, rel=0.05)


def test_single_straggler_changes_little() -> None:
    """One generation that took half an hour says nothing about the others."""
    forecast = Forecast(34.0, known=Times(mean=math.log(34.0), variance=0.09, weight=20.0))

    forecast.learn(1_500.0, 1_800.0)

    assert forecast.median == pytest.approx(34.0, rel=0.15)


def test_what_was_learned_survives_a_restart() -> None:
    """The next run does not begin with a guess."""
    forecast = Forecast(34.0)
    simulate(forecast, log_normal(100.0))

    again = Forecast(34.0, known=Times.read(asdict(forecast.times)))

    assert again.median == pytest.approx(forecast.median)
    assert again.spread == pytest.approx(forecast.spread, rel=0.05)
    assert again.next_ask(0.0) == pytest.approx(forecast.next_ask(0.0), rel=0.05)


@pytest.mark.parametrize("known", [None, {}, {"mean": "x"}, {"mean": 1e9, "variance": 1.0, "weight": 1.0}, {"mean": 1}])
def test_memory_that_says_nothing_is_no_memory(known: dict | None) -> None:
    """A file that another version wrote, or a disk has damaged, stops no run."""
    assert Times.read(known) is None


def test_first_ones_are_asked_early_while_nothing_is_known() -> None:
    """A provider that takes 4 s must not be asked after 30 s because someone guessed 34."""
    unknown, known = Forecast(34.0), Forecast(34.0, given=True)

    assert unknown.next_ask(0.0, scout=True) == 1.0
    assert known.next_ask(0.0, scout=True) == known.next_ask(0.0) > 10.0


def test_stuck_generation_is_asked_ever_more_seldom_and_then_given_no_hope() -> None:
    """It costs a poll a quarter of an hour at last, and holds no slot."""
    forecast = Forecast(34.0)
    ages = [0.0]
    while ages[-1] < 20_000:
        ages.append(forecast.next_ask(ages[-1]))

    pauses = [then - now for now, then in pairwise(ages)]
    assert pauses[-1] == 900.0
    assert len(ages) < 90
    assert not forecast.overdue(3_000.0)
    assert forecast.overdue(3_700.0)


def test_waiting_ones_are_to_be_scheduled_anew_once_the_median_moved() -> None:
    """Said once for each move, for it costs a look at all that is in flight."""
    forecast = Forecast(34.0)
    forecast.learn(2.0, 3.2)

    assert forecast.moved()
    assert not forecast.moved()
