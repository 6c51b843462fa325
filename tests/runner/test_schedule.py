"""When to ask after a generation whose times are known: against the optimum, which is found another way."""

from __future__ import annotations

import math
from itertools import islice, pairwise
from random import Random

import pytest
from poll_simulation import optimum

from lipsync_batch.runner.schedule import Schedule, best_schedule


def cost_of(schedule: Schedule, spread: float, price: float) -> float:
    """The mean cost of many generations under a schedule: waiting, and requests at their price."""
    random, total = Random(1), 0.0
    for _ in range(20_000):
        seconds = math.exp(spread * random.gauss(0.0, 1.0))
        for polls, asked_at in enumerate(schedule, 1):
            if asked_at >= seconds:
                total += asked_at - seconds + polls * price
                break
    return total / 20_000


@pytest.mark.parametrize("spread", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("price", [0.1, 0.035, 0.01])
def test_schedule_costs_hardly_more_than_the_least_possible(spread: float, price: float) -> None:
    """Requests are the account's scarcest thing: none is spent that another age would have served better."""
    polls, lag = optimum(spread, price)
    least = lag + polls * price

    assert cost_of(best_schedule(spread, floor=0.0, price=price), spread, price) <= least * 1.03


def test_dearer_requests_are_fewer() -> None:
    """The price is what trades requests for waiting."""
    first_asks = [next(iter(best_schedule(0.3, floor=0.0, price=price))) for price in (0.2, 0.05, 0.01)]

    assert first_asks == sorted(first_asks, reverse=True)


@pytest.mark.parametrize("floor", [0.05, 0.3, 2.0])
def test_no_two_requests_come_closer_than_the_floor(floor: float) -> None:
    """One generation is not asked more often than the user allows, however sure its end is."""
    ages = list(islice(best_schedule(0.1, floor=floor, price=0.001), 30))

    assert min(then - now for now, then in pairwise(ages)) >= floor * (1.0 - 1e-9)


def test_what_never_ends_is_asked_ever_more_seldom() -> None:
    """A stuck generation must not eat the requests of those that go on."""
    pauses = [then - now for now, then in pairwise(islice(best_schedule(0.3, floor=0.03, price=0.035), 40))]

    assert pauses[-1] > 20 * pauses[3]
    assert all(later >= earlier * 0.5 for earlier, later in pairwise(pauses))
