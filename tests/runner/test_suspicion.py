"""What a refusal without a reason is taken for, from what was taken and refused beside it."""

from __future__ import annotations

from lipsync_batch.runner.suspicion import Seen, Suspicion


def test_one_refused_submit_says_nothing() -> None:
    suspicion = Suspicion()

    suspicion.grow(Seen(answers=5, refusals=0), likely=False)

    assert suspicion.is_open
    assert not suspicion.is_likely_of_slots(Seen(answers=5, refusals=0))
    assert not suspicion.is_of_slots(Seen(answers=6, refusals=0))


def test_submits_that_are_refused_between_polls_that_are_taken_had_no_slot() -> None:
    """A rate would refuse the polls too."""
    suspicion = Suspicion()
    suspicion.grow(Seen(answers=5, refusals=0), likely=False)
    suspicion.grow(Seen(answers=6, refusals=0), likely=True)

    assert suspicion.is_likely_of_slots(Seen(answers=7, refusals=0))
    assert suspicion.is_of_slots(Seen(answers=7, refusals=0))


def test_refused_poll_speaks_for_the_rate() -> None:
    suspicion = Suspicion()
    suspicion.grow(Seen(answers=5, refusals=0), likely=False)
    suspicion.grow(Seen(answers=6, refusals=1), likely=False)

    assert not suspicion.is_of_slots(Seen(answers=7, refusals=1))
    assert not suspicion.is_likely_of_slots(Seen(answers=7, refusals=2))


def test_only_the_answer_to_a_poll_says_more() -> None:
    suspicion = Suspicion()
    assert not suspicion.waits_for_a_poll(Seen(answers=5, refusals=0))

    suspicion.grow(Seen(answers=5, refusals=0), likely=False)

    assert suspicion.waits_for_a_poll(Seen(answers=5, refusals=0))
    assert not suspicion.waits_for_a_poll(Seen(answers=6, refusals=0))


def test_what_is_settled_is_begun_anew() -> None:
    suspicion = Suspicion()
    suspicion.grow(Seen(answers=5, refusals=0), likely=False)
    suspicion.grow(Seen(answers=6, refusals=0), likely=True)

    suspicion.settle()
    assert not suspicion.is_open
    suspicion.grow(Seen(answers=7, refusals=0), likely=False)

    assert not suspicion.is_of_slots(Seen(answers=8, refusals=0))
