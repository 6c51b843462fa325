"""What the account says was charged, beside estimates and quotes, and what the budget makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from runner_factory import START, Night, make_job

from lipsync_batch.events import Noticed
from lipsync_batch.jobs import State, StopReason
from lipsync_batch.providers.base import Accepted, Charge, ChargePage, Denied, Throttled, Unavailable


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    night = Night(tmp_path)
    yield night
    night.close()


def charge(night: Night, number: int, cost: int, *, minutes: float = 1.0) -> Charge:
    """What was taken for the generation of the submit with this number."""
    request_id = night.provider.submitted[number]
    generation_id = night.provider.charged[request_id]
    return Charge(generation_id=generation_id, cost=cost, created=START + timedelta(minutes=minutes))


def test_charges_of_the_run_before_are_settled_at_the_start_of_the_next(night: Night) -> None:
    """A charge lands after its video: the run that made it cannot know it yet."""
    night.holds([make_job(number) for number in range(5)])
    night.run()
    assert night.store.reads.costs().settled is None

    night.provider.taken = [charge(night, number, 250_000 + number) for number in range(5)]
    night.run()

    assert night.store.reads.costs().settled == 5 * 250_000 + 10
    assert night.store.reads.costs().quoted == 5 * 240_000
    assert night.store.reads.costs().estimated == 5 * 240_000
    assert night.record("job-00003").settled == 250_003


def test_reading_a_charge_again_adds_nothing_and_a_second_one_adds_up(night: Night) -> None:
    """Pages may repeat rows, and runs read the same days again; a later correction is another charge."""
    night.holds([make_job(0), make_job(1)])
    night.run()
    night.provider.taken = [charge(night, 0, 100_000), charge(night, 0, 100_000), charge(night, 0, 7, minutes=2)]

    night.run()
    night.run()

    assert night.record("job-00000").settled == 100_007
    assert night.record("job-00001").settled is None


def test_charges_of_others_on_the_account_are_left_out(night: Night) -> None:
    """The account is shared with other batches and other people."""
    night.holds([make_job(0)])
    night.run()
    night.provider.taken = [Charge(generation_id="someone-else", cost=9_000_000)]

    night.run()

    assert night.store.reads.costs().settled is None


def test_settled_batch_asks_no_more(night: Night) -> None:
    """Each look costs requests of the account's rate."""
    night.holds([make_job(0)])
    night.run()
    night.provider.taken = [charge(night, 0, 240_000)]
    night.run()
    asked = len(night.provider.asked_for_charges)

    night.run()

    assert len(night.provider.asked_for_charges) == asked


def test_charges_are_asked_for_since_the_oldest_that_is_open(night: Night) -> None:
    """An account of years is not read whole."""
    night.holds([make_job(0)])
    night.run()

    assert night.provider.asked_for_charges
    assert all(START - timedelta(hours=1) < since <= START for since in night.provider.asked_for_charges)


@pytest.mark.parametrize(
    ("told", "noticed"),
    [
        pytest.param(Denied(status=403, message="management keys only"), True, id="denied"),
        pytest.param(Unavailable(message="no such route"), False, id="no such route"),
        pytest.param(Throttled(retry_after=1.0), False, id="throttled for ever"),
    ],
)
def test_account_that_does_not_say_disables_only_this(night: Night, told: object, noticed: bool) -> None:
    """A key that may not read the billing still makes every video."""
    night.provider.charges_told = told
    night.holds([make_job(number) for number in range(3)])

    assert night.run() is StopReason.FINISHED
    night.holds([make_job(number) for number in range(6)])
    assert night.run() is StopReason.FINISHED

    assert night.counts() == {State.DONE: 6}
    messages = [event.message for event in night.events if isinstance(event, Noticed)]
    assert any("charges cannot be read" in message for message in messages) is noticed


def test_budget_counts_what_was_settled(night: Night) -> None:
    """A charge below its quote leaves room for more; the quote was only a hold."""
    night.provider.submitting = lambda pair, request_id: Accepted(
        generation_id=night.provider.accept(pair, request_id), quote=1_000_000
    )
    night.holds([make_job(number) for number in range(4)])
    assert night.run(budget=2_000_000) is StopReason.BUDGET
    assert night.counts() == {State.DONE: 2, State.PENDING: 2}

    night.provider.taken = [charge(night, number, 100_000) for number in range(2)]
    night.run(budget=2_000_000)

    assert night.counts()[State.DONE] > 2


def test_charge_above_its_reserve_raises_those_that_follow(night: Night) -> None:
    """A price that was said too low would otherwise break the budget by the same factor on every pair."""
    night.provider.submitting = lambda pair, request_id: Accepted(generation_id=night.provider.accept(pair, request_id))
    night.holds([make_job(number) for number in range(10)], estimate=100_000)
    assert night.run(budget=200_000) is StopReason.BUDGET
    assert len(night.provider.charged) == 2
    night.provider.taken = [charge(night, 0, 300_000), charge(night, 1, 100_000)]

    # 400,000 are spent; each of those that follow may cost 300,000.
    assert night.run(budget=1_050_000) is StopReason.BUDGET

    assert len(night.provider.charged) == 4
    assert night.store.reads.spent() == 400_000 + 2 * 300_000


def test_generation_that_was_written_off_still_counts(night: Night) -> None:
    """Paying again for a lost one must not make the budget forget the first payment."""
    night.holds([make_job(0)])
    night.run()
    spent = night.store.reads.spent()

    async def fail_and_pay_again() -> None:
        fingerprint = night.record("job-00000").fingerprint
        with night.writing() as ledger:
            await ledger.output_missing(fingerprint, ["job-00000.mp4"])
            await ledger.fail(fingerprint, State.READY, code="output_gone", message="gone")
            await ledger.pay_again(fingerprint)

    night.do(fail_and_pay_again())
    night.folder.path("job-00000.mp4").unlink()
    night.run()

    assert night.store.reads.spent() == 2 * spent


def test_pages_that_go_round_in_a_circle_keep_nobody(night: Night) -> None:
    """Cursor A leads to B, and B to A."""
    night.holds([make_job(0)])
    night.run()

    async def circle(*, since: object, cursor: str | None = None) -> ChargePage:
        await night.clock.sleep(0.1)
        return ChargePage(charges=(), next_cursor="b" if cursor == "a" else "a")

    night.provider.charges = circle
    night.holds([make_job(0), make_job(1)])

    assert night.run(budget=1_000_000) is StopReason.FINISHED
    assert night.counts() == {State.DONE: 2}


@pytest.mark.parametrize("budget", [None, 10_000_000])
def test_account_that_does_not_answer_holds_the_work_up_only_for_a_moment(night: Night, budget: int | None) -> None:
    """Billing that hangs must not cost the night."""
    night.holds([make_job(0)])
    night.run()
    began = night.clock.now()

    async def hang(**_: object) -> ChargePage:
        await night.clock.sleep(86_400)
        return ChargePage(charges=(), next_cursor=None)

    night.provider.charges = hang
    night.holds([make_job(0), make_job(1)])

    assert night.run(budget=budget) is StopReason.FINISHED
    assert night.counts() == {State.DONE: 2}
    assert night.clock.now() - began < 120
