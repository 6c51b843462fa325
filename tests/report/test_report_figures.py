"""The figures behind the page's charts and tables."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_factory import EVENING, make_record, unfinished

from lipsync_batch.jobs import State
from lipsync_batch.report import figures
from lipsync_batch.report.bins import Bins
from lipsync_batch.report.breakdown import KEPT_VALUES, Breakdown
from lipsync_batch.report.charts import HEIGHT, finished_chart, in_flight_chart, spread_chart
from lipsync_batch.report.page import term
from lipsync_batch.report.problems import KEPT_GROUPS, OTHER, Problems
from lipsync_batch.report.spread import GenerationTimes
from lipsync_batch.report.timeline import LADDER, SHOWN_STEPS, History, Timeline


def history_of(*seconds: float, took: float = 34.0) -> History:
    """Of jobs that finished so long after the evening began."""
    timeline = Timeline()
    for number, second in enumerate(seconds):
        end = EVENING + timedelta(seconds=second)
        start = end - timedelta(seconds=took)
        timeline.add(make_record(number, submitted_at=start, generation_seconds=took, finished_at=end))
    history = timeline.history(EVENING + timedelta(days=30))
    assert history is not None
    return history


@given(st.lists(st.floats(-1e9, 1e9), max_size=200))
def test_bins_lose_nothing_when_they_widen(values: list[float]) -> None:
    """However long a batch runs, its chart counts every job."""
    bins = Bins((1, 5, 60, 3_600), limit=8)

    for value in values:
        bins.add(value)

    assert sum(bins.sums.values()) == len(values)
    assert bins.at_width(3_600) == counted(values, 3_600)


def counted(values: list[float], width: int) -> dict[int, int]:
    sums: dict[int, int] = {}
    for value in sorted(values):
        sums[int(value // width)] = sums.get(int(value // width), 0) + 1
    return sums


def test_every_finished_job_is_in_the_history() -> None:
    """The bars add up to the count in the headline."""
    history = history_of(*range(0, 8 * 3600, 7))

    assert sum(step.finished for stretch in history.stretches for step in stretch) == len(range(0, 8 * 3600, 7))
    assert sum(map(len, history.stretches)) <= SHOWN_STEPS


def test_days_between_nights_take_no_room() -> None:
    """Three nights of work are three humps, not three needles in a week."""
    history = history_of(*(night * 86_400 + second for night in range(3) for second in range(0, 3600, 10)))

    assert len(history.stretches) == 3
    assert history.omitted == 0
    chart = finished_chart(history)
    assert chart is not None
    assert len(chart.marks) == 2


def test_in_flight_is_how_many_ran_at_a_time() -> None:
    """Twenty that all run from the same minute to the same minute are twenty in flight."""
    history = history_of(*[600.0] * 20, took=300.0)

    assert max(step.in_flight for stretch in history.stretches for step in stretch) == 20
    assert history.stretches[-1][-1].in_flight == 0


def test_generation_that_still_runs_is_in_flight_until_now() -> None:
    """A page of a run that goes on shows what is at the provider, up to its last minute."""
    timeline = Timeline()
    timeline.add(unfinished(0, State.SUBMITTED, submitted_at=EVENING))

    history = timeline.history(EVENING + timedelta(minutes=10))

    assert history is not None
    steps = [step for stretch in history.stretches for step in stretch]
    assert {step.in_flight for step in steps} == {1}
    assert steps[-1].start + timedelta(seconds=history.width) >= EVENING + timedelta(minutes=10)


def test_nothing_finished_is_no_history() -> None:
    """No chart is better than an empty one."""
    timeline = Timeline()
    timeline.add(unfinished())

    assert timeline.history(EVENING) is None


@given(st.lists(st.floats(0, 40 * 86_400), min_size=1, max_size=60), st.floats(0, 5_000))
def test_charts_stay_inside_their_frame(seconds: list[float], took: float) -> None:
    """Whatever the times are, no bar runs out of the picture."""
    history = history_of(*seconds, took=took)

    assert history.width in LADDER
    for chart in (finished_chart(history), in_flight_chart(history)):
        for bar in chart.bars if chart else []:
            assert bar.x >= 0
            assert bar.x + bar.width <= 100.01
            assert bar.top >= 0
            assert bar.top + bar.height == pytest.approx(HEIGHT, abs=0.2)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_spread_counts_every_generation(taken: list[float]) -> None:
    """The slow ones are in the last bar, not left out."""
    times = GenerationTimes()
    for seconds in taken:
        times.add(make_record(generation_seconds=seconds))

    spread = times.spread()

    assert spread is not None
    assert sum(spread.counts) == spread.total == len(taken)
    assert spread.median <= spread.ninety <= spread.slowest
    assert len(spread_chart(spread).bars) <= len(spread.counts)


def test_median_is_the_one_in_the_middle() -> None:
    """The figure beside which a night is planned."""
    times = GenerationTimes()
    for seconds in (10, 20, 30, 40, 500):
        times.add(make_record(generation_seconds=seconds))

    spread = times.spread()

    assert spread is not None
    assert spread.median == pytest.approx(30, abs=0.1)
    assert spread.slowest == 500


def test_causes_without_end_are_gathered() -> None:
    """A provider that makes up a code for each job fills neither the page nor the memory."""
    problems = Problems()
    for number in range(KEPT_GROUPS + 50):
        problems.add(unfinished(number, State.FAILED, error_code=f"code-{number}", error_message="x"))

    groups = problems.by_count()

    assert (groups[0].code, groups[0].count) == (OTHER, 50)
    assert sum(group.count for group in groups) == KEPT_GROUPS + 50


def test_label_that_names_single_jobs_is_no_group() -> None:
    """A line number as a label makes no table of a million lines."""
    breakdown = Breakdown()
    for number in range(KEPT_VALUES + 1):
        breakdown.add(make_record(number, labels={"line": str(number), "language": "de" if number % 2 else "fr"}))

    assert list(breakdown.by_label()) == ["language"]


@pytest.mark.parametrize(
    ("micro", "text"),
    [(None, "unknown"), (0, "$0.00"), (4_200, "$0.0042"), (480_000, "$0.48"), (12_345_678_900, "$12,345.68")],
)
def test_money_is_told_as_people_write_it(micro: int | None, text: str) -> None:
    """A cheap job does not look free."""
    assert figures.dollars(micro) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "250 ms"), (34, "34 s"), (34.26, "34.3 s"), (59.96, "1 min"), (725, "12 min 5 s"), (27_000, "7 h 30 min")],
)
def test_durations_are_told_as_people_say_them(seconds: float, text: str) -> None:
    """Nobody reads 27000 s."""
    assert figures.duration(seconds) == text


def test_percent_is_rounded_down() -> None:
    """100 % means that nothing is missing."""
    assert figures.percent(9_999, 10_000) == "99 %"
    assert figures.percent(0, 0) == "0 %"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [("language", "de", "language=de"), ("client", 'A "B"', 'client="A ""B"""'), ("a b", "", '"a b"=""')],
)
def test_links_into_the_table_search_for_just_that(name: str, value: str, text: str) -> None:
    """A click on a label's value shows its jobs, whatever characters it has."""
    assert term(name, value) == text
