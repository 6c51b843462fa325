"""A large batch over a week with outages, small: what `python -m benchmarks.week` does with a million."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.week import START, SimulatedProvider, Weather, simulate
from lipsync_batch.clock import VirtualClock, VirtualTimeLoop
from lipsync_batch.jobs import Link, Pair, Text


@pytest.mark.slow
def test_week_with_outages_pays_once_for_each_pair(tmp_path: Path) -> None:
    """The API is down, answers get lost, requests are refused, videos cannot be fetched, and runs end at deadlines."""
    week = simulate(tmp_path, 600)

    assert (week.done, week.paid_twice, week.never_paid, week.wrong_files) == (600, 0, 0, 0)
    assert week.answers_lost > 0
    assert week.refused > 0
    assert week.stop_reasons.count("deadline") >= 4
    assert week.stop_reasons[-1] == "finished"


@pytest.mark.slow
def test_videos_that_their_host_kept_back_for_too_long_are_fetched_by_a_later_run(tmp_path: Path) -> None:
    """They fail then; the next morning takes them up again, and pays for nothing."""
    week = simulate(tmp_path, 60, weather=Weather(down=(), lossy=(), slow=(), cdn=((0.1, 40.0),), deadlines=()))

    assert (week.done, week.paid_twice, week.never_paid, week.wrong_files) == (60, 0, 0, 0)
    assert week.runs > 1


def test_simulated_provider_tells_of_a_second_payment() -> None:
    """The truth is the provider's, whatever the program thinks."""
    loop = VirtualTimeLoop()
    clock = VirtualClock(START, loop)
    provider = SimulatedProvider(clock=clock, jobs=9, span=1e6, weather=Weather())
    pair = Pair(
        fingerprint="v1:0",
        video=Link(url="https://media.example/clip.mp4"),
        speech=Text(text="Number 7.", speaker="Emily"),
    )

    for attempt in (1, 2):
        loop.run_until_complete(provider.submit(pair, f"lb1.b.0.{attempt}"))
    loop.close()

    assert list(provider.charged) == [0, 0, 0, 0, 0, 0, 0, 2, 0]
