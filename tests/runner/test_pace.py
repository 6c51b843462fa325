"""The rate that nobody named, found against a provider that says nothing but 429."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from limited_server import LimitedServer

from lipsync_batch.runner.pace import FIRST, HEADROOM, Pace


def drive(
    pace: Pace, server: LimitedServer, start: float, end: float, *, trip: float = 0.02, most: float | None = None
) -> Pace:
    """Send whatever the pace allows, with answers that come after `trip` seconds."""
    now, answers = start, []
    while now < end:
        due = [answer for answer in answers if answer[0] <= now]
        answers = [answer for answer in answers if answer[0] > now]
        for at, left_at, taken in due:
            pace = (
                pace.accepted(at, left_at=left_at)
                if taken
                else pace.refused(at, left_at=left_at, retry_after=None, given=most)
            )
        if pace.wait(now) <= 1e-9:
            answers.append((now + trip, now, server.takes(now + trip / 2)))
            pace = pace.spend(1, now, most=most)
        now += max(0.002, min(pace.wait(now), 0.02))
    return pace


@pytest.mark.parametrize(
    ("count", "seconds", "most_refused"),
    [(20, 1.0, 0.02), (100, 10.0, 0.04), (5, 1.0, 0.06), (200, 1.0, 0.02)],
    ids=["20/s", "100/10s", "5/s", "200/s"],
)
def test_unknown_rate_is_found_and_used(count: int, seconds: float, most_refused: float) -> None:
    """Most of what the account allows is used within seconds, and hardly a request is refused."""
    server = LimitedServer(count, seconds)

    drive(Pace(), server, 0.0, 120.0)

    limit = count / seconds
    assert server.taken(30.0, 120.0) / (limit * 90.0) >= 0.9
    assert server.refused_share() <= most_refused
    assert server.taken(0.0, 60.0) / (limit * 60.0) >= 0.85


def test_limit_of_a_whole_minute_is_found_too() -> None:
    """60/m lets a burst through, then nothing for most of a minute: the pauses grow, and the rate ends near 1/s."""
    server = LimitedServer(60, 60.0)

    drive(Pace(), server, 0.0, 1_200.0, trip=0.2)

    assert server.taken(600.0, 1_200.0) / 600.0 >= 0.85
    assert server.refused_share() <= 0.06


def test_rate_that_is_halved_and_restored_is_followed() -> None:
    """Within 30 s a run makes nine tenths of what the provider allows now, and never falls to nothing."""
    server = LimitedServer(20)
    pace = drive(Pace(), server, 0.0, 40.0)

    server.count = 10
    pace = drive(pace, server, 40.0, 100.0)
    server.count = 20
    drive(pace, server, 100.0, 160.0)

    assert server.taken(70.0, 100.0) / (10 * 30.0) >= 0.9
    assert server.taken(130.0, 160.0) / (20 * 30.0) >= 0.9
    assert min(server.taken(at, at + 5.0) for at in range(40, 155)) >= 25
    assert server.refused_share() <= 0.03


def test_rate_that_nobody_uses_does_not_grow() -> None:
    """A run that sends one request a second has not shown that a hundred are possible."""
    pace, now = Pace(), 0.0
    for _ in range(100):
        pace = pace.spend(1, now)
        now += 1.0

    assert pace.per_second == FIRST


def test_requests_are_spaced_evenly() -> None:
    """Providers count in windows that we do not know; none of them sees a burst."""
    pace = Pace(per_second=10.0, ceiling=10.0)
    gone, now = [], 100.0
    while len(gone) < 50:
        if pace.wait(now) <= 0.0:
            gone.append(now)
            pace = pace.spend(1, now)
        now += 0.001

    assert max(sum(1 for at in gone if start <= at < start + 1.0) for start in gone) <= 12


def test_answers_to_what_had_left_before_the_cut_change_nothing() -> None:
    """Ten requests on the wire meet the same full window: that is one refusal, not ten."""
    pace = Pace(per_second=20.0, ceiling=20.0, spent=5.0).refused(10.0, left_at=9.9, retry_after=None)

    again = pace.refused(10.05, left_at=9.95, retry_after=None)

    assert again.per_second == pace.per_second == pytest.approx(20.0 * HEADROOM * 0.9)


def test_retry_after_is_obeyed() -> None:
    """Who says when to come again is not asked before."""
    pace = Pace().refused(10.0, left_at=9.9, retry_after=30.0)

    assert pace.wait(10.0) == 30.0


def test_pauses_grow_while_nothing_is_taken() -> None:
    """A provider that refuses everything is asked ever more seldom, at last three times a minute."""
    pace, now, pauses = Pace(per_second=20.0, ceiling=20.0), 100.0, []
    for _ in range(16):
        pace = pace.refused(now, left_at=now, retry_after=None)
        pauses.append(pace.wait(now))
        now += pauses[-1]

    assert pauses[0] < 0.1
    assert pauses[-1] == pytest.approx(20.0)
    assert pace.accepted(now, left_at=now).refused(now, left_at=now, retry_after=None).pause <= 1.0


def test_slow_pace_is_remembered_as_it_is() -> None:
    """Its next request may be most of a minute away: that is no instant from before the machine was started."""
    pace = Pace()
    now = 0.0
    for _ in range(60):
        now += pace.wait(now)
        pace = pace.spend(1, now)
        now += 0.1
        pace = pace.refused(now, left_at=now - 0.1, retry_after=None)
    assert pace.row == 60
    assert pace.next_at > now + 20.0

    assert Pace.read(pace.as_dict(), now=now) == pace


def test_given_rate_that_is_too_high_is_lowered_and_found_again() -> None:
    """--rate is a promise of the user's about the account; where it does not hold, what holds is found."""
    server = LimitedServer(10)
    pace = drive(Pace(per_second=None), server, 0.0, 60.0, most=20.0)

    assert server.taken(30.0, 60.0) / (10 * 30.0) >= 0.9

    server.count = 1_000
    pace = drive(pace, server, 60.0, 120.0, most=20.0)

    assert pace.per_second is None


def test_memory_of_a_pace_is_read_back() -> None:
    """What one run found is where the next one begins."""
    pace = replace(Pace(), per_second=17.5, ceiling=19.0, spent=3.0, next_at=5.0, cut_at=2.0)

    assert Pace.read(json.loads(json.dumps(pace.as_dict())), now=6.0) == pace


@pytest.mark.parametrize("known", [None, {}, {"per_second": 3.0}], ids=["nothing", "empty", "of another version"])
def test_memory_that_cannot_be_read_is_none(known: dict | None) -> None:
    """Another version's memory stops no run."""
    assert Pace.read(known, now=0.0) is None


def test_instants_from_before_the_machine_started_anew_are_forgotten() -> None:
    """The monotonic clock begins at nothing again: a gate that opens 'in a week' would hold everything back."""
    pace = replace(Pace(), per_second=17.5, ceiling=19.0, next_at=600_000.0, cut_at=600_000.0, opens_at=600_010.0)

    read = Pace.read(pace.as_dict(), now=50.0)

    assert read is not None
    assert read.wait(50.0) == 0.0
    assert read.per_second == 17.5
