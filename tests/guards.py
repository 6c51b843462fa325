"""Shows that the guards of the laws bite: each is taken out of a copy of the program, and a test must fail then.

    python tests/guards.py          # all of them
    python tests/guards.py shield   # those whose name holds a word

A guard that no test misses is a promise that nobody keeps.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
COPIED = ("lipsync_batch", "tests", "pyproject.toml", "manifests", "docs", "README.md")
SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A piece of the program that a law rests on."""

    name: str
    file: str
    """Under `lipsync_batch/`."""
    removes: str
    instead: str = ""
    tests: Sequence[str]
    """Of which one at least must fail without it."""


GUARDS = (
    Guard(
        name="the intent is committed before the POST",
        file="runner/submit.py",
        removes="                await context.ledger.intend(",
        instead="""                answer = await context.provider.submit(pair, request_id)
                await context.ledger.intend(""",
        tests=["tests/test_runner.py::test_intent_is_in_the_log_before_the_call"],
    ),
    Guard(
        name="the commit of an intent waits for the disk",
        file="store/connection.py",
        removes="PRAGMA synchronous = FULL",
        instead="PRAGMA synchronous = NORMAL",
        tests=["tests/test_store.py::test_commits_wait_for_the_disk"],
    ),
    Guard(
        name="the line of an intent in run.log waits for the disk",
        file="runlog.py",
        removes="            os.fsync(self._file)\n",
        tests=["tests/test_runlog.py::test_journal_is_on_disk_when_it_returns"],
    ),
    Guard(
        name="a move changes a pair only in the state that it starts from",
        file="store/ledger.py",
        removes="WHERE fingerprint = :fingerprint_ AND state = :state_",
        instead="WHERE fingerprint = :fingerprint_ AND :state_ = :state_",
        tests=["tests/test_store.py::test_move_from_another_state_changes_nothing"],
    ),
    Guard(
        name="the database refuses a second live generation of a pair",
        file="store/schema.py",
        removes="CREATE UNIQUE INDEX one_live_generation",
        instead="CREATE INDEX one_live_generation",
        tests=["tests/test_store.py::test_database_itself_refuses_a_second_live_generation"],
    ),
    Guard(
        name="the shield round the POST and the record of its answer",
        file="runner/submit.py",
        removes="await uninterrupted(self._submit(turn, permit))",
        instead="await self._submit(turn, permit)",
        tests=["tests/test_runner.py::test_answer_to_a_submit_is_waited_for_when_the_run_is_stopped"],
    ),
    Guard(
        name="a submit without an answer is never sent again",
        file="providers/base.py",
        removes="    becomes = State.UNCLEAR",
        instead="    becomes = State.PENDING",
        tests=["tests/test_runner.py::test_what_each_answer_makes_of_a_pair_is_the_table"],
    ),
    Guard(
        name="an unclear pair is never sent again",
        file="store/ledger.py",
        removes="""                State.SUBMITTING,
                State.UNCLEAR,
                error_code=code,""",
        instead="""                State.SUBMITTING,
                State.PENDING,
                error_code=code,""",
        tests=["tests/test_runner.py::test_unclear_pair_is_never_sent_again"],
    ),
    Guard(
        name="what a dead run left in submitting is never sent again",
        file="store/ledger.py",
        removes="""{"new": State.UNCLEAR, "old": State.SUBMITTING,""",
        instead="""{"new": State.PENDING, "old": State.SUBMITTING,""",
        tests=["tests/test_runner.py::test_pair_that_was_being_submitted_when_the_run_died_is_unclear"],
    ),
    Guard(
        name="a part goes on only if it is of the same file (If-Range)",
        file="fetching/transfer.py",
        removes=""", "If-Range": part.etag}""",
        instead="}",
        tests=["tests/test_fetch.py::test_a_reset_at_any_byte_is_survived_by_range"],
    ),
    Guard(
        name="one run at a time",
        file="lock.py",
        removes="fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        instead="pass",
        tests=["tests/test_remedies.py::test_verbs_that_change_things_wait_for_the_run_to_end"],
    ),
    Guard(
        name="the checksum is committed before the file gets its name",
        file="runner/download.py",
        removes="        await context.ledger.keep_file(arrival.fingerprint, info, doubt)\n",
        tests=["tests/test_runner.py::test_checksum_is_committed_before_the_file_has_its_name"],
    ),
    Guard(
        name="a file is on disk before its checksum is committed",
        file="fetching/part.py",
        removes="            self._sync()\n        else:",
        instead="            self._synced = self.size\n        else:",
        tests=["tests/test_fetch.py::test_a_small_file_is_on_disk_when_fetch_returns"],
    ),
    Guard(
        name="a name is on disk before a pair is done",
        file="files.py",
        removes="_error(fsync_folder, final.parent)",
        instead="None",
        tests=["tests/test_files.py::test_names_given_together_are_on_disk_at_the_end"],
    ),
    Guard(
        name="nothing is renamed onto an occupied path",
        file="files.py",
        removes="""    if occupied(final):
        raise FileExistsError(errno.EEXIST, "something stands under the final name", str(final))
    try:
        part.rename(final)""",
        instead="""    try:
        part.rename(final)""",
        tests=["tests/test_files.py::test_nothing_is_renamed_onto_an_occupied_path"],
    ),
    Guard(
        name="the budget holds what is reserved",
        file="runner/submit.py",
        removes="        context.budget.reserve(turn.reserve)\n",
        tests=["tests/test_runner.py::test_budget_stops_the_submits_in_time"],
    ),
    Guard(
        name="the last chunk of a changed file is withheld",
        file="providers/body.py",
        removes="if self.sha256 is not None and digest.hexdigest() != self.sha256:",
        instead="if False:",
        tests=["tests/providers/test_request_body.py", "-k", "edited"],
    ),
    Guard(
        name="the key goes to the API alone",
        file="providers/wire.py",
        removes="        if _origin_of(request.url) == self._origin:\n            request",
        instead="        if True:\n            request",
        tests=["tests/providers/test_aimlapi.py", "-k", "no_other_origin_is_shown_the_key"],
    ),
    Guard(
        name="an intent without a record is unclear in a jobs.db that was made again",
        file="store/recovery.py",
        removes="is_over = 0 AND attempt = max(attempt)",
        instead="is_over = 0 AND generation_id IS NOT NULL AND attempt = max(attempt)",
        tests=["tests/test_rebuild.py::test_intent_without_a_record_is_unclear"],
    ),
    Guard(
        name="what only a lost run.log could know is asked about",
        file="rebuilding/asking.py",
        removes="    if not unsubmitted:\n",
        instead="    if True:\n",
        tests=["tests/test_rebuild.py", "-k", "cut_short or copies or deleted_midway"],
    ),
    Guard(
        name="the provider's log is read before a jobs.db is made again",
        file="rebuilding/rebuild.py",
        removes="            recovery.take_logged(batch_id)\n",
        instead="            pass\n",
        tests=["tests/test_rebuild.py", "-k", "deleted_midway"],
    ),
    Guard(
        name="a batch that lost all of its records is not begun anew",
        file="session.py",
        removes="if plan.leftovers and not self._orders.anew:",
        instead="if False:",
        tests=["tests/test_leftovers.py", "-k", "without_a_ledger or deleted_whole"],
    ),
)


def bites(guard: Guard, folder: Path) -> bool:
    """Whether a test fails once the guard is taken out of the copy in `folder`."""
    path = folder / "lipsync_batch" / guard.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(guard.removes) != 1:
        raise SystemExit(f"{guard.name}: the lines to be taken out of {guard.file} are not there, or not once")
    if not passes(guard.tests, folder):
        raise SystemExit(f"{guard.name}: its tests fail before anything is taken out")
    path.write_text(whole.replace(guard.removes, guard.instead), encoding="utf-8")
    try:
        return not passes(guard.tests, folder)
    finally:
        path.write_text(whole, encoding="utf-8")


def passes(tests: Sequence[str], folder: Path) -> bool:
    """Whether these tests pass in the copy."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=SECONDS, check=False)
    if ended.returncode not in (0, 1):
        raise SystemExit(f"pytest could not run {' '.join(tests)}:\n{ended.stdout.decode()}{ended.stderr.decode()}")
    return ended.returncode == 0


def main(words: Sequence[str]) -> int:
    """Try every guard that is asked for; how many do not bite."""
    chosen = [guard for guard in GUARDS if all(word in guard.name for word in words)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
        blunt = [guard for guard in chosen if not told(guard, folder)]
    print(f"{len(chosen) - len(blunt)} of {len(chosen)} guards bite")
    return len(blunt)


def told(guard: Guard, folder: Path) -> bool:
    bitten = bites(guard, folder)
    print(f"{'bites' if bitten else 'DOES NOT BITE'}: {guard.name}", flush=True)
    return bitten


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
