"""Which workers are used, and how much they are given."""

from __future__ import annotations

from lipsync_batch.cluster.crew import MARGIN, Crew


def crew(threads: dict[str, int], *, at_once: int = 4) -> Crew:
    crew = Crew(at_once, again_after=30.0, soon=2.0)
    crew.see(threads, 0.0)
    return crew


def test_room_is_what_the_fit_ones_take_at_once_and_little_more() -> None:
    """More would only wait in the scheduler: threads are no more than downloads, nor downloads than threads."""
    some = crew({"a": 2, "b": 16, "c": 8})
    for address, problem in (("a", None), ("b", None), ("c", "it is too old")):
        some.found(address, problem, 0.0)

    assert some.room == (2 + MARGIN) + (4 + MARGIN)


def test_room_follows_those_who_come_and_go() -> None:
    some = crew({"a": 2})
    some.found("a", None, 0.0)

    assert some.see({"a": 2, "b": 2}, 1.0) == ["b"]
    some.found("b", None, 1.0)
    assert some.room == 2 * (2 + MARGIN)
    some.see({"b": 2}, 2.0)
    assert some.room == 2 + MARGIN


def test_cluster_that_starts_workers_for_work_alone_is_given_some() -> None:
    """With nothing to do it would never start any."""
    assert crew({}, at_once=4).room == 4


def test_nobody_is_used_before_they_were_looked_at() -> None:
    some = crew({"a": 2, "b": 2})
    assert some.room == 0
    assert some.in_doubt

    some.found("a", None, 0.0)

    assert some.among() == ["a"]
    some.found("b", None, 0.0)
    assert some.among() is None


def test_what_is_wrong_with_one_may_pass() -> None:
    """It is asked again, though not at each look."""
    some = crew({"a": 2})
    assert some.found("a", "its disk is full", 0.0)
    assert some.problems() == ["a: its disk is full"]

    assert some.see({"a": 2}, 29.0) == []
    assert some.see({"a": 2}, 30.0) == ["a"]
    assert not some.found("a", "its disk is full", 30.0)
    assert some.found("a", None, 60.0)


def test_worker_that_left_is_not_found_fit() -> None:
    some = crew({"a": 2})
    some.see({}, 1.0)

    assert not some.found("a", None, 1.0)
    assert some.fit == []


def test_one_that_does_not_answer_may_be_about_to_begin_or_to_end() -> None:
    """So it is asked again soon, and a run does not stop for it as it does where each says why it is of no use."""
    some = crew({"a": 2, "b": 2})
    some.found("a", "lipsync-batch 0.0.1 is installed there", 0.0)
    some.found("b", "it does not answer", 0.0, silent=True)

    assert not some.hopeless
    assert some.see({"a": 2, "b": 2}, 2.0) == ["b"]
    some.found("b", "PyAV cannot be loaded there", 2.0)
    assert some.hopeless
    assert not crew({}).hopeless


def test_doubt_about_one_is_about_no_other() -> None:
    some = crew({"a": 2, "b": 2})
    for address in ("a", "b"):
        some.found(address, None, 0.0)

    some.doubt("a")

    assert some.among() == ["b"]
    assert some.see({"a": 2, "b": 2}, 1.0) == ["a"]
