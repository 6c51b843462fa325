"""The lanes of a run, in virtual time, against a provider that does as it is told."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from itertools import count, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from runner_factory import START, Night, errored, make_job, make_pair

from lipsync_batch import files
from lipsync_batch.events import Moved
from lipsync_batch.fetching.fetch import BadFile, Broken, DiskFull, LinkDead
from lipsync_batch.jobs import State, StopReason
from lipsync_batch.providers.base import (
    PROBE,
    Accepted,
    Check,
    Denied,
    Finished,
    LogPage,
    LogRow,
    NotFound,
    NotSent,
    Refusal,
    Refused,
    Submission,
    Throttled,
    Unavailable,
    Unclear,
    Unsent,
)
from lipsync_batch.runner import inspection
from lipsync_batch.store.ledger import Ledger

UNCLEAR = Unclear(code="http_500", message="the answer said nothing")
UNREACHABLE = NotSent(reason=Unsent.UNREACHABLE, message="connection refused")
THROTTLED = Refused(kind=Refusal.THROTTLED, code="http_429", message="Too Many Requests", status=429)
BAD_KEY = Refused(kind=Refusal.CREDENTIALS, code="http_401", message="needs a valid API key", status=401)
FORBIDDEN = Refused(kind=Refusal.FORBIDDEN, code="http_403", message="you have run out of credits", status=403)
INVALID = Refused(kind=Refusal.INVALID, code="http_400", message="Body validation error", status=400)


def first(answer: Submission):
    """Gives one pair this answer once, and takes all others."""
    numbers = count()
    return lambda *_: answer if next(numbers) == 0 else None


def jobs(number: int) -> list:
    return [make_job(n) for n in range(number)]


def test_every_pair_is_submitted_once_and_fetched(night: Night) -> None:
    """The ordinary course: one submit, few polls, one download each."""
    night.holds(jobs(50))

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 50}
    assert set(night.provider.pairs.values()) == {1}
    assert len(night.fetcher.fetched) == 50
    assert night.video("job-00007.mp4").endswith(".mp4")


def test_two_jobs_that_want_the_same_pair_pay_once(night: Night) -> None:
    """The same clip and text under two names is one generation and two files."""
    same = make_pair(1)
    twins = [make_job(0, key="a", pair=same), make_job(1, key="b", output="x/b.mov", pair=same)]
    night.holds(twins)

    night.run()

    assert len(night.provider.charged) == 1
    assert night.video("a.mp4") == night.video("x/b.mov")


def test_intent_is_in_the_log_before_the_call(night: Night) -> None:
    """Whoever loses jobs.db can still see from run.log what may have been paid for."""
    night.holds(jobs(1))
    seen = []
    night.provider.submitting = lambda pair, request_id: seen.append(any(request_id in line for line in night.log))

    night.run()

    assert seen == [True]


# What an answer to a submit makes of the pair


def test_refused_pair_fails_with_the_providers_words(night: Night) -> None:
    """One bad job never stops the others."""
    night.provider.submitting = first(INVALID)
    night.holds(jobs(3))

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 2, State.FAILED: 1}
    assert night.record("job-00000").error_message == "Body validation error"


@pytest.mark.parametrize("answer", [THROTTLED, UNREACHABLE], ids=["429", "unreachable"])
def test_submit_that_never_counted_is_sent_again(night: Night, answer: Submission) -> None:
    """Nothing was taken, so nothing is lost by another try, under a number of its own."""
    night.provider.submitting = first(answer)
    night.holds(jobs(3))

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 3}
    assert len(set(night.provider.submitted)) == len(night.provider.submitted) == 4


def test_body_that_is_cut_twice_is_too_large(night: Night) -> None:
    """A 50 MB body that the way to the API does not take would otherwise be sent all night."""
    night.provider.submitting = lambda pair, _: (
        NotSent(reason=Unsent.BODY_CUT, message="broken pipe") if pair == make_pair(0) else None
    )
    night.holds(jobs(2))

    night.run()

    assert night.record("job-00000").error_code == "too_large"
    assert night.counts() == {State.DONE: 1, State.FAILED: 1}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param(Denied(status=401, message="invalid key"), StopReason.CREDENTIALS, id="key refused"),
        pytest.param(Unavailable(message="refused"), StopReason.OUTAGE, id="outage"),
    ],
)
def test_cut_body_is_not_blamed_for_what_the_account_or_the_service_is(
    night: Night, said: Check, reason: StopReason
) -> None:
    """A server that refuses the key before it has read 50 MB hangs up, and its words are lost on the way."""
    night.provider.submitting = lambda *_: NotSent(reason=Unsent.BODY_CUT, message="broken pipe")
    night.provider.checking = lambda _: said
    night.holds(jobs(3))

    assert night.run(patience=600.0) is reason

    assert night.counts() == {State.PENDING: 3}


def test_answer_to_a_submit_is_waited_for_when_the_run_is_stopped(night: Night) -> None:
    """Law 2: the deadline comes while the provider is still thinking; its answer is recorded all the same."""
    night.provider.latency = 140.0
    night.holds(jobs(2))

    assert night.run(deadline=START + timedelta(seconds=120)) is StopReason.DEADLINE

    assert night.counts() == {State.SUBMITTED: 2}
    assert {night.record(f"job-0000{n}").generation_id for n in range(2)} == set(night.provider.charged.values())


def test_mixed_up_answer_is_unclear(night: Night) -> None:
    """Two pairs with one id: the second job would get the video of the first, and say done."""
    night.provider.submitting = lambda pair, request_id: (
        Accepted(generation_id=next(iter(night.provider.charged.values()))) if night.provider.charged else None
    )
    night.holds(jobs(2))

    night.run(max_in_flight=1, resolve_for=0.0)

    assert night.counts() == {State.DONE: 1, State.UNCLEAR: 1}
    assert night.record("job-00001").error_code == "mixed_up"


def test_input_that_changed_while_it_was_sent_fails(night: Night) -> None:
    """What would have been paid for is not what was asked for; the next run sees the new file."""
    night.provider.submitting = first(NotSent(reason=Unsent.INPUT_CHANGED, message="clip.mp4 changed"))
    night.holds(jobs(1))

    night.run()

    assert night.record("job-00000").error_code == "input_changed"


def test_bad_key_closes_the_submits_and_collects_the_rest(night: Night) -> None:
    """What is at the provider is still polled and fetched."""
    numbers = count()
    night.provider.submitting = lambda *_: BAD_KEY if next(numbers) >= 2 else None
    night.holds(jobs(30))

    assert night.run() is StopReason.CREDENTIALS

    assert night.counts() == {State.DONE: 2, State.PENDING: 28}
    assert len(night.provider.submitted) < 12


def test_402_fails_its_pair_and_spares_the_others(night: Night) -> None:
    """Not documented; but what it says is true of every pair that would follow."""
    night.provider.submitting = lambda *_: Refused(
        kind=Refusal.INVALID, code="http_402", message="Payment Required", status=402
    )
    night.holds(jobs(20))

    assert night.run() is StopReason.CREDITS

    assert night.counts()[State.PENDING] >= 18
    night.provider.submitting = lambda *_: None
    night.run()
    assert night.counts()[State.DONE] >= 18


def test_403_without_money_closes_the_submits(night: Night) -> None:
    """Out of credits: the rest waits for the next run, none of it failed."""
    night.provider.left = 0
    night.provider.submitting = lambda *_: FORBIDDEN
    night.holds(jobs(30))

    assert night.run() is StopReason.CREDITS

    assert night.counts() == {State.PENDING: 30}


def test_403_on_one_pair_alone_fails_that_pair(night: Night) -> None:
    """With money left, another pair is tried: when it is taken, the first was the fault."""
    night.provider.left = 5_000_000
    night.provider.submitting = lambda pair, _: FORBIDDEN if pair == make_pair(0) else None
    night.holds(jobs(6))

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 5, State.FAILED: 1}
    assert night.record("job-00000").error_code == "forbidden"


def test_unclear_pair_is_never_sent_again(night: Night) -> None:
    """Neither in this run nor in the next: only the provider's log, or a person, moves it."""
    night.provider.submitting = first(UNCLEAR)
    night.provider.logged = lambda: LogPage(rows=(), next_offset=None)
    night.holds(jobs(3))

    night.run()
    night.run()

    assert night.counts() == {State.DONE: 2, State.UNCLEAR: 1}
    assert len(night.provider.submitted) == 3


def test_unclear_pair_that_is_in_the_log_is_adopted(night: Night) -> None:
    """The answer was lost after the provider took it: it is fetched, not paid for again."""

    def lose(pair, request_id):
        night.provider.accept(pair, request_id)
        return UNCLEAR

    numbers = count()
    night.provider.submitting = lambda pair, request_id: lose(pair, request_id) if next(numbers) == 0 else None
    night.holds(jobs(3))

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 3}
    assert set(night.provider.pairs.values()) == {1}


def test_run_is_not_over_while_a_pair_is_being_adopted(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commit is on disk before the loop hears of it: in doubt no more, not polled yet, and yet left to do."""
    accepted = Ledger.accepted

    async def heard_of_late(ledger: Ledger, *args: Any, **facts: Any) -> None:
        await accepted(ledger, *args, **facts)
        await night.clock.sleep(5.0)

    def lose(pair, request_id):
        night.provider.accept(pair, request_id)
        return UNCLEAR

    monkeypatch.setattr(Ledger, "accepted", heard_of_late)
    night.provider.submitting = lose
    night.holds(jobs(1))

    night.run()

    assert night.counts() == {State.DONE: 1}


def test_key_that_may_not_read_the_log_disables_only_the_look_up(night: Night) -> None:
    """A key with the video scope alone still makes videos."""
    night.provider.submitting = first(UNCLEAR)
    night.provider.logged = lambda: Denied(status=403, message="scope")
    night.holds(jobs(3))

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 2, State.UNCLEAR: 1}


def test_pair_that_was_being_submitted_when_the_run_died_is_unclear(night: Night) -> None:
    """After a crash inside submit, the next run sends nothing for that pair."""
    night.holds(jobs(1))
    night.provider.logged = lambda: LogPage(rows=(), next_offset=None)

    async def die() -> None:
        with night.writing() as ledger:
            await ledger.intend(make_pair(0).fingerprint, "lb1.x.y.1", 1, reserve=0)

    night.do(die())

    night.run()

    assert night.provider.submitted == []
    assert night.counts() == {State.UNCLEAR: 1}


# Polls


def test_provider_error_is_told_and_not_retried(night: Night) -> None:
    """No face in the video: another submit would end the same way."""
    night.provider.checking = lambda id_: errored() if id_.startswith("-0:") else None
    night.holds(jobs(2))

    night.run()

    assert night.counts() == {State.DONE: 1, State.FAILED: 1}
    assert night.record("job-00000").error_message == "no face found"


def test_error_that_says_it_may_be_retried_is_so_at_most_twice(night: Night) -> None:
    """Failed generations are not charged, but a provider that always says `try again` must not be asked all night."""
    night.provider.checking = lambda _: errored("try again", retryable=True)
    night.holds(jobs(1))

    night.run()

    assert len(night.provider.submitted) == 3
    assert night.counts() == {State.FAILED: 1}


def test_finished_without_a_link_is_asked_again_then_failed_with_its_id(night: Night) -> None:
    """Bounded, and `retry` polls the same id: the video may be there tomorrow."""
    linkless = deque([Finished(link=None)] * 3)
    night.provider.checking = lambda id_: (
        linkless.popleft() if id_.startswith("-0:") and linkless else Finished(link=None) if id_[1] == "1" else None
    )
    night.holds(jobs(2))

    night.run()

    assert night.counts() == {State.DONE: 1, State.FAILED: 1}
    assert night.record("job-00001").error_code == "no_link"
    assert night.record("job-00001").generation_id is not None


def test_unknown_id_is_lost_only_repeatedly_and_while_others_are_known(night: Night) -> None:
    """A blip of 404s must not abandon what was paid for."""
    blips = deque([NotFound(), NotFound()])
    night.provider.checking = lambda id_: (
        NotFound() if id_.startswith("-0:") else blips.popleft() if id_.startswith("-1:") and blips else None
    )
    night.holds(jobs(5))

    night.run()

    assert night.record("job-00000").error_code == "lost"
    assert night.counts() == {State.DONE: 4, State.FAILED: 1}


def test_outage_that_answers_404_loses_nothing(night: Night) -> None:
    """Ids that were known a minute ago, and now none is: that is the service, and not the generation."""
    night.provider.seconds = 300.0
    night.provider.checking = lambda id_: NotFound() if 60 < night.clock.now() < 1_200 else None
    night.holds(jobs(5))

    night.run()

    assert night.counts() == {State.DONE: 5}


def test_forgotten_generation_of_a_finished_batch_is_lost(night: Night) -> None:
    """No other id is in flight to compare with: one that was finished before is asked after."""
    night.holds(jobs(3))
    night.run()
    night.holds(jobs(4))
    night.provider.checking = lambda id_: NotFound() if id_.startswith("-3:") else None

    assert night.run() is StopReason.FINISHED

    assert night.record("job-00003").error_code == "lost"
    assert night.record("job-00003").generation_id is not None


def test_forgotten_generation_of_a_batch_of_one_is_lost_after_more_answers(night: Night) -> None:
    """Else every run of it would wait for an hour, and `retry --pay-again` would never be possible."""
    night.provider.checking = lambda _: NotFound()
    night.holds(jobs(1))

    assert night.run() is StopReason.FINISHED

    assert night.record("job-00000").error_code == "lost"


def test_poll_blips_restart_nothing(night: Night) -> None:
    """5xx and network faults on polls are asked again, never submitted again."""
    blips = deque([Unavailable(message="502")] * 20)
    night.provider.checking = lambda _: blips.popleft() if blips else None
    night.holds(jobs(4))

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 4}
    assert len(night.provider.submitted) == 4


def test_429_on_polls_holds_all_requests_back(night: Night) -> None:
    """Retries inside the window only lengthen it."""
    refusals = deque([Throttled(retry_after=30.0)])
    night.provider.checking = lambda _: refusals.popleft() if refusals else None
    night.holds(jobs(3))

    night.run()

    arrivals = sorted(night.provider.arrivals)
    longest = max(later - earlier for earlier, later in pairwise(arrivals))
    assert longest >= 29.0
    assert night.counts() == {State.DONE: 3}


def test_generation_that_never_ends_does_not_keep_the_run_for_ever(night: Night) -> None:
    """Charged but running for ever: the others are done, the id is kept for the next run."""
    night.provider.checking = lambda id_: None if not id_.startswith("-0:") else RUNNING
    night.holds(jobs(3))

    assert night.run(patience=1800.0) is StopReason.PATIENCE

    assert night.counts() == {State.DONE: 2, State.SUBMITTED: 1}
    assert night.provider.polls[night.record("job-00000").generation_id] < 400


RUNNING = Unavailable(message="stuck")


# Downloads


def test_dead_link_is_refreshed_by_a_poll_and_never_generated_anew(night: Night) -> None:
    """Expired links are ordinary at night."""
    dead = deque([LinkDead(status=403, reason="expired")] * 3)
    night.fetcher.fetching = lambda _: dead.popleft() if dead else None
    night.holds(jobs(2))

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 2}
    assert len(night.provider.submitted) == 2


def test_link_that_stays_dead_fails_and_keeps_the_id(night: Night) -> None:
    """Bounded; `retry` goes back to polling the id."""
    night.fetcher.fetching = lambda link: LinkDead(status=404, reason="gone") if "-0:" in link else None
    night.holds(jobs(2))

    night.run()

    assert night.record("job-00000").error_code == "link_dead"
    assert [new for _, _, new in night.store.reads.retryable()] == [State.SUBMITTED]


def test_retry_polls_the_old_generation_and_pays_nothing(night: Night) -> None:
    """A link that was dead all night may live in the morning."""
    night.fetcher.fetching = lambda _: LinkDead(status=404, reason="gone")
    night.holds(jobs(1))
    night.run()
    night.fetcher.fetching = lambda _: None

    async def retry() -> None:
        with night.writing() as ledger:
            await ledger.retry(make_pair(0).fingerprint)

    night.do(retry())
    assert night.counts() == {State.SUBMITTED: 1}
    night.run()

    assert night.counts() == {State.DONE: 1}
    assert len(night.provider.submitted) == 1


def test_broken_transfers_are_tried_again_later(night: Night) -> None:
    """A CDN that is down for a minute costs a minute."""
    broken = deque([Broken(reason="reset")] * 3)
    night.fetcher.fetching = lambda _: broken.popleft() if broken else None
    night.holds(jobs(1))

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 1}


def test_host_that_is_gone_is_left_for_a_fresh_link(night: Night) -> None:
    """The provider moved its files: a poll says where they are now."""
    night.provider.checking = lambda id_: (
        Finished(link="https://new.example/v.mp4") if "https://old.example/v.mp4" in night.fetcher.fetched else None
    )
    moved = Finished(link="https://old.example/v.mp4")
    answers = deque([moved])
    fresh = night.provider.checking
    night.provider.checking = lambda id_: answers.popleft() if answers else fresh(id_)
    night.fetcher.fetching = lambda link: Broken(reason="name not found") if "old.example" in link else None
    night.holds(jobs(1))

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 1}
    assert len(night.provider.submitted) == 1


def test_bad_file_of_the_provider_fails_that_job_alone(night: Night) -> None:
    """A file that is whole and no video is not put under a final name."""
    night.fetcher.fetching = lambda link: BadFile(reason="no audio stream") if "-0:" in link else None
    night.holds(jobs(2))

    night.run()

    assert night.counts() == {State.DONE: 1, State.FAILED: 1}
    assert not night.folder.path("job-00000.mp4").exists()


def test_full_disk_stops_the_run_and_loses_nothing(night: Night) -> None:
    """The next run fetches what was finished there."""
    full = deque([DiskFull(reason="no space left on device")])
    night.fetcher.fetching = lambda _: full.popleft() if full else None
    night.holds(jobs(3))

    assert night.run() is StopReason.DISK_FULL
    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 3}
    assert set(night.provider.pairs.values()) == {1}


def test_videos_to_come_are_counted_no_further_than_asked(night: Night) -> None:
    night.holds(jobs(5))
    assert night.store.reads.to_come(3) == 3
    assert night.store.reads.to_come(100) == 5

    night.run()

    assert night.store.reads.to_come(100) == 0


def test_ledger_that_is_taken_away_stops_the_run(night: Night) -> None:
    """What would be written from then on is found by nobody: the night's submits would hang on run.log alone."""
    ledger = night.folder.state / "jobs.db"

    def taken_away(_: str) -> None:
        ledger.unlink(missing_ok=True)

    night.fetcher.fetching = taken_away
    night.holds(jobs(2_000))

    assert night.run() is StopReason.DISK_ERROR
    assert len(night.provider.submitted) < 2_000
    assert any("taken away" in str(event) for event in night.events)


# Limits


def test_no_more_generations_are_alive_than_allowed(night: Night) -> None:
    """The provider's slots are shared with the rest of the account."""
    night.holds(jobs(40))

    night.run(max_in_flight=5)

    assert night.provider.most_alive <= 5
    assert night.counts() == {State.DONE: 40}


@pytest.mark.parametrize(("rate", "number", "seconds"), [("20/s", 20, 1.0), ("60/m", 60, 60.0), ("5/10s", 5, 10.0)])
def test_no_window_holds_more_requests_than_the_rate(night: Night, rate: str, number: int, seconds: float) -> None:
    """Counted as the server counts it: at arrival, in every sliding window."""
    night.provider.seconds = 5.0
    night.holds(jobs(80))

    night.run(rate=rate)

    arrivals = sorted(night.provider.arrivals)
    worst = max(
        sum(at <= other < at + seconds for other in arrivals[n : n + number + 5]) for n, at in enumerate(arrivals)
    )
    assert worst <= number
    assert night.counts() == {State.DONE: 80}


def test_budget_stops_the_submits_in_time(night: Night) -> None:
    """Over all runs of the batch together."""
    night.holds(jobs(10), estimate=240_000)

    assert night.run(budget=1_000_000) is StopReason.BUDGET
    assert night.run(budget=1_000_000) is StopReason.BUDGET

    assert len(night.provider.charged) == 4
    assert night.counts() == {State.DONE: 4, State.PENDING: 6}


def test_generation_that_failed_makes_room_in_the_budget(night: Night) -> None:
    """What the provider gives up is not charged: the next pair may have its money, in the same run."""
    night.provider.checking = lambda id_: errored() if id_.startswith("-0:") else None
    night.holds(jobs(5))

    assert night.run(budget=3 * 240_000, max_in_flight=1) is StopReason.BUDGET

    assert night.counts() == {State.DONE: 3, State.FAILED: 1, State.PENDING: 1}


def test_deadline_ends_the_run_and_keeps_the_ids(night: Night) -> None:
    """The next run polls what was still running."""
    night.provider.seconds = 600.0
    night.holds(jobs(3))

    assert night.run(deadline=START + timedelta(seconds=120)) is StopReason.DEADLINE
    assert night.counts() == {State.SUBMITTED: 3}
    assert night.run() is StopReason.FINISHED

    assert len(night.provider.submitted) == 3


def test_outage_is_waited_for_with_probes_then_submits_go_one_at_a_time(night: Night) -> None:
    """Three submits that nobody answers open the breaker; it closes by itself when the service is back."""
    outage = 600.0

    def down() -> bool:
        return 5.0 < night.clock.now() < 5.0 + outage

    night.provider.submitting = lambda *_: UNREACHABLE if down() else None
    night.provider.checking = lambda id_: Unavailable(message="refused") if down() and id_ == PROBE else None
    night.provider.seconds = 2.0
    night.holds(jobs(200))

    assert night.run(max_in_flight=10) is StopReason.FINISHED

    assert night.counts() == {State.DONE: 200}
    during = [at for at in night.provider.arrivals if down_at(at, outage)]
    assert len(during) < 40
    assert night.provider.probes > 5


def down_at(at: float, outage: float) -> bool:
    return 20.0 < at < 5.0 + outage


def test_outage_that_outlasts_patience_ends_the_run(night: Night) -> None:
    """Exit 3, run it again: nothing failed, nothing is unclear."""
    night.provider.submitting = lambda *_: UNREACHABLE
    night.provider.checking = lambda _: Unavailable(message="refused")
    night.holds(jobs(5))

    assert night.run(patience=900.0) is StopReason.OUTAGE

    assert night.counts() == {State.PENDING: 5}


def test_collect_only_submits_nothing(night: Night) -> None:
    """A manifest with errors must not keep what was paid for from being fetched."""
    night.provider.seconds = 600.0
    night.holds(jobs(4))
    night.provider.submitting = lambda *_: None
    night.run(deadline=START + timedelta(seconds=120), max_in_flight=2)
    submitted = len(night.provider.submitted)

    assert night.run(collect_only=True) is StopReason.FINISHED

    assert len(night.provider.submitted) == submitted
    assert night.counts() == {State.DONE: submitted, State.PENDING: 4 - submitted}


@pytest.mark.slow
def test_night_of_five_thousand_jobs_with_outages(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve hours in seconds: each pair paid for once, whatever happens in between."""
    monkeypatch.setattr(files, "fsync_folder", lambda _: None)  # there are no power cuts in virtual time
    chance = Random(7)

    def submit(pair, request_id):
        if 3600 < night.clock.now() < 5400:
            return UNREACHABLE
        match chance.random():
            case number if number < 0.01:
                return THROTTLED
            case number if number < 0.015:
                night.provider.accept(pair, request_id)
                return UNCLEAR
            case _:
                return None

    night.provider.submitting = submit
    night.provider.checking = lambda _: Unavailable(message="502") if chance.random() < 0.02 else None
    night.holds(jobs(5000))

    assert night.run(rate="30/m", max_in_flight=40) in (StopReason.FINISHED, StopReason.PATIENCE)

    assert night.counts() == {State.DONE: 5000}
    assert set(night.provider.pairs.values()) == {1}
    assert isinstance(night.events[-1], Moved)


def test_accepted_is_what_a_provider_says(night: Night) -> None:
    """An id that begins with `-` and holds `:` and `/` goes through store, polls and file names."""
    night.provider.submitting = lambda pair, request_id: Accepted(
        generation_id=night.provider.accept(pair, request_id), quote=None
    )
    night.holds(jobs(1))

    night.run()

    assert night.record("job-00000").generation_id.startswith("-0:gen/")
    assert night.counts() == {State.DONE: 1}


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        pytest.param(Accepted(generation_id="g"), State.SUBMITTED, id="accepted"),
        pytest.param(BAD_KEY, State.PENDING, id="key refused"),
        pytest.param(FORBIDDEN, State.PENDING, id="forbidden"),
        pytest.param(THROTTLED, State.PENDING, id="throttled"),
        pytest.param(INVALID, State.FAILED, id="invalid"),
        pytest.param(UNREACHABLE, State.PENDING, id="not sent"),
        pytest.param(UNCLEAR, State.UNCLEAR, id="unclear"),
    ],
)
def test_what_each_answer_makes_of_a_pair_is_the_table(answer: Submission, state: State) -> None:
    """DESIGN's table of what a POST may mean, in values."""
    assert answer.becomes is state


def test_checksum_is_committed_before_the_file_has_its_name(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds a file under a final name can tell whether it is the right one, whenever the process died."""
    committed = []
    land = files.land_together

    def landing(landings: Sequence[tuple[Path, Path]]) -> list[OSError | None]:
        committed.append(night.store._database.execute("SELECT sha256, bytes FROM pairs").fetchone())
        return land(landings)

    monkeypatch.setattr(files, "land_together", landing)
    night.holds(jobs(1))

    night.run()

    content = night.folder.path("job-00000.mp4").read_bytes()
    assert [tuple(row) for row in committed] == [(hashlib.sha256(content).hexdigest(), len(content))]


# What was paid for once is not paid for again, whatever is said of it later


@pytest.mark.parametrize("retryable", [True, False])
def test_error_after_the_end_does_not_make_a_generation_free(night: Night, *, retryable: bool) -> None:
    """It was finished, and charged. That its link is gone and a poll says `error` now pays for no other one."""
    night.holds(jobs(1))
    night.run()
    night.folder.path("job-00000.mp4").unlink()
    night.fetcher.fetching = lambda _: LinkDead(status=404, reason="gone")
    night.provider.checking = lambda _: errored("internal error, try again", retryable=retryable)

    night.run()
    night.do(retried(night))
    night.run()

    assert len(night.provider.submitted) == 1
    assert night.record("job-00000").error_code == "output_gone"


async def retried(night: Night) -> None:
    with night.writing() as ledger:
        await ledger.retry(night.record("job-00000").fingerprint)


def test_word_of_the_provider_that_is_one_of_ours_costs_nothing(night: Night) -> None:
    """A refusal with the code `accepted` is a refusal: `retry` may send it again without --pay-again."""
    night.provider.submitting = first(
        Refused(kind=Refusal.INVALID, code="accepted", message="no such voice", status=400)
    )
    night.holds(jobs(1))
    night.run()

    night.do(retried(night))
    night.run()

    assert night.counts() == {State.DONE: 1}


def test_whole_part_needs_no_link_any_more(night: Night) -> None:
    """Killed between the commit of the checksum and the rename: the video lies there, and the link is gone."""

    night.holds(jobs(1))
    night.run()
    fingerprint = night.record("job-00000").fingerprint

    async def unname() -> None:
        with night.writing() as ledger:
            await ledger.output_missing(fingerprint, ["job-00000.mp4"])

    night.do(unname())
    tag = f"{fingerprint.partition(':')[2][:8]}-1"
    night.folder.path("job-00000.mp4").rename(night.folder.part("job-00000.mp4", tag))
    night.fetcher.fetching = lambda _: LinkDead(status=410, reason="gone")

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 1}
    assert [path.name for path in night.folder.root.glob("*.part*")] == []


def test_pair_that_is_paid_for_again_is_known_by_its_new_file_alone(night: Night) -> None:
    """The old video may turn up again under its name: it is not what the second payment was for."""
    night.holds(jobs(1))
    night.run()
    old = night.video("job-00000.mp4")

    async def pay_again() -> None:
        fingerprint = night.record("job-00000").fingerprint
        with night.writing() as ledger:
            await ledger.output_missing(fingerprint, ["job-00000.mp4"])
            await ledger.fail(fingerprint, State.READY, code="output_gone", message="gone")
            await ledger.pay_again(fingerprint)

    night.do(pay_again())
    night.run()

    assert night.counts() == {State.DONE: 1}
    assert night.video("job-00000.mp4") != old


def test_usage_that_a_poll_names_counts_against_the_budget(night: Night) -> None:
    """Law 5 counts the larger of reserve and quote; an answer may name more than the first one did."""
    night.provider.checking = lambda id_: Finished(link=f"https://cdn.example/{id_}.mp4", usage=1_000_000)
    night.holds(jobs(5))

    night.run(budget=1_300_000, max_in_flight=1)

    assert len(night.provider.submitted) == 2


# Nothing keeps a run for ever


def test_log_without_an_end_does_not_keep_the_run(night: Night) -> None:
    """A gateway that always says has_more."""
    night.provider.submitting = first(UNCLEAR)
    night.provider.logged = lambda: LogPage(rows=(), next_offset=100)
    night.holds(jobs(3))

    assert night.run(resolve_for=60.0) is StopReason.FINISHED
    assert night.counts() == {State.DONE: 2, State.UNCLEAR: 1}
    assert night.clock.now() < 600


def test_log_is_asked_no_more_often_than_it_allows(night: Night) -> None:
    """200 requests in any 60 s, whatever the account's own rate is."""
    asked = []

    def page() -> LogPage:
        asked.append(night.clock.now())
        return LogPage(rows=(), next_offset=100 * len(asked))

    night.provider.latency = 0.001
    night.provider.submitting = first(UNCLEAR)
    night.provider.logged = page
    night.holds(jobs(1))

    night.run(resolve_for=240.0, rate="1000/s")

    assert len(asked) > 600
    assert max(sum(at <= later < at + 60.0 for later in asked) for at in asked) <= 200


def test_refusals_of_the_log_hold_back_nothing_else(night: Night) -> None:
    """The log has a limit of its own: polls and submits go on, and the run ends."""
    night.provider.submitting = first(UNCLEAR)
    night.provider.logged = lambda: Throttled(retry_after=600.0)
    night.holds(jobs(10))

    assert night.run(resolve_for=60.0) is StopReason.FINISHED
    assert night.counts() == {State.DONE: 9, State.UNCLEAR: 1}
    assert night.clock.now() < 600


def test_two_rows_of_the_log_about_one_submit_are_one_generation(night: Night) -> None:
    """A gateway sent a POST twice: one of the two is adopted, and the run goes on."""
    night.provider.submitting = first(UNCLEAR)
    night.holds(jobs(1))

    def rows() -> LogPage:
        request_id = night.provider.submitted[0]
        ids = [night.provider.accept(make_pair(0), f"{request_id}{n}") for n in range(2)]
        return LogPage(
            rows=tuple(LogRow(client_request_id=request_id, generation_id=id_, failed=False) for id_ in ids),
            next_offset=None,
        )

    night.provider.logged = rows
    night.run()

    assert night.counts() == {State.DONE: 1}


def test_balance_that_does_not_come_does_not_keep_a_run_that_is_to_stop(night: Night) -> None:
    """After a 403 the balance is asked for; whoever stops the run does not wait for that."""

    async def never() -> int:
        await night.clock.sleep(86_400)
        return 0

    night.provider.balance = never
    night.provider.submitting = lambda *_: FORBIDDEN
    night.holds(jobs(2))

    assert night.run(deadline=START + timedelta(seconds=30)) is StopReason.DEADLINE
    assert night.clock.now() < 60
    assert night.counts() == {State.PENDING: 2}


def test_path_that_cannot_be_used_stops_that_job_alone(night: Night) -> None:
    """Law 4: a file of the user's stands where the folder of an output must be."""
    night.holds([make_job(0, output="de/a.mp4"), make_job(1), make_job(2)])
    night.folder.path("de").write_text("notes")

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 2, State.FAILED: 1}
    assert night.record("job-00000").error_code == "output_blocked"
    assert night.record("job-00000").generation_id is not None
    night.folder.path("de").unlink()
    night.do(retried(night))
    night.run()
    assert night.counts() == {State.DONE: 3}
    assert len(night.provider.charged) == 3


def test_inspection_ends_when_the_run_is_to_stop(night: Night) -> None:
    """--verify of a large batch reads for minutes: Ctrl-C does not wait for that."""
    night.holds(jobs(3))
    night.run()
    for number in range(3):
        night.folder.path(f"job-{number:05}.mp4").unlink()
    at_once = night.clock.in_thread

    async def slowly(function, *args, **kwargs):
        await night.clock.sleep(60)
        return await at_once(function, *args, **kwargs)

    night.clock.in_thread = slowly

    reason = night.run(verify=True, deadline=night.clock.utc() + timedelta(seconds=30))

    assert reason is StopReason.DEADLINE
    assert night.counts() == {State.DONE: 3}


def test_run_does_not_end_before_every_finished_file_was_looked_at(night: Night) -> None:
    """A nightly run that says "all done" has seen all files, even where it had nothing else to do."""
    night.holds(jobs(2))
    night.run()
    night.folder.path("job-00001.mp4").unlink()
    at_once = night.clock.in_thread

    async def slowly(function, *args, **kwargs):
        await night.clock.sleep(600)
        return await at_once(function, *args, **kwargs)

    night.clock.in_thread = slowly

    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 2}
    assert night.folder.path("job-00001.mp4").is_file()
    assert len(night.provider.charged) == 2


def test_submits_do_not_wait_for_the_inspection(night: Night) -> None:
    """Half a million finished files are looked at for a minute; the night is short, and the first submit goes out."""
    night.holds(jobs(1))
    night.run()
    night.holds(jobs(2))
    before, at_once = night.clock.now(), night.clock.in_thread

    async def slowly(function, *args, **kwargs):
        await night.clock.sleep(600)
        return await at_once(function, *args, **kwargs)

    night.clock.in_thread = slowly

    night.run()

    assert max(night.provider.started.values()) - before < 60
    assert night.counts() == {State.DONE: 2}


def test_inspection_goes_over_every_page(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is found wherever it stands in a long list."""
    monkeypatch.setattr(inspection, "PAGE", 2)
    night.holds(jobs(7))
    night.run()
    gone = [f"job-{number:05}.mp4" for number in (0, 3, 6)]
    for name in gone:
        night.folder.path(name).unlink()
    fetched = len(night.fetcher.fetched)

    night.run()

    assert len(night.fetcher.fetched) == fetched + 3
    assert all(night.folder.path(name).is_file() for name in gone)


def test_second_place_of_a_shared_video_is_filled_again(night: Night) -> None:
    """Two jobs want one pair, and one of its files was deleted: the other is still there, and nothing is fetched."""
    pair = make_pair(0)
    night.holds([make_job(0, pair=pair), make_job(1, pair=pair)])
    night.run()
    night.folder.path("job-00001.mp4").unlink()

    night.run()

    assert night.video("job-00001.mp4") == night.video("job-00000.mp4")
    assert len(night.fetcher.fetched) == 1
    assert night.store.reads.unplaced() == []


def test_placing_that_was_cut_short_is_ended_by_the_next_run(night: Night) -> None:
    """A file under a name that no job wants any more is moved, whichever run gets to it."""
    night.holds(jobs(2))
    night.run()
    night.holds([make_job(0, output="de/a.mp4"), make_job(1)])
    assert not night.store.reads.is_placed()

    night.run()

    assert night.store.reads.is_placed()
    assert night.folder.path("de/a.mp4").is_file()
    night.holds([make_job(0, output="de/a.mp4"), make_job(1)])
    assert night.store.reads.is_placed(), "nothing has changed: nothing is to be placed"
