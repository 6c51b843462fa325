"""What `status` says: where a batch stands, what goes on with it, and what that would cost."""

from __future__ import annotations

import io
import json
import shlex
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from test_plan import Project, documented, row

from lipsync_batch import lock
from lipsync_batch.cli import cli
from lipsync_batch.cli.watch import watched
from lipsync_batch.errors import UsageError
from lipsync_batch.jobs import Selection, State


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Six jobs, one in each of the states that a person meets; those that failed differ in what retrying costs."""
    project = Project(tmp_path)
    keys = ("waiting", "made", "polled", "free", "held", "doubtful")
    project.take_in(*(row(key, "fr" if key == "held" else "de") for key in keys))
    project.set_state("done", "made")
    project.set_state("failed", "polled", "free", "held")
    project.set_state("unclear", "doubtful")
    with closing(project.store()) as store:
        for key, generation_id, live, outcome in (
            ("made", "g1", 1, "finished"),
            ("polled", "g2", 1, "accepted"),
            ("free", None, 0, "refused: http_400"),
            ("held", None, 0, "given_up"),
            ("doubtful", None, 1, "unclear"),
        ):
            store._database.execute(
                """
                INSERT INTO generations (client_request_id, fingerprint, attempt, generation_id, live, intended_at,
                    reserve, outcome)
                SELECT :key, fingerprint, 1, :id, :live, '2026-05-01T20:00:00.000Z', 240000, :outcome
                FROM jobs WHERE key = :key
                """,
                {"key": key, "id": generation_id, "live": live, "outcome": outcome},
            )
    return project


def folder(project: Project) -> Path:
    return project.batch().location.folder.root


def status(project: Project, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["status", str(folder(project)), *arguments], catch_exceptions=False)


def test_each_command_says_what_it_would_cost(project: Project) -> None:
    """Nobody types `retry` or `--resubmit` without knowing whether that is a dollar or a hundred."""
    glance = project.batch().status()

    assert (glance.to_submit.pairs, glance.to_submit.estimated) == (1, 240_000)
    assert (glance.retry.polled, glance.retry.submitted.pairs, glance.retry.held.pairs) == (1, 1, 1)
    assert (glance.resubmit.pairs, glance.redo.estimated) == (1, 240_000)
    text = status(project).output
    assert "1 video to pay for, about $0.24" in text
    assert "1 polled again, for nothing" in text
    assert "1, about $0.24; may be paid for twice" in text


def test_selection_narrows_what_is_shown(project: Project) -> None:
    """`--where language=fr` is about French: its counts, its troubles, and commands for it alone."""
    glance = project.batch().status(Selection(where={"language": "fr"}))
    text = status(project, "--where", "language=fr").output

    assert {state: number for state, number in glance.counts.items() if number} == {State.FAILED: 1}
    assert [job.key for job in glance.troubled] == ["held"]
    assert (glance.to_submit.pairs, glance.retry.held.pairs, glance.retry.polled) == (0, 1, 0)
    assert f"retry {folder(project)} --where language=fr" in text
    with pytest.raises(UsageError, match='no job has language "dee"; there are de, fr'):
        project.batch().status(Selection(where={"language": "dee"}))


@pytest.mark.parametrize(
    ("key", "verb", "flags"),
    [
        ("made", "redo", ["--reason", "WHY"]),
        ("polled", "retry", []),
        ("free", "retry", []),
        ("held", "retry", ["--pay-again"]),
        ("waiting", "run", None),
    ],
)
def test_history_ends_with_the_command_for_that_job(
    project: Project, key: str, verb: str, flags: list[str] | None
) -> None:
    """It is pasted as it stands; what follows the # is for the reader."""
    last = status(project, key).output.splitlines()[-1]

    words = shlex.split(last.removeprefix("Next: "), comments=True)
    assert words == ["lipsync-batch", verb, str(folder(project)), *([] if flags is None else [key, *flags])]


def test_documents_have_the_documented_fields(project: Project) -> None:
    """Programs read them."""
    fields = dict(documented())

    assert set(json.loads(status(project, "--json").output)) == fields["The document of `status --json`"]
    assert set(json.loads(status(project, "made", "--json").output)) == fields["The document of `status KEY --json`"]


def test_jobs_that_share_a_pair_are_counted_each(project: Project) -> None:
    """Counting pairs is quicker, and only right where each job has one of its own."""
    project.take_in(row("a"), row("a-copy", text="Text of a"))

    assert project.batch().status().counts[State.PENDING] == 2


def test_watch_says_each_change_until_the_run_ends(project: Project) -> None:
    """`status --watch | tee` in a second window: a line a change, then the last standing."""
    said = io.StringIO()
    with ExitStack() as held:
        held.enter_context(lock.held(project.batch().location.folder.state))
        looks: list[float] = []

        def sleep(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 2:
                project.set_state("done", "waiting")
            elif len(looks) == 4:
                held.close()

        last = watched(lambda: project.batch().status(), said, sleep=sleep)

    lines = [line.partition(" ")[2] for line in said.getvalue().splitlines()]
    assert [line.partition(" videos")[0] for line in lines] == ["1 of 6", "2 of 6"]
    assert (last.running, last.counts[State.DONE], len(looks)) == (False, 2, 4)


def test_watch_is_left_quietly(project: Project) -> None:
    """Ctrl-C ends the watching, not the run, and is no error."""

    def interrupt(_: float) -> Any:
        raise KeyboardInterrupt

    with lock.held(project.batch().location.folder.state):
        last = watched(lambda: project.batch().status(), io.StringIO(), sleep=interrupt)

    assert last.running


def test_watch_without_a_run_is_a_glance(project: Project) -> None:
    """Nothing to wait for."""
    watching, glance = status(project, "--watch"), status(project)

    assert watching.output == glance.output
    assert watching.exit_code == 0
