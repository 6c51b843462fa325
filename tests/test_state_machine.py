"""Any course of events: manifests edited, answers lost, runs killed, people deciding; and the laws after every step.

In virtual time, against a provider that keeps the truth of what it was asked, what it took and what it charged. Each
course ends well: all troubles over, the batch must come to its end by itself, but for what waits for a person.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from state_machine_api import NEVER, PRICE, Answer, End, Fate, Film
from state_machine_batch import OUTPUTS, Change, Damage, Death, Edit, Harm, Moment, Project, Row, Verb

from lipsync_batch.errors import UsageError
from lipsync_batch.jobs import State
from lipsync_batch.providers.base import Check, Denied, NotFound, Running, Throttled, Unavailable

ROUNDS = int(os.environ.get("LIPSYNC_BATCH_ROUNDS", "5"))
"""More of them are a soak."""
COURSES = 10
"""Of a round. After ten, Hypothesis begins to try variations of what it had; new courses find more."""
STEPS = 20
"""Of a course, at most."""
NIGHT = 900.0
"""How long a run goes on at most, mostly: more would bring nothing new, and virtual time is not for nothing either."""

KEYS = st.sampled_from("abcd")
NUMBERS = st.integers(0, 4)
"""So few pairs and outputs that jobs meet: share one, take another's, come back to an old one."""
ROWS = st.builds(Row, number=NUMBERS, output=st.sampled_from(OUTPUTS), take=st.sampled_from([1, 1, 2]))
EDITS = st.lists(st.builds(Edit, change=st.sampled_from(Change), key=KEYS, other=KEYS, wish=ROWS), max_size=3)
FATES = st.builds(
    Fate,
    answer=st.sampled_from([Answer.TAKEN, Answer.TAKEN, Answer.LOST, *Answer]),
    quote=st.sampled_from([PRICE, 2 * PRICE, None, PRICE // 2]),
    logged_after=st.sampled_from([0.0, 60.0, 1_000.0, NEVER]),
    seconds=st.sampled_from([34.0, 1.0, 300.0, 5_000.0, NEVER]),
    end=st.sampled_from([End.FINISHED, End.FINISHED, *End]),
    film=st.sampled_from([Film.GOOD, Film.GOOD, *Film]),
)
POLLS = st.sampled_from(
    [Throttled(), Throttled(retry_after=20.0), Unavailable(message="502"), NotFound(), Running(status="not started")]
)
HARMS = st.lists(
    st.builds(
        Harm,
        file=st.integers(0, 5),
        damage=st.sampled_from(Damage),
        link_dies=st.sampled_from([False, False, False, True]),
    ),
    max_size=2,
)
BUDGETS = st.sampled_from([None, None, 3 * PRICE, 2 * PRICE, PRICE, 0])
DEATHS = st.one_of(
    st.builds(Death, moment=st.sampled_from([Moment.POST, Moment.JOURNAL]), number=st.integers(0, 5)),
    st.builds(Death, moment=st.sampled_from([Moment.WRITE, Moment.FILE]), number=st.integers(0, 30)),
    st.builds(Death, moment=st.just(Moment.TURN), number=st.integers(0, 60)),
)
VERB_DEATHS = st.sampled_from([None, None, None, *(Death(moment=Moment.WRITE, number=number) for number in range(3))])


class Courses(RuleBasedStateMachine):
    """Everything that may happen to a batch."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.project = Project(Path(self._folder.name))

    @initialize(numbers=st.lists(NUMBERS, min_size=3, max_size=4))
    def begin(self, numbers: list[int]) -> None:
        for key, output, number in zip("abcd", OUTPUTS, numbers, strict=False):
            self.project.rows[key] = Row(number=number, output=output)

    # Runs, of a manifest that was edited before, under whatever comes

    @rule(
        edits=EDITS,
        harms=HARMS,
        fates=st.lists(FATES, max_size=4),
        polls=st.lists(POLLS, max_size=7),
        cap=st.sampled_from([20, 1, 2]),
        deadline=st.sampled_from([NIGHT, NIGHT, NIGHT, 3.0, None]),
        budget=BUDGETS,
        verify=st.booleans(),
    )
    def run(
        self,
        edits: list[Edit],
        harms: list[Harm],
        fates: list[Fate],
        polls: list[Check],
        cap: int,
        deadline: float | None,
        budget: int | None,
        verify: bool,
    ) -> None:
        for harm in harms:
            self.project.harm(harm)
        self.project.provider.polls_to_come.extend(polls)
        self._run(edits, fates, max_in_flight=cap, deadline=deadline, budget=budget, verify=verify)

    @rule(edits=EDITS, fates=st.lists(FATES, min_size=1, max_size=4), cap=st.sampled_from([1, 2]), budget=BUDGETS)
    def short_run(self, edits: list[Edit], fates: list[Fate], cap: int, budget: int | None) -> None:
        """Generations are alive at its end."""
        self._run(edits, fates, max_in_flight=cap, deadline=35.0, budget=budget)

    @rule(
        edits=EDITS,
        fates=st.lists(FATES, max_size=2),
        cap=st.sampled_from([20, 1]),
        collect_only=st.sampled_from([False, False, True]),
        death=DEATHS,
    )
    def killed_run(self, edits: list[Edit], fates: list[Fate], cap: int, collect_only: bool, death: Death) -> None:
        self._run(edits, fates, max_in_flight=cap, collect_only=collect_only, deadline=NIGHT, death=death)

    def _run(self, edits: list[Edit], fates: list[Fate], **options: Any) -> None:
        for edit in edits:
            self.project.edit(edit)
        self.project.provider.fates.extend(fates)
        self.project.run(**options)

    # Between runs

    @rule(
        hours=st.sampled_from([0, 0, 1, 12]),
        outage=st.sampled_from([None, None, (0.0, 5.0), (1.0, 200.0), (20.0, 2_000.0)]),
        key_refused=st.sampled_from([0.0, 0.0, 0.0, 20.0, 2_000.0]),
        slots=st.sampled_from([None, None, 1, 2]),
        left=st.sampled_from([None, 0, 5_000_000]),
        log_told=st.sampled_from([None, None, None, Denied(status=403, message="scope"), Unavailable(message="502")]),
    )
    def times_change(
        self,
        hours: int,
        outage: tuple[float, float] | None,
        key_refused: float,
        slots: int | None,
        left: int | None,
        log_told: Denied | Unavailable | None,
    ) -> None:
        """Time goes by; what the service and the account are like from now on. Durations in seconds."""
        self.project.wait(3_600.0 * hours)
        provider, now = self.project.provider, self.project.night.now()
        if outage is not None:
            after, seconds = outage
            provider.outage = (now + after, now + after + seconds)
        provider.key_refused_until = now + key_refused
        provider.slots, provider.left, provider.log_told = slots, left, log_told

    @precondition(lambda self: self.project.provider.generations)
    @rule(number=st.integers(0, 9), cost=st.sampled_from([PRICE, PRICE // 3, 2 * PRICE, 0]))
    def charge_is_told(self, number: int, cost: int) -> None:
        charged = [generation for generation in self.project.provider.generations.values() if generation.charged]
        if charged:
            self.project.settle(charged[number % len(charged)], cost)

    # What a person does

    @precondition(lambda self: self.project.keys(State.FAILED))
    @rule(one=st.booleans(), pay_again=st.booleans(), death=VERB_DEATHS)
    def retry(self, one: bool, pay_again: bool, death: Death | None) -> None:
        failed = self.project.keys(State.FAILED)
        self.project.retry(failed[:1] if one or pay_again else [], pay_again=pay_again, death=death)

    @precondition(lambda self: self.project.keys(State.DONE))
    @rule(number=st.integers(0, 3), death=VERB_DEATHS)
    def redo(self, number: int, death: Death | None) -> None:
        done = self.project.keys(State.DONE)
        self.project.redo(done[number % len(done)], death=death)

    @precondition(lambda self: self.project.has_doubts())
    @rule(seconds=st.sampled_from([0.0, 120.0]), death=VERB_DEATHS)
    def look_up(self, seconds: float, death: Death | None) -> None:
        self.project.take_up()
        self.project.look_up(seconds=seconds, death=death)

    @precondition(lambda self: self.project.has_doubts())
    @rule(decision=st.sampled_from([Verb.RESUBMIT, Verb.GIVE_UP, Verb.ADOPT]), death=VERB_DEATHS)
    def decide(self, decision: Verb, death: Death | None) -> None:
        """About the oldest doubt, after a slip of the hand. Who adopts sees the right id on the provider's pages."""
        project = self.project
        project.take_up()
        for name, request_id in project.doubts()[:1]:
            with pytest.raises(UsageError):
                project.adopt(name, project.an_id_of_another())
            taken = project.provider.of(request_id)
            if decision is not Verb.ADOPT:
                unwanted = name == request_id
                with pytest.raises(UsageError) if decision is Verb.RESUBMIT and unwanted else nullcontext():
                    project.decide(decision, name, death=death)
            elif taken is not None:
                project.adopt(name, taken.generation_id, death=death)

    @invariant()
    def laws_hold(self) -> None:
        self.project.judge()

    def teardown(self) -> None:
        """A course that broke no law is brought to its end."""
        try:
            if sys.exc_info()[0] is None and self.project.rows:
                self.project.finish()
        finally:
            self.project.close()
            self._folder.cleanup()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(ROUNDS))
def test_whatever_happens_the_laws_hold_and_the_batch_comes_to_its_end(number: int) -> None:
    """Nobody can list what will happen to a batch in a year of nights; the laws are for all of it."""

    @seed(number)
    class Round(Courses):
        """The courses of one round, the same ones each time."""

    run_state_machine_as_test(
        Round,
        settings=settings(
            max_examples=COURSES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
