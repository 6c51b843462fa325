"""The crash matrix: a batch is killed at every point, run again to its end, and looked at from outside.

A process of its own without threads forks a child for each run, so that hundreds of them cost no imports; many batches
go on at once, since a run mostly waits. One sandbox serves all of them and keeps the books.

    python tests/crash_matrix.py matrix --part 1/4                    every point, for `make test`
    python tests/crash_matrix.py soak --kills 20000                   at random, for `make soak`
    python tests/crash_matrix.py lost --kills 20                      a disk is lost besides, and `rebuild` mends it
    python tests/crash_matrix.py case --scenario new 'done:commit:before#1' 'step 17'

Linux only: it asks /proc what a descriptor means. The last line says what was done; exit code 1 where anything was
wrong, and then the folders of those batches are kept, and named in a line after it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import random
import shutil
import ssl
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from crash_losses import LOSSES, Loss
from crash_points import Deadly
from crash_scenarios import SCENARIOS, Project, Scenario, batch_folder
from crash_stage import Ended, Kill, Launch, Play, Stage, last_words
from crash_truth import Ending, Intents, Truth, broken_laws, broken_promises

from lipsync_batch import exits
from lipsync_batch.clock import Clock
from lipsync_batch.jobs import StopReason
from lipsync_batch.providers.aimlapi import AimlApi
from lipsync_batch.report import write_reports
from lipsync_batch.sandbox.process import SandboxProcess
from lipsync_batch.store import Store

SANDBOX = ["--median=0.2", "--spread=0", "--speed-up=1", "--log-lag=0", "--workers=1", "--credits=1000000"]
SHOWN_FAULTS = 6
"""Of one batch."""
RUNS_AGAIN = 3
"""How often a run that still has something unclear is followed by another."""

SPARED = 0.05
"""The share of points of a part that may be missed by chance."""


@dataclass
class Tally:
    """What was done, and what was wrong."""

    kills: Counter[str] = field(default_factory=Counter)
    """By point; '' is a random instant."""
    chains: int = 0
    missed: list[str] = field(default_factory=list)
    """Kills that did not happen, since the run never came there."""
    failures: list[str] = field(default_factory=list)

    def closing_line(self, runs: int, seconds: float) -> str:
        instants = self.kills[""]
        points = len(self.kills) - bool(instants)
        return (
            f"{self.kills.total():,} kills at {points:,} points and {instants:,} random instants, "
            f"in {self.chains:,} batches and {runs:,} runs: {len(self.failures):,} failures, "
            f"{len(self.missed):,} points not reached, {seconds:,.0f} s"
        )


class Matrix:
    """The plays: batches that are killed, run to their ends, and looked at."""

    def __init__(self, project: Project, truth: Truth) -> None:
        self._project = project
        self._truth = truth
        self._finished: Path | None = None
        self._unbroken: dict[str, Ending] = {}
        self._looked_at: set[str] = set()
        """Batches, by id."""
        self.points: dict[str, list[Deadly]] = {}
        """Of each scenario, what an unbroken run passes."""
        self.tally = Tally()

    def unbroken(self, scenario: Scenario) -> Play:
        """Run a batch to its end: what it looks like then is what all others must come to."""
        if scenario.before:
            self._finished = self._project.new(f"{scenario.name}-before", scenario.before)
            yield Launch(manifest=self._finished)
            self._truth.accepted(Intents(self._finished).batch_id)
        manifest = self._prepare(scenario, f"{scenario.name}-unbroken")
        ended = yield Launch(manifest=manifest)
        wrong = list(broken_promises(scenario, manifest, self._truth))
        if wrong:
            raise AssertionError("\n".join([*wrong, last_words(manifest)]))
        self._unbroken[scenario.name] = Ending.of(manifest, ended.code)
        self.points[scenario.name] = ended.passed
        self._looked_at |= {Intents(manifest).batch_id, Intents(self._finished or manifest).batch_id}

    def once(self, scenario: Scenario, deadly: Deadly) -> Generator[Launch, Ended, list[Deadly]]:
        """Killed at a point, and run to the end; what the run passed that did so."""
        passed = yield from self.chain(scenario, [deadly])
        if not self.tally.kills[deadly.point]:
            # Commits come in groups, and connections are shared, as time will have it: the last hits may be missing.
            passed = yield from self.chain(scenario, [Deadly(point=deadly.point)])
        return passed

    def again_and_again(self, scenario: Scenario, deadly: Deadly) -> Play:
        """The same; and another batch is killed there, then somewhere in the run that follows, and in the next."""
        passed = yield from self.once(scenario, deadly)
        if passed:
            dice = random.Random(str(deadly))
            second = Deadly(step=dice.randint(1, len(passed)))
            third = Deadly(step=dice.randint(1, 1 + len(passed) // 4))  # little may be left to be done by then
            yield from self.chain(scenario, [deadly, second, third])

    def chain(self, scenario: Scenario, kills: Sequence[Kill]) -> Generator[Launch, Ended, list[Deadly]]:
        """One batch, killed one time after another, then run to its end; what the first run passed that lived."""
        self.tally.chains += 1
        name = f"{scenario.name}-{self.tally.chains}"
        manifest = self._prepare(scenario, name)
        wrong: list[str] = []
        for kill in kills:
            ended = yield Launch(manifest=manifest, kill=kill)
            if not ended.killed:
                self.tally.missed.append(_named(kill))
                wrong += _broken(manifest, ended)
                break
            self.tally.kills[ended.passed[-1].point if ended.passed else ""] += 1
            wrong += broken_laws(scenario, manifest, self._truth)
        ended = yield Launch(manifest=manifest)
        wrong += _broken(manifest, ended)
        passed = ended.passed
        sent_twice: set[str] = set()
        for _ in range(RUNS_AGAIN):
            if not (unclear := self._unclear(manifest)):
                break
            if never_sent := tuple(key for key, known in unclear.items() if not known):
                sent_twice |= set(never_sent)
                wrong += _broken(manifest, (yield Launch(manifest=manifest, resubmit=never_sent)))
            ended = yield Launch(manifest=manifest)
            wrong += _broken(manifest, ended)
        wrong += self._wrong_in_the_end(scenario, manifest, ended, frozenset(sent_twice))
        self._keep_if_wrong(manifest, wrong, f"{name}, killed at {', '.join(map(_named, kills))}")
        return passed

    def lost(self, scenario: Scenario, kill: Kill, loss: Loss) -> Play:
        """Killed, robbed of its records, made again, in which it is killed as well, and run to the end."""
        self.tally.chains += 1
        name = f"lost-{self.tally.chains}"
        manifest, dice = self._prepare(scenario, name), random.Random(name)
        ended = yield Launch(manifest=manifest, kill=kill)
        self.tally.kills[ended.passed[-1].point if ended.passed else ""] += 1
        wrong = list(broken_laws(scenario, manifest, self._truth))
        paid = bool(self._truth.accepted(Intents(manifest).batch_id))
        loss(manifest, dice)
        ended = yield Launch(manifest=manifest, kill=Deadly(step=dice.randint(1, 60)), rebuild=True)
        self.tally.kills["rebuilding"] += ended.killed
        ended = yield Launch(manifest=manifest, rebuild=True)
        made = (batch_folder(manifest) / "_batch" / "jobs.db").exists()
        if not made and paid:
            wrong += [f"nothing was made again, exit {ended.code}:\n{last_words(manifest)}"]
        wrong += yield from self._to_the_end(scenario, manifest)
        self._keep_if_wrong(manifest, wrong, f"{name}, killed at {_named(kill)}, lost {loss.__name__}")

    def _to_the_end(self, scenario: Scenario, manifest: Path) -> Generator[Launch, Ended, list[str]]:
        """Run until nothing is in doubt, and look at what came of it."""
        wrong: list[str] = []
        for _ in range(1 + RUNS_AGAIN):
            wrong += _broken(manifest, (yield Launch(manifest=manifest)))
            if not (unclear := self._unclear(manifest)):
                break
            if never_sent := tuple(key for key, known in unclear.items() if not known):
                wrong += _broken(manifest, (yield Launch(manifest=manifest, resubmit=never_sent)))
        self._looked_at.add(Intents(manifest).batch_id)
        return [*wrong, *broken_promises(scenario, manifest, self._truth)]

    def _keep_if_wrong(self, manifest: Path, wrong: Sequence[str], story: str) -> None:
        if wrong:
            self.tally.failures.append("\n    ".join([story, *wrong[:SHOWN_FAULTS]]))
        else:
            shutil.rmtree(manifest.parent)

    def orphans(self) -> Iterator[str]:
        """Batches that the provider was paid for, and no folder knows."""
        yield from (f"nobody knows of batch {batch_id}" for batch_id in sorted(self._truth.batches - self._looked_at))

    def _prepare(self, scenario: Scenario, name: str) -> Path:
        if self._finished is not None and scenario.before:
            return self._project.again(name, self._finished, scenario.rows)
        return self._project.new(name, scenario.rows)

    def _unclear(self, manifest: Path) -> dict[str, bool]:
        """Jobs whose submit is in doubt, and whether the provider knows of it."""
        report = batch_folder(manifest) / "report.json"
        jobs = json.loads(report.read_text())["jobs"] if report.exists() else []
        ids = {generation.client_request_id for generation in self._truth.accepted(Intents(manifest).batch_id)}
        return {job["key"]: job["client_request_id"] in ids for job in jobs if job["state"] == "unclear"}

    def _wrong_in_the_end(
        self, scenario: Scenario, manifest: Path, ended: Ended, sent_twice: frozenset[str]
    ) -> Iterator[str]:
        self._looked_at.add(Intents(manifest).batch_id)
        yield from broken_promises(scenario, manifest, self._truth)
        if (batch_folder(manifest) / "report.json").exists():
            ending = Ending.of(manifest, ended.code)
            yield from ending.differences(self._unbroken[scenario.name], sent_twice=sent_twice)
        else:
            yield "there is no report.json"


def _broken(manifest: Path, ended: Ended) -> Iterator[str]:
    """Why a process that was let live did not end as runs and orders do: all well, or something for a person to see."""
    if ended.code not in (exits.DONE, exits.LOOK) or not ended.passed:
        yield f"a process ended with {ended.code}:\n{last_words(manifest)}"


def _named(kill: Kill) -> str:
    return str(kill) if isinstance(kill, Deadly) else f"{kill:.3f} s"


# The command


class ScriptedSandbox(SandboxProcess):
    """The sandbox whose texts say what goes wrong."""

    command = (sys.executable, str(Path(__file__).with_name("crash_sandbox.py")))


@contextmanager
def _theatre(folder: Path, *, cores: int) -> Iterator[tuple[Matrix, Stage]]:
    """A sandbox, a matrix, and a stage for its plays, until the context ends."""
    with ScriptedSandbox(folder / "sandbox", options=SANDBOX) as sandbox:
        environ = {"AIMLAPI_BASE_URL": sandbox.base_url, "AIMLAPI_API_KEY": sandbox.key}
        _warm_up(folder, environ)
        yield Matrix(Project(folder), Truth(folder / "sandbox" / "sandbox.db")), Stage(environ, cores=cores)


def _matrix(matrix: Matrix, stage: Stage, options: argparse.Namespace) -> None:
    """Every named point that falls into this part, each at one of its hits."""
    scenarios = list(SCENARIOS.values())
    for scenario in scenarios:
        stage.run(iter([matrix.unbroken(scenario)]))
    part, parts = map(int, options.part.split("/"))
    mine = [
        (scenario, deadly)
        for scenario in scenarios
        for deadly in _one_hit_each(matrix.points[scenario.name])[part - 1 :: parts]
    ]
    # To be killed again and again takes four runs more: one point in three here, every hit of each in `make soak`.
    stage.run(
        matrix.once(scenario, deadly) if number % 3 else matrix.again_and_again(scenario, deadly)
        for number, (scenario, deadly) in enumerate(mine)
    )
    tally = matrix.tally
    spared = [deadly.point for _, deadly in mine if not tally.kills[deadly.point]]
    # Which of two lanes makes a folder, say, is a matter of timing: a run may pass a point or two by.
    if len(spared) > SPARED * len(mine):
        tally.failures += [f"no batch was ever killed at {point}" for point in spared]
    for scenario in scenarios:
        named = " ".join(deadly.point for deadly in matrix.points[scenario.name])
        lost = sorted(seam for seam in scenario.seams if seam not in named)
        tally.failures += [f"no point is named after {seam}: is the seam still wrapped?" for seam in lost]


def _one_hit_each(points: Sequence[Deadly]) -> list[Deadly]:
    """Of each name one hit, by its number: the same in every process that recorded the same names."""
    hits = Counter(deadly.point for deadly in points)
    return [Deadly(point=point, hit=1 + zlib.crc32(point.encode()) % hits[point]) for point in sorted(hits)]


def _soak(matrix: Matrix, stage: Stage, options: argparse.Namespace) -> None:
    """Every hit of every point, then at random, until there were enough kills or the time is over."""
    dice, ends = random.Random(options.seed), time.monotonic() + options.seconds
    scenarios = list(SCENARIOS.values())
    for scenario in scenarios:
        stage.run(iter([matrix.unbroken(scenario)]))

    def plays() -> Iterator[Play]:
        for scenario in scenarios:
            for deadly in matrix.points[scenario.name]:
                yield matrix.again_and_again(scenario, deadly)
        while matrix.tally.kills.total() < options.kills:
            scenario = dice.choice(scenarios)
            yield matrix.chain(scenario, _random_kills(dice, matrix.points[scenario.name]))

    stage.run(itertools.takewhile(lambda _: time.monotonic() < ends, plays()))
    if matrix.tally.kills.total() < options.kills:
        matrix.tally.failures.append(f"the time was over before {options.kills:,} kills")


def _random_kills(dice: random.Random, points: Sequence[Deadly]) -> list[Kill]:
    """From one on, each further one likely: at a point of an unbroken run, at the n-th point, or at an instant."""
    kills: list[Kill] = [dice.choice(points)]
    while dice.random() < 0.75:
        step = Deadly(step=dice.randint(1, dice.randint(1, len(points))))
        kills.append(step if dice.random() < 0.67 else dice.uniform(0.0, 1.5))
    return kills


def _lost(matrix: Matrix, stage: Stage, options: argparse.Namespace) -> None:
    """Kills spread over the course of a batch, each followed by another loss."""
    scenario = SCENARIOS["new"]
    stage.run(iter([matrix.unbroken(scenario)]))
    points = matrix.points[scenario.name]
    stage.run(
        matrix.lost(scenario, points[number * (len(points) - 1) // max(1, options.kills - 1)], loss)
        for number, loss in zip(range(options.kills), itertools.cycle(LOSSES), strict=False)
    )


def _case(matrix: Matrix, stage: Stage, options: argparse.Namespace) -> None:
    """One chain of kills, as a failure names it."""
    scenario = SCENARIOS[options.scenario]
    stage.run(iter([matrix.unbroken(scenario)]))
    stage.run(iter([matrix.chain(scenario, [Deadly.parse(text) for text in options.kills])]))


def _warm_up(folder: Path, environ: dict[str, str]) -> None:
    """Load and compile what every run would load and compile anew, and keep it out of the collector's sight."""
    import jinja2

    compiled: dict[str, object] = {}
    compile_template = jinja2.Environment.compile

    def once(self: jinja2.Environment, source: str, *arguments: object, **named: object) -> object:
        if source not in compiled:
            compiled[source] = compile_template(self, source, *arguments, **named)  # type: ignore[call-overload]
        return compiled[source]

    jinja2.Environment.compile = once  # type: ignore[method-assign, assignment]
    ssl.SSLContext.load_verify_locations = lambda *_: None  # type: ignore[method-assign]  # 20 ms a client
    asyncio.run(_asked(environ))
    clock = Clock()
    with closing(Store.in_memory(clock)) as store:
        store.bind(provider="", origin="", manifest="")
        write_reports(store.reads, folder, stop_reason=StopReason.FINISHED, written_at=clock.utc())
    gc.freeze()


async def _asked(environ: dict[str, str]) -> None:
    """One request, for all that HTTP loads with it."""
    provider = AimlApi(base_url=environ["AIMLAPI_BASE_URL"], key=None)
    await provider.price()
    await provider.aclose()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    matrix = commands.add_parser("matrix", help="every point, each at one of its hits")
    matrix.add_argument("--part", default="1/1", help="such as 2/4")
    matrix.set_defaults(play=_matrix, cores=1)
    soak = commands.add_parser("soak", help="every hit of every point, then at random")
    soak.add_argument("--kills", type=int, default=20_000)
    soak.add_argument("--seconds", type=float, default=7_200.0, help="then it ends, and says that it was too few")
    soak.add_argument("--seed", type=int, default=1)
    soak.set_defaults(play=_soak, cores=os.cpu_count() or 1)
    lost = commands.add_parser("lost", help="killed, and robbed of its records")
    lost.add_argument("--kills", type=int, default=20)
    lost.set_defaults(play=_lost, cores=1)
    case = commands.add_parser("case", help="one chain of kills, as a failure names it")
    case.add_argument("--scenario", choices=SCENARIOS, required=True)
    case.add_argument("kills", nargs="+", metavar="KILL", help="POINT#HIT, or `step N`")
    case.set_defaults(play=_case, cores=1)
    return parser.parse_args()


def main() -> int:
    """Play what the command line asks for; 1 where anything was wrong."""
    options, started = _options(), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="crash-matrix-"))
    os.environ["HOME"] = str(folder)
    with _theatre(folder, cores=options.cores) as (matrix, stage):
        options.play(matrix, stage, options)
    tally = matrix.tally
    tally.failures += matrix.orphans()
    for failure in tally.failures:
        sys.stdout.write(f"{failure}\n")
    sys.stdout.write(tally.closing_line(stage.launched, time.monotonic() - started) + "\n")
    if tally.failures:
        sys.stdout.write(f"The folders are in {folder}\n")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
