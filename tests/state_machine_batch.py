"""A batch that may be killed between any two of its steps, the person who works with it, and the laws that it keeps.

A kill is an exception that nothing survives: the loop stops in the middle of what it does, whatever was not committed
is rolled back, the coroutines are closed without a word reaching the disk, and jobs.db is opened anew.
"""

from __future__ import annotations

import asyncio
import csv
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from runner_factory import START, Night
from state_machine_api import PRICE, FaultyNetwork, FaultyProvider, Generation

from lipsync_batch import remedies, resolving
from lipsync_batch.clock import VirtualClock, VirtualTimeLoop
from lipsync_batch.jobs import MOVES, Pair, State, StopReason
from lipsync_batch.manifest import Manifest
from lipsync_batch.plan import Planner
from lipsync_batch.providers.base import Accepted, Charge
from lipsync_batch.runlog import RunLog
from lipsync_batch.runner.forecast import OVERDUE_SECONDS
from lipsync_batch.runner.throttle import Throttle
from lipsync_batch.runner.work import take_up
from lipsync_batch.settings import Settings
from lipsync_batch.store.ledger import Ledger

T = TypeVar("T")

# A kill


class KilledError(KeyboardInterrupt):
    """kill -9. Of this kind because asyncio lets such an exception out of the loop at once, past all tasks."""


class Moment(StrEnum):
    """Where a process may be killed. Each passes several times in a run."""

    TURN = "turn"  #: of the loop
    POST = "post"  #: a submit leaves, or has just been taken
    WRITE = "write"  #: a transaction is to be committed
    JOURNAL = "journal"  #: an intent or an answer is in run.log, and not yet in jobs.db
    FILE = "file"  #: a rename, a copy, a look at a file


@dataclass(frozen=True, kw_only=True)
class Death:
    """The moment at which a process is killed: the so manieth of its kind, counted from 0."""

    moment: Moment
    number: int


class MortalLoop(VirtualTimeLoop):
    """Virtual time that a kill may end at any turn of the loop."""

    def __init__(self, pass_by: Callable[[Moment], None], *, now: float = 0.0) -> None:
        super().__init__()
        self._pass = pass_by
        self._now = now

    def _run_once(self) -> None:
        self._pass(Moment.TURN)
        super()._run_once()


class MortalClock(VirtualClock):
    """A kill may come before and after all that is done in a thread: renames, copies, looks at files."""

    def __init__(self, loop: MortalLoop, pass_by: Callable[[Moment], None]) -> None:
        super().__init__(START, loop)
        self._pass = pass_by

    async def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._pass(Moment.FILE)
        result = await super().in_thread(function, *args, **kwargs)
        self._pass(Moment.FILE)
        return result


class MortalNight(Night):
    """A batch in virtual time that can be killed, and lives again on what is on disk."""

    def __init__(self, folder: Path) -> None:
        self._death: Death | None = None
        self._passed: Counter[Moment] = Counter()
        self._dead = False
        loop = MortalLoop(self.pass_by)
        super().__init__(folder, loop=loop, clock=MortalClock(loop, self.pass_by))
        self.provider = FaultyProvider(self.clock)
        self.fetcher = FaultyNetwork(self.provider)
        self.run_log = RunLog(self.folder.state / "run.log", self.clock)
        for statement in _WITNESS:
            self.store._database.execute(statement)

    def now(self) -> float:
        """The clock's seconds, while nothing runs."""
        return self.loop.time()

    def pass_by(self, moment: Moment) -> None:
        """A moment of the process: its last one, if it is to die now. The dead do nothing more."""
        if self._death == Death(moment=moment, number=self._passed[moment]):
            self._dead = True
        self._passed[moment] += 1
        if self._dead:
            raise KilledError

    @contextmanager
    def dying(self, death: Death | None) -> Iterator[None]:
        """Kill what is done inside, if it gets so far; None lets it live."""
        self._death = death
        self._passed.clear()
        try:
            yield
        finally:
            self._death = None

    def do(self, step: Any) -> Any:
        try:
            return super().do(step)
        except KilledError:
            self._bury()
            self._live_again()
            raise

    @contextmanager
    def writing(self) -> Iterator[Ledger]:
        with self.store.writing(self._journal) as ledger:
            yield ledger

    def journalled(self, request_ids: Collection[str]) -> Mapping[str, Accepted]:
        return self.run_log.accepted(request_ids)

    def _journal(self, lines: Sequence[str]) -> None:
        """Inside each transaction, before its commit."""
        self.pass_by(Moment.WRITE)
        self.run_log.durable(lines)
        if lines:
            self.pass_by(Moment.JOURNAL)

    def _bury(self) -> None:
        self.store.close()
        self.run_log.__exit__(None, None, None)
        self.loop.set_exception_handler(lambda *_: None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # coroutines that never began
            for task in asyncio.all_tasks(self.loop):
                _close(task.get_coro())
        self.loop.close()

    def _live_again(self) -> None:
        self._dead, self._death = False, None
        self.loop = MortalLoop(self.pass_by, now=self.loop.time())
        self.clock = self.provider.clock = MortalClock(self.loop, self.pass_by)
        self.run_log = RunLog(self.folder.state / "run.log", self.clock)
        self.store = self.opened()

    def close(self) -> None:
        self.run_log.__exit__(None, None, None)
        super().close()


def _close(coroutine: Any) -> None:
    """End a coroutine that nobody will go on with; one that awaits while it is being closed is closed again."""
    while coroutine.cr_frame is not None:
        with suppress(BaseException):
            coroutine.close()


_WITNESS = (
    "CREATE TABLE witness (id INTEGER PRIMARY KEY, fingerprint TEXT, old TEXT, new TEXT, request_id TEXT)",
    """
    CREATE TRIGGER witness AFTER UPDATE OF state ON pairs WHEN OLD.state <> NEW.state BEGIN
        INSERT INTO witness (fingerprint, old, new, request_id) VALUES (NEW.fingerprint, OLD.state, NEW.state, (
            SELECT client_request_id FROM generations WHERE fingerprint = NEW.fingerprint AND live = 1
        ));
    END
    """,
)
"""Every change of a state, whoever made it, is seen by the database itself, with the generation that was live then."""


# A person


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the manifest. Rows of one number and take want the same pair."""

    number: int
    output: str
    take: int = 1


class Change(StrEnum):
    """What is done to a manifest."""

    SET = "set"  #: another pair for a job, or a new job
    REMOVE = "remove"
    SWAP = "swap"  #: two jobs' outputs
    RENAME = "rename"  #: the key, and perhaps the output


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A change to the row `key`, as far as it makes sense: the output that is wished for is taken where it is free."""

    change: Change
    key: str
    other: str
    wish: Row


class Damage(StrEnum):
    """What becomes of a file."""

    DELETED = "deleted"
    CUT = "cut"
    CHANGED = "changed"  #: and not in its length


@dataclass(frozen=True, kw_only=True)
class Harm:
    """Damage to one of the files that stand under final names; perhaps it can no longer be had where it came from."""

    file: int
    damage: Damage
    link_dies: bool


OUTPUTS = ("a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4", "more/a.mp4")


class Verb(StrEnum):
    """What is being done to the batch, and what it may therefore do to pairs that had come to rest."""

    RUN = "run"
    RETRY = "retry"
    PAY_AGAIN = "retry --pay-again"
    REDO = "redo"
    TAKE_UP = "resolve, before all else"
    LOOK_UP = "resolve"
    ADOPT = "resolve --adopt"
    RESUBMIT = "resolve --resubmit"
    GIVE_UP = "resolve --give-up"


S = State
_ALLOWED = {
    (S.PENDING, S.SUBMITTED): {Verb.LOOK_UP},
    (S.SUBMITTING, S.SUBMITTED): {Verb.RUN, Verb.TAKE_UP},
    (S.SUBMITTING, S.UNCLEAR): {Verb.RUN, Verb.TAKE_UP},
    (S.UNCLEAR, S.SUBMITTED): {Verb.RUN, Verb.LOOK_UP, Verb.ADOPT},
    (S.UNCLEAR, S.PENDING): {Verb.RESUBMIT},
    (S.UNCLEAR, S.FAILED): {Verb.GIVE_UP},
    (S.DONE, S.READY): {Verb.RUN},
    (S.FAILED, S.SUBMITTED): {Verb.RETRY},
    (S.FAILED, S.PENDING): {Verb.RETRY, Verb.PAY_AGAIN},
}
"""The verbs that may make a move; others are made by runs alone."""
_DOUBT = (S.SUBMITTING, S.UNCLEAR)
_FOUND = {(S.UNCLEAR, S.SUBMITTED), (S.PENDING, S.SUBMITTED)}
_ORDERS = {(S.UNCLEAR, S.PENDING), (S.UNCLEAR, S.FAILED), (S.FAILED, S.PENDING)}


class Project:
    """A manifest, its batch, what a person has decided, and every law that was broken."""

    def __init__(self, folder: Path) -> None:
        self.manifest = folder / "spring.csv"
        self.rows: dict[str, Row] = {}
        self.night = MortalNight(folder)
        self.provider: FaultyProvider = self.night.provider
        self.provider.leaving = self._judge_leaving
        self.provider.taken_in = self._judge_slots
        self.provider.posted = lambda: self.night.pass_by(Moment.POST)
        self.broken: list[str] = []
        self._budget: int | None = None
        self._max_in_flight = 0
        self._collects = False
        self._moves_seen = 0
        self._payments: defaultdict[str, int] = defaultdict(lambda: 1)
        """How often each pair may be paid for."""
        self._written_off: set[str] = set()
        """Client request ids that a person no longer waits for, whatever they may have cost."""
        self._to_be_paid_again: set[str] = set()
        """Those of them in whose place a person wants another one."""
        self._wanted_at: defaultdict[str, set[str]] = defaultdict(set)
        """The pairs that jobs have ever wanted under each output."""
        self._doubted: dict[str, set[str]] = {}
        """By client request id, the pairs that were in doubt when it left."""
        self._harmed: dict[bytes, str] = {}
        """What a person made of files, and whose they were."""
        self._redone: dict[tuple[int, int], int] = {}
        """The take that a person had made instead, by number and take."""
        self._missing: set[str] = set()
        """Finished pairs of which a person harmed or deleted a file."""

    def close(self) -> None:
        self.night.close()

    # What the store says

    def query(self, sql: str, **parameters: object) -> list[Any]:
        return self.night.store._database.execute(sql, parameters).fetchall()

    def keys(self, state: State) -> list[str]:
        """The jobs whose pair stands so, as the batch knows them."""
        rows = self.query(
            "SELECT key FROM jobs JOIN pairs USING (fingerprint) WHERE state = :state ORDER BY key", state=state
        )
        return [row["key"] for row in rows]

    def states(self) -> dict[str, State]:
        """Of all pairs ever seen."""
        return {row["fingerprint"]: State(row["state"]) for row in self.query("SELECT fingerprint, state FROM pairs")}

    # The manifest: what it says counts from the next run on

    def edit(self, edit: Edit) -> None:
        rows, key, other = self.rows, edit.key, edit.other
        used = {row.output for row in rows.values()}
        free = [output for output in (edit.wish.output, *OUTPUTS) if output not in used]
        if edit.change is Change.SET:
            rows[key] = replace(edit.wish, output=rows[key].output if key in rows else free[0])
        elif key not in rows:
            return
        elif edit.change is Change.REMOVE and len(rows) > 1:
            del rows[key]
        elif edit.change is Change.SWAP and other in rows:
            one, two = rows[key], rows[other]
            rows[key], rows[other] = replace(one, output=two.output), replace(two, output=one.output)
        elif edit.change is Change.RENAME and (other == key or other not in rows):
            row = rows.pop(key)
            rows[other] = replace(row, output=edit.wish.output if edit.wish.output in free else row.output)

    # Verbs

    def run(
        self,
        *,
        budget: int | None = None,
        deadline: float | None = None,
        collect_only: bool = False,
        verify: bool = False,
        max_in_flight: int = 20,
        death: Death | None = None,
    ) -> StopReason | None:
        """Take the manifest in, and work, for `deadline` seconds at most; None if it was killed."""
        self._budget, self._max_in_flight, self._collects = budget, max_in_flight, collect_only
        reason = None
        with self._acting(Verb.RUN, death):
            if not collect_only:
                self.night.do(self._take_in())
            reason = self.night.run(
                budget=budget,
                verify=verify,
                deadline=None if deadline is None else self.provider.at(self.night.now() + deadline),
                collect_only=collect_only,
                max_in_flight=max_in_flight,
            )
        if reason is not None:
            self._judge_ended_run(verify=verify)
            if not collect_only:
                self._judge_jobs()
        return reason

    async def _take_in(self) -> None:
        with self.manifest.open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["key", "video", "text", "speaker", "output", "take"])
            for key, row in self.rows.items():
                video, text = f"https://media.example/{row.number}.mp4", f"Text {row.number}"
                lines.writerow([key, video, text, "Emily", row.output, row.take])
        store = self.night.store
        planner = Planner(Manifest.load(self.manifest), store, Settings())
        planner.stage()
        planner.check()
        self.night.pass_by(Moment.WRITE)
        store.reconcile(planner.staging)
        self.night.pass_by(Moment.WRITE)
        store.estimate(per_generation=PRICE, per_second=0)

    def retry(
        self, keys: Sequence[str] = (), *, pay_again: bool = False, death: Death | None = None
    ) -> remedies.Again | None:
        night, verb = self.night, Verb.PAY_AGAIN if pay_again else Verb.RETRY
        return self._do(verb, remedies.retry(night.store, night.run_log, keys, pay_again=pay_again), death)

    def redo(self, key: str, *, death: Death | None = None) -> None:
        number, take = self._wanted_by(key)
        self._do(Verb.REDO, remedies.redo(self.night.store, self.night.run_log, [key], reason="lips late"), death)
        if (redone := self._wanted_by(key)[1]) != take:
            self._redone[number, take] = redone

    def _wanted_by(self, key: str) -> tuple[int, int]:
        """The number and the take of a job's pair."""
        (row,) = self.query("SELECT video, take FROM jobs JOIN pairs USING (fingerprint) WHERE key = :key", key=key)
        return int(row["video"].rpartition("/")[2].partition(".")[0]), row["take"]

    def look_up(self, *, seconds: float, death: Death | None = None) -> None:
        night = self.night
        throttle = Throttle(night.clock)
        search = resolving.look_up(
            night.store, night.run_log, night.provider, throttle=throttle, clock=night.clock, seconds=seconds
        )
        self._do(Verb.LOOK_UP, search, death)

    def adopt(self, name: str, generation_id: str, *, death: Death | None = None) -> None:
        """While the API answers. UsageError for an id that cannot be right."""
        night = self.night
        with self.provider.answering():
            self._do(
                Verb.ADOPT, resolving.adopt(night.store, night.run_log, night.provider, name, generation_id), death
            )

    def decide(self, decision: Verb, name: str | None = None, *, death: Death | None = None) -> None:
        """Send a submit again, or give it up; all that are in doubt, where none is named.

        UsageError where one that no job wants is to be sent again.
        """
        store, log = self.night.store, self.night.run_log
        names = [] if name is None else [name]
        doubts, order = resolving.chosen_doubts(store, names), resolving.give_up
        if decision is Verb.RESUBMIT:
            doubts, order = resolving.still_wanted(doubts, names), resolving.resubmit
        self._do(decision, order(store, log, doubts), death)

    def has_doubts(self) -> bool:
        """Whether there is anything to resolve, in the eyes of a person."""
        return any(state in _DOUBT for state in self.states().values()) or bool(self.night.store.reads.written_off())

    def take_up(self) -> None:
        """What each `resolve` begins with: a submit that a kill left without a word is unclear from now on."""

        async def step() -> None:
            with self.night.writing() as ledger:
                await take_up(self.night.store.reads, ledger, self.night.journalled)

        self._do(Verb.TAKE_UP, step())

    def doubts(self) -> list[tuple[str, str]]:
        """Unclear submits: how they are named, and their client request ids."""
        return [(doubt.name, doubt.client_request_id) for doubt in self.night.store.reads.unclear()]

    def an_id_of_another(self) -> str:
        """A generation id that the ledger has, of whatever pair; nonsense where it has none."""
        rows = self.query("SELECT generation_id FROM generations WHERE generation_id IS NOT NULL")
        return rows[0]["generation_id"] if rows else "nonsense"

    def wait(self, seconds: float) -> None:
        """Let time go by while nothing runs."""
        self.night.do(self.night.clock.sleep(seconds))

    def settle(self, generation: Generation, cost: int) -> None:
        """The account now says what a generation cost."""
        created = self.provider.at(generation.started)
        self.provider.taken.append(Charge(generation_id=generation.generation_id, cost=cost, created=created))

    def outputs(self) -> list[str]:
        """The files that stand under final names now."""
        root, state = self.night.folder.root, self.night.folder.state
        files = (path for path in sorted(root.rglob("*.mp4")) if not path.is_relative_to(state))
        return [path.relative_to(root).as_posix() for path in files]

    def harm(self, harm: Harm) -> None:
        outputs = self.outputs()
        if not outputs:
            return
        path = self.night.folder.path(outputs[harm.file % len(outputs)])
        content = path.read_bytes()
        whose = self._whose(content)
        assert whose is not None
        self._missing.add(whose)
        if harm.link_dies:
            self.provider.links_die(whose)
        if harm.damage is Damage.DELETED:
            path.unlink()
            return
        harmed = content[:-3] if harm.damage is Damage.CUT else b"X" + content[1:]
        self._harmed[harmed] = whose
        path.write_bytes(harmed)

    def _do(self, verb: Verb, step: Coroutine[Any, Any, T], death: Death | None = None) -> T | None:
        """Its result, or None if it was killed."""
        with self._acting(verb, death):
            return self.night.do(step)

    @contextmanager
    def _acting(self, verb: Verb, death: Death | None) -> Iterator[None]:
        """A verb, killed on the way if its time has come; what it did is judged in any case."""
        interrupted = self.night.store.reads.interrupted()
        answered = self.night.journalled(interrupted) if interrupted else {}
        with suppress(KilledError), self.night.dying(death):
            yield
        self._judge_moves(verb, answered)
        for row in self.query("SELECT output, fingerprint FROM jobs"):
            self._wanted_at[row["output"]].add(row["fingerprint"])

    # Laws

    def judge(self) -> None:
        """What holds whenever nothing is being done. AssertionError with all that was broken so far."""
        self._judge_payments()
        self._judge_files()
        assert not self.broken, "\n".join(self.broken)

    def _judge_leaving(self, pair: Pair, request_id: str) -> None:
        """As a submit leaves: wanted, written down, sent for the first time, within the budget."""
        fingerprint = pair.fingerprint
        self._doubted[request_id] = {doubt for doubt, state in self.states().items() if state is S.UNCLEAR}
        if request_id in self.provider.submitted:
            self._break(f"{request_id} is sent twice")
        if risks := self.provider.may_be_charged.get(fingerprint, set()) - self._to_be_paid_again:
            self._break(f"{request_id} is sent, though {sorted(risks)} of the same pair may have been charged")
        if self._collects:
            self._break(f"{request_id} is sent with --collect-only")
        if not self.query("SELECT 1 FROM jobs WHERE fingerprint = :f", f=fingerprint):
            self._break(f"{request_id} is sent, though no job wants it")
        if self.night.store._database.conn.in_transaction or not self._intended(request_id):
            self._break(f"{request_id} is sent before its intent is durable")
        if self._budget is not None and (spent := self._spent()) > self._budget:
            self._break(f"{request_id} is sent: that makes {spent} of a budget of {self._budget}")

    def _intended(self, request_id: str) -> bool:
        row = self.query("SELECT 1 FROM generations WHERE client_request_id = :id AND live = 1", id=request_id)
        return bool(row) and request_id in (self.night.folder.state / "run.log").read_text()

    def _spent(self) -> int:
        """Law 5, by what the caller was told: the settled cost, else the larger of reserve and quote."""
        maybe = set().union(*self.provider.may_be_charged.values()) if self.provider.may_be_charged else set()
        leaving = {row["client_request_id"] for row in self.query("SELECT client_request_id FROM generations")}
        leaving -= set(self.provider.submitted)
        return sum(
            row["settled"] if row["settled"] is not None else max(row["reserve"], PRICE, row["quote"] or 0)
            for row in self.query("SELECT client_request_id, settled, reserve, quote FROM generations")
            if row["settled"] is not None or row["client_request_id"] in maybe | leaving
        )

    def _judge_slots(self, taken: Generation) -> None:
        """As the provider takes one: how many it now has of ours.

        Those that were given up, and those that are overdue, hold no slot of ours; one that is in doubt does for as
        long as generations usually take, also where the log names it while the next one is on its way.
        """
        states, doubted = self.states(), self._doubted[taken.request_id]
        usual = min([self.provider.seconds, *self.night.store.reads.generation_seconds(100)])
        held = [
            generation
            for generation in self.provider.alive()
            if generation.request_id not in self._written_off
            and states[generation.fingerprint] is not S.FAILED
            and self.night.clock.now() - generation.started
            <= (usual if generation.fingerprint in doubted else OVERDUE_SECONDS)
        ]
        if len(held) > self._max_in_flight:
            ids = ", ".join(f"{one.request_id} ({states[one.fingerprint]})" for one in held)
            self._break(f"{len(held)} generations are alive instead of {self._max_in_flight}: {ids}")

    def _judge_moves(self, verb: Verb, answered: Collection[str]) -> None:
        """Every change of a state since the last look: legal, and out of a state of rest by the right verb alone.

        `answered` are the submits that a kill interrupted, and whose answer was in run.log before the verb.
        """
        for row in self.query("SELECT * FROM witness WHERE id > :seen ORDER BY id", seen=self._moves_seen):
            self._moves_seen = row["id"]
            fingerprint, move = row["fingerprint"], (State(row["old"]), State(row["new"]))
            told = f"{fingerprint[:12]} went from {move[0]} to {move[1]} by `{verb}`"
            if move[1] not in MOVES[move[0]]:
                self._break(f"{told}: no such move")
            if verb not in _ALLOWED.get(move, {Verb.RUN}):
                self._break(told)
            if move in _FOUND and verb is not Verb.ADOPT and row["request_id"] not in self.provider.shown:
                self._break(f"{told}, though the log has not named it")
            if move == (S.SUBMITTING, S.UNCLEAR) and row["request_id"] in answered:
                self._break(f"{told}, though its answer is in run.log")
            if move[1] is S.SUBMITTED:
                self._take_back(fingerprint, row["request_id"], unpaid=move[0] is S.PENDING)
            if move == (S.DONE, S.READY) and fingerprint not in self._missing:
                self._break(f"{told}, though nobody touched its files")
            if move == (S.READY, S.DONE):
                self._missing.discard(fingerprint)
            if move in _ORDERS and verb != Verb.RETRY:
                self._order(fingerprint, paid_again=move[1] is S.PENDING)

    def _take_back(self, fingerprint: str, request_id: str, *, unpaid: bool) -> None:
        """What was written off may have been found after all; if so, perhaps before another one was paid for."""
        self._written_off.discard(request_id)
        self._to_be_paid_again.discard(request_id)
        if unpaid:
            self._payments[fingerprint] = max(1, self.provider.paid(fingerprint))

    def _order(self, fingerprint: str, *, paid_again: bool) -> None:
        """A person has decided over a pair that may have been paid for."""
        request_ids = self.provider.may_be_charged.get(fingerprint, set())
        self._written_off |= request_ids
        if paid_again:
            self._to_be_paid_again |= request_ids
            self._payments[fingerprint] = self.provider.paid(fingerprint) + 1

    def _judge_payments(self) -> None:
        """Each pair paid for once, or as often as a person said; each payment with its id in the ledger, or unclear."""
        states = self.states()
        ledger = {row["client_request_id"]: row for row in self.query("SELECT * FROM generations")}
        for fingerprint in states:
            paid = self.provider.paid(fingerprint)
            if paid > self._payments[fingerprint]:
                self._break(f"{fingerprint[:12]} was paid for {paid} times instead of {self._payments[fingerprint]}")
        for generation in self.provider.generations.values():
            row = ledger.get(generation.request_id)
            if row is None:
                self._break(f"{generation.request_id} was taken, and is not in the ledger")
            elif row["generation_id"] is None:
                if states[generation.fingerprint] not in _DOUBT and generation.request_id not in self._written_off:
                    self._break(f"{generation.request_id} was taken; the ledger has no id for it, and is not in doubt")
            elif row["generation_id"] != generation.generation_id:
                self._break(f"{generation.request_id}: {row['generation_id']} is not its id")

    def _judge_files(self) -> None:
        """Whatever stands under a final name is whole, and of a pair that was wanted there."""
        for output in self.outputs():
            whose = self._whose(self.night.folder.path(output).read_bytes())
            if whose is None:
                self._break(f"{output} is not whole")
            elif whose not in self._wanted_at[output]:
                self._break(f"{output} holds the video of {whose[:12]}, which was never wanted there")
        for path in (self.night.folder.state / "superseded").glob("*.mp4"):
            if self._whose(path.read_bytes()) is None:
                self._break(f"superseded/{path.name} is not whole")

    def _judge_ended_run(self, *, verify: bool) -> None:
        """After a run that came to its end: finished jobs have their files, and nothing is left on its way."""
        for row in self.query(
            "SELECT key, output, fingerprint FROM jobs JOIN pairs USING (fingerprint) WHERE state = 'done'"
        ):
            path = self.night.folder.path(row["output"])
            content = path.read_bytes() if path.exists() else b""
            if self._whose(content) != row["fingerprint"] or (verify and content in self._harmed):
                self._break(f"{row['key']} is done, but {row['output']} is not its video")
        if S.SUBMITTING in self.states().values():
            self._break("a pair is still `submitting` after the run")
        self._broken_off(self.night.folder.root.rglob("*.moving"))

    def _judge_jobs(self) -> None:
        """Each job wants what the manifest says, or the take that a person had made instead."""
        for key, row in self.rows.items():
            take = row.take
            while (row.number, take) in self._redone:
                take = self._redone[row.number, take]
            if self._wanted_by(key) != (row.number, take):
                self._break(f"{key} wants {self._wanted_by(key)} instead of {(row.number, take)}")

    def _broken_off(self, strays: Iterator[Path]) -> None:
        self.broken.extend(f"{path.name} was left behind" for path in strays)

    def _whose(self, content: bytes) -> str | None:
        """The pair that a whole video is of; None for anything else."""
        made = {generation.content: generation.fingerprint for generation in self.provider.generations.values()}
        return made.get(content) or self._harmed.get(content)

    def _break(self, what: str) -> None:
        self.broken.append(what)

    # The end

    def finish(self) -> None:
        """All troubles end: the batch comes to its end by itself, but for what waits for a person; then that too."""
        self.provider.healthy = True
        self._finish_alone()
        self.retry()
        self._run_out()
        again = self.retry()  # what was given up, and found late, may only now have said that it ended in an error
        assert again is not None
        self._run_out()
        left = self.keys(S.FAILED)
        assert set(left) <= set(again.left) | set(self.keys_sharing(again.left)), f"{left} were taken up again, in vain"
        if left:
            self.retry(left, pay_again=True)
        self.decide(Verb.RESUBMIT)
        self._run_out()
        assert set(self.states_of_jobs().values()) <= {S.DONE}, self.states_of_jobs()

    def _finish_alone(self) -> None:
        self._run_out()
        for fingerprint, state in self.states().items():
            if state is S.UNCLEAR:
                taken = [self.provider.of(id_) for id_ in self.provider.may_be_charged[fingerprint] - self._written_off]
                assert not any(taken), f"{taken} is in the log, and still unclear"
            else:
                assert state in (S.DONE, S.FAILED, S.PENDING), f"{fingerprint} is {state} after a healthy run"
        assert S.PENDING not in self.states_of_jobs().values()
        self._judge_collected()

    def _run_out(self) -> None:
        reason = self.run()
        self.judge()
        assert reason is StopReason.FINISHED

    def keys_sharing(self, keys: Sequence[str]) -> list[str]:
        """The jobs that want the pairs of these."""
        return [key for key in self.states_of_jobs() if self._pair_of(key) in {self._pair_of(other) for other in keys}]

    def _pair_of(self, key: str) -> str:
        return str(self.query("SELECT fingerprint FROM jobs WHERE key = :key", key=key)[0]["fingerprint"])

    def states_of_jobs(self) -> dict[str, State]:
        rows = self.query("SELECT key, state FROM jobs JOIN pairs USING (fingerprint)")
        return {row["key"]: State(row["state"]) for row in rows}

    def _judge_collected(self) -> None:
        """Every generation that was charged is on disk, or its pair waits for a person, or a person has decided."""
        folder = self.night.folder
        files = [*(folder.path(output) for output in self.outputs()), *(folder.state / "superseded").glob("*.mp4")]
        there = {self._whose(path.read_bytes()) for path in files}
        states = self.states()
        for generation in self.provider.generations.values():
            fingerprint = generation.fingerprint
            if not generation.charged or generation.request_id in self._written_off:
                continue
            if states[fingerprint] is S.DONE and fingerprint not in there | self._missing:
                self._break(f"{generation.generation_id} was paid for, and its video is nowhere")
