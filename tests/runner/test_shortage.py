"""Runs against a provider that is short of something: slots, requests, or time; in virtual time."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from limited_server import LimitedServer
from runner_factory import START, Night, make_job

from lipsync_batch.events import RateRefused
from lipsync_batch.jobs import Pair, State, StopReason
from lipsync_batch.providers.base import Check, Refusal, Refused, Running, Throttled
from lipsync_batch.store.ledger import Ledger


def jobs(number: int) -> list:
    return [make_job(n) for n in range(number)]


def refusal(kind: Refusal) -> Refused:
    return Refused(kind=kind, code="http_429", message="Too Many Requests", status=429)


def with_slots(night: Night, count: int, kind: Refusal) -> Counter[str]:
    """Let the provider run so many generations at once; what it refused."""
    provider, refused = night.provider, Counter[str]()

    def submitting(pair: Pair, request_id: str) -> Refused | None:
        now = night.clock.now()
        alive = sum(1 for started in provider.started.values() if now - started < provider.seconds)
        if alive < count:
            return None
        refused["submits"] += 1
        return refusal(kind)

    provider.submitting = submitting
    return refused


@pytest.mark.parametrize("kind", [Refusal.NO_SLOT, Refusal.THROTTLED], ids=["says so", "says nothing"])
def test_slots_of_the_provider_are_found_and_kept_full(night: Night, kind: Refusal) -> None:
    """Nobody publishes how many there are: they are used, with few refusals, and a rate is not suspected for long."""
    refused = with_slots(night, 5, kind)
    night.holds(jobs(100))

    assert night.run(max_in_flight=20) is StopReason.FINISHED

    assert night.counts() == {State.DONE: 100}
    assert night.provider.most_alive == 5
    assert night.clock.now() <= 1.15 * 100 * 34 / 5
    assert refused["submits"] <= 60


def test_rate_is_found_and_shared_by_submits_and_polls(night: Night) -> None:
    """A 429 without a word is taken for what it is: submits go on as fast as the provider takes them."""
    server = LimitedServer(4)
    night.provider.submitting = lambda *_: None if server.takes(night.clock.now()) else refusal(Refusal.THROTTLED)

    def checking(_: str) -> Check | None:
        return None if server.takes(night.clock.now()) else Throttled()

    night.provider.checking = checking
    night.holds(jobs(300))

    assert night.run(max_in_flight=300) is StopReason.FINISHED

    assert night.counts() == {State.DONE: 300}
    assert night.clock.now() <= 1.2 * 2 * 300 / 4
    assert server.refused_share() <= 0.08


def test_nothing_is_submitted_that_would_not_be_finished_at_the_deadline(night: Night) -> None:
    """What is at the provider at six in the morning is paid for, and not there when people come."""
    night.holds(jobs(100))

    assert night.run(max_in_flight=5, deadline=START + timedelta(seconds=200)) is StopReason.DEADLINE

    counts = night.counts()
    assert counts.keys() == {State.DONE, State.PENDING}
    assert counts[State.DONE] >= 20


def test_times_are_known_to_the_accounts_next_batch(tmp_path: Path) -> None:
    """A batch of tomorrow does not begin with the guess of 34 s again."""
    polls = []
    for name in ("first", "second"):
        night = Night(tmp_path / name)
        night.provider.seconds = 200.0
        night.holds(jobs(30))
        night.run(memory=tmp_path / "account.db")
        polls.append(sum(night.provider.polls.values()))
        night.close()

    assert polls[1] < 0.7 * polls[0]


def test_generation_is_not_asked_again_before_its_answer_is_recorded(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk: asked twice, its second answer would find the pair further on, and end the run as a bug."""
    ready = Ledger.ready

    async def slowly(self: Ledger, *arguments: object, **named: object) -> None:
        await night.clock.sleep(60.0)
        await ready(self, *arguments, **named)

    monkeypatch.setattr(Ledger, "ready", slowly)
    night.provider.seconds = 5.0
    night.holds(jobs(30))

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 30}


def test_submit_that_was_refused_once_for_no_known_reason_costs_one_poll(night: Night) -> None:
    """Whether requests or slots are short is found out by the next requests; the run does not stand still for it."""
    answers = iter([None] * 10 + [refusal(Refusal.THROTTLED)])
    night.provider.submitting = lambda *_: next(answers, None)
    night.holds(jobs(20))

    assert night.run() is StopReason.FINISHED

    assert [event.what for event in night.events if isinstance(event, RateRefused)] == ["submit"]
    assert night.clock.now() < 2.5 * 34


@pytest.mark.parametrize("kind", [Refusal.THROTTLED, Refusal.NO_SLOT])
def test_account_that_takes_nothing_any_more_does_not_keep_the_run_for_ever(night: Night, kind: Refusal) -> None:
    """Every submit is refused, and nothing of ours is alive: that may be over soon, but not after --patience."""
    night.provider.submitting = lambda *_: refusal(kind)
    night.holds(jobs(3))

    assert night.run(patience=600.0) is StopReason.PATIENCE

    assert night.counts() == {State.PENDING: 3}
    assert 600.0 <= night.clock.now() <= 660.0


def test_stuck_generation_holds_its_slot_only_until_it_is_overdue(night: Night) -> None:
    """It may never end: the others go on without it, and it costs ever fewer polls."""
    night.provider.seconds = 10.0
    night.provider.checking = lambda generation_id: (
        Running(status="generating") if generation_id.startswith("-0:") else None
    )
    night.holds(jobs(40))

    assert night.run(max_in_flight=1, patience=600.0) is StopReason.PATIENCE

    assert night.counts() == {State.DONE: 39, State.SUBMITTED: 1}
    assert max(night.provider.polls.values()) < 70


def test_intent_that_waits_for_its_turn_does_not_leave_after_the_submits_are_closed(night: Night) -> None:
    """A refused key is refused eight times at most, and not once more for each intent on its way to the disk."""
    night.provider.latency = 5.0
    taken = iter([None] * 30)
    bad_key = Refused(kind=Refusal.CREDENTIALS, code="http_401", message="invalid key", status=401)
    night.provider.submitting = lambda *_: next(taken, bad_key)
    night.holds(jobs(100))

    assert night.run(max_in_flight=100) is StopReason.CREDENTIALS

    assert len(night.provider.submitted) <= 30 + 8
    assert night.counts() == {State.DONE: 30, State.PENDING: 70}
