"""What people do by hand: redo, retry --pay-again, resolve. Against a server that keeps the truth of what was paid."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from media_factory import make_video
from other_api import OtherApi, other_api, request_digest

from lipsync_batch import lock
from lipsync_batch.batch import Batch
from lipsync_batch.cli import cli, show
from lipsync_batch.errors import BatchHeldError, LipsyncBatchError, UsageError
from lipsync_batch.jobs import State, StopReason
from lipsync_batch.session import Outcome

pytestmark = pytest.mark.slow

KEY = "sk-0123456789abcdef"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("film") / "result.mp4", seconds=0.5)


@pytest.fixture
def api(film: Path) -> Iterator[OtherApi]:
    with other_api(film, key=KEY, seconds=0.05) as server:
        yield server


class Project:
    """A manifest of texts, and the verbs of its batch."""

    def __init__(self, folder: Path, api: OtherApi) -> None:
        self.manifest = folder / "spring.csv"
        self.out = folder / "out" / "spring"
        self.api = api
        self.environ = {
            "AIMLAPI_BASE_URL": api.url,
            "AIMLAPI_API_KEY": KEY,
            "LIPSYNC_BATCH_TYPICAL_SECONDS": "1",
            "LIPSYNC_BATCH_RESOLVE_FOR": "0s",
        }

    def write(self, *rows: str) -> None:
        """Rows of `key,text[,take]`."""
        lines = [f"https://media.example/clip.mp4,Emily,{row}{'' if row.count(',') > 1 else ',1'}" for row in rows]
        self.manifest.write_text("\n".join(["video,speaker,key,text,take", *lines]), encoding="utf-8")

    @property
    def batch(self) -> Batch:
        return Batch.find(self.manifest, environ=self.environ)

    def run(self) -> Outcome:
        return self.batch.run()

    def call(self, *arguments: str) -> tuple[int, str]:
        """A command of the command line, in this process: exit code and what it printed."""
        result = CliRunner().invoke(cli, arguments, env=self.environ)
        if isinstance(result.exception, LipsyncBatchError):
            show(result.exception)
            return result.exception.exit_code, str(result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    def states(self) -> dict[State, int]:
        return {state: number for state, number in self.batch.status().counts.items() if number}

    def paid(self) -> Counter[str]:
        """How often each text was taken by the server."""
        return Counter(request["lip_sync_tts_content"] for request in self.api.requests)

    def id_of(self, number: int) -> str:
        return list(self.api.tasks)[number]


@pytest.fixture
def project(tmp_path: Path, api: OtherApi) -> Project:
    return Project(tmp_path, api)


def lose(api: OtherApi, *texts: str) -> None:
    """Take the submits of these texts, and hang up instead of answering."""

    def on_submit(request, handler) -> bool:
        if request["lip_sync_tts_content"] not in texts:
            return False
        api.accept(request, handler.headers.get("X-Client-Request-Id"))
        handler.hang_up()
        return True

    api.on_submit = on_submit


def hide_log(api: OtherApi, *, hidden: bool = True) -> None:
    """The log names none of the submits, or all again."""
    for task in api.tasks.values():
        task.due += 10_000 if hidden else -10_000


# redo


def test_redo_pays_for_another_take_and_keeps_the_old_video(project: Project) -> None:
    """Lips came out late: one more, without touching the manifest, and the old one is not lost."""
    project.write("a,eins", "b,zwei")
    project.run()
    before = (project.out / "a.mp4").read_bytes()

    code, said = project.call("redo", str(project.manifest), "a", "--reason", "lips late")

    assert code == 0
    assert "1 video" in said
    assert project.states() == {State.DONE: 1, State.PENDING: 1}
    assert (project.out / "a.mp4").read_bytes() == before, "the old one stays until the new one lands"
    assert project.run().exit_code == 0
    assert project.paid() == {"eins": 2, "zwei": 1}
    assert [path.read_bytes() for path in (project.out / "_batch" / "superseded").glob("*.mp4")] == [before]
    history = project.batch.history("a")
    assert history.redone_for == "lips late"


def test_redone_job_stays_redone_whatever_is_run_afterwards(project: Project) -> None:
    """The manifest still names the first take: that must neither bring the old one back nor pay for a third."""
    project.write("a,eins")
    project.run()
    project.batch.redo(["a"], reason="lips late")
    project.run()

    assert project.run().exit_code == 0
    project.write("a,eins,2")  # someone writes down what is there
    assert project.run().exit_code == 0
    assert project.paid() == {"eins": 2}

    project.batch.redo(["a"], reason="still late")
    project.run()
    assert project.paid() == {"eins": 3}
    project.write("a,eins")
    assert project.run().exit_code == 0
    assert project.paid() == {"eins": 3}


def test_jobs_that_share_a_pair_share_its_new_take(project: Project) -> None:
    """The same video under two names is one generation: lips late in one are late in the other."""
    project.write("a,eins", "b,eins")
    project.run()

    code, said = project.call("redo", str(project.manifest), "b", "--reason", "lips late")
    project.run()

    assert code == 0
    assert "share a video" in said
    assert project.paid() == {"eins": 2}
    assert (project.out / "a.mp4").read_bytes() == (project.out / "b.mp4").read_bytes()
    assert project.states() == {State.DONE: 2}


def test_labels_say_what_is_redone_and_what_is_taken_up_again(project: Project) -> None:
    """All of a language whose voice was wrong, without a list of keys."""
    rows = ["a,Hallo.,de", "b,Salut.,fr", "c,Tschau.,de"]
    lines = [f"https://media.example/clip.mp4,Emily,{row}" for row in rows]
    project.manifest.write_text("\n".join(["video,speaker,key,text,language", *lines]), encoding="utf-8")
    project.run()
    manifest = str(project.manifest)

    assert project.call("retry", manifest, "--where", "language=de")[0] == 2
    assert project.call("redo", manifest, "--where", "language=it", "--reason", "voice")[0] == 2
    assert project.call("redo", manifest, "--reason", "voice")[0] == 2
    code, told = project.call("redo", manifest, "--where", "language=de", "--reason", "voice")

    assert code == 0
    assert "2 videos to be made" in told
    assert project.run().exit_code == 0
    assert Counter(task.request["lip_sync_tts_content"] for task in project.api.tasks.values()) == {
        "Hallo.": 2,
        "Tschau.": 2,
        "Salut.": 1,
    }


def test_only_finished_jobs_are_redone(project: Project) -> None:
    """One of the names is wrong: then nothing is changed at all."""
    project.write("a,eins")
    project.run()
    project.write("a,eins", "b,zwei")
    lose(project.api, "zwei")
    project.api.log_lag = 60.0
    project.run()

    with pytest.raises(UsageError, match="b is unclear"):
        project.batch.redo(["a", "b"], reason="late")
    with pytest.raises(UsageError, match="no job has the key nope"):
        project.batch.redo(["nope"], reason="late")

    assert project.states() == {State.DONE: 1, State.UNCLEAR: 1}


def test_redo_of_most_of_a_batch_is_not_asked_about_again(project: Project) -> None:
    """Naming the jobs was the question and the answer."""
    project.write(*[f"k{number},text {number}" for number in range(7)])
    project.run()
    project.batch.redo([f"k{number}" for number in range(7)], reason="new model")

    assert project.run().exit_code == 0
    assert set(project.paid().values()) == {2}


# retry --pay-again


def test_lost_generation_is_paid_for_again_only_when_told_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API forgot an id that may have been charged: `retry` asks for it again, and only --pay-again buys another."""
    monkeypatch.setattr("lipsync_batch.runner.poll.NOT_FOUND", 2)
    project.write("a,eins", "b,zwei")
    lost: list[str] = []

    def on_poll(task, handler) -> bool:
        if task.request["lip_sync_tts_content"] == "eins" and lost in ([], [task.id]):
            lost[:] = [task.id]
            handler.error(404, "Generation not found")
            return True
        return False

    project.api.on_poll = on_poll
    assert project.run().exit_code == 1
    assert project.batch.history("a").job.error_code == "lost"
    project.batch.retry()
    assert project.run().exit_code == 1
    assert project.paid() == {"eins": 1, "zwei": 1}

    code, said = project.call("retry", str(project.manifest), "a", "--pay-again")

    assert code == 0
    assert "paid for again" in said
    assert project.run().exit_code == 0
    assert project.paid() == {"eins": 2, "zwei": 1}


def test_paying_again_is_for_jobs_that_are_named(project: Project) -> None:
    """A flag alone must not spend money on all that failed."""
    project.write("a,eins")
    project.run()

    code, said = project.call("retry", str(project.manifest), "--pay-again")

    assert code == 2
    assert "named one by one" in said


# resolve


def test_late_log_is_looked_up_by_resolve_and_paid_for_once(project: Project) -> None:
    """The log was behind when the run ended; `resolve` finds the submit later, `run` fetches the video."""
    project.write("a,eins", "b,zwei")
    lose(project.api, "eins")
    project.api.on_poll = None
    late = {}

    def hidden_accept(request, handler) -> bool:
        if request["lip_sync_tts_content"] != "eins":
            return False
        task = project.api.accept(request, handler.headers.get("X-Client-Request-Id"))
        late["task"], task.due = task, task.due + 10_000
        handler.hang_up()
        return True

    project.api.on_submit = hidden_accept
    assert project.run().exit_code == 1
    code, said = project.call("resolve", str(project.manifest), "--resolve-for", "0s")
    assert code == 1
    assert "1 still unclear: a" in said
    assert "--resubmit" in said
    late["task"].due -= 10_000

    code, said = project.call("resolve", str(project.manifest))

    assert code == 0
    assert "a: accepted as" in said
    assert project.run().exit_code == 0
    assert project.paid() == {"eins": 1, "zwei": 1}
    assert (project.out / "a.mp4").read_bytes().endswith(request_digest(late["task"].request))


@pytest.fixture
def unclear(project: Project) -> Project:
    """A batch of which `b` is done, and `a` was accepted without an answer, and is in no log."""
    project.write("a,eins", "b,zwei")

    def on_submit(request, handler) -> bool:
        if request["lip_sync_tts_content"] != "eins" or project.paid()["eins"]:
            return False
        project.api.accept(request, "someone-else").due -= 1
        handler.hang_up()
        return True

    project.api.on_submit = on_submit
    assert project.run().exit_code == 1
    assert project.states() == {State.DONE: 1, State.UNCLEAR: 1}
    return project


def ids(project: Project) -> dict[str, str]:
    """The server's ids by text."""
    return {task.request["lip_sync_tts_content"]: task.id for task in project.api.tasks.values()}


def test_adopted_generation_is_fetched_and_not_paid_for_again(unclear: Project) -> None:
    """The provider's pages show the generation: its id, even one that begins with a dash, is all that is needed."""
    code, said = unclear.call("resolve", str(unclear.manifest), "a", f"--adopt={ids(unclear)['eins']}")

    assert (code, "accepted as" in said) == (0, True)
    assert unclear.run().exit_code == 0
    assert unclear.paid() == {"eins": 1, "zwei": 1}


def test_wrong_id_is_not_adopted(unclear: Project) -> None:
    """A slip of the hand would wait for a video that never comes, or put another job's video in its place."""
    target = str(unclear.manifest)

    unknown, said_unknown = unclear.call("resolve", target, "a", "--adopt=nonsense")
    taken, said_taken = unclear.call("resolve", target, "a", f"--adopt={ids(unclear)['zwei']}")
    none, said_none = unclear.call("resolve", target, "--adopt=x")
    done, said_done = unclear.call("resolve", target, "b", "--adopt=x")

    assert (unknown, taken, none, done) == (2, 2, 2, 2)
    assert "does not know" in said_unknown
    assert "belongs to b" in said_taken
    assert "about one job" in said_none
    assert "b is not unclear but done" in said_done
    assert unclear.states() == {State.DONE: 1, State.UNCLEAR: 1}


def test_id_is_not_adopted_while_the_api_is_silent(unclear: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can say whether the id is right: exit 3, nothing changed."""
    monkeypatch.setattr("lipsync_batch.resolving.ASKED", 1)
    unclear.api.on_poll = lambda task, handler: handler.error(503, "later") or True

    code, said = unclear.call("resolve", str(unclear.manifest), "a", f"--adopt={ids(unclear)['eins']}")

    assert (code, "does not say" in said) == (3, True)
    assert unclear.states() == {State.DONE: 1, State.UNCLEAR: 1}


def test_resubmit_may_pay_twice_and_says_so(unclear: Project) -> None:
    """By a person's order alone; what the first submit may have cost stays in the budget's sum."""
    code, said = unclear.call("resolve", str(unclear.manifest), "a", "--resubmit")

    assert (code, "paid for twice" in said) == (0, True)
    assert unclear.run().exit_code == 0
    assert unclear.paid() == {"eins": 2, "zwei": 1}
    assert [generation.outcome for generation in unclear.batch.history("a").generations] == ["unclear", "finished"]


def test_resubmit_asks_where_somebody_can_answer(unclear: Project) -> None:
    """The last door before paying twice."""
    asked = []

    def no(question: str) -> bool:
        asked.append(question)
        return False

    with pytest.raises(LipsyncBatchError, match="nothing was changed"):
        unclear.batch.resolve(["a"], resubmit=True, confirm=no)

    assert "twice" in asked[0]
    assert unclear.states() == {State.DONE: 1, State.UNCLEAR: 1}


def test_given_up_pair_is_sent_again_by_pay_again_alone(unclear: Project) -> None:
    """Given up is not free: money may have been spent."""
    target = str(unclear.manifest)
    assert unclear.call("resolve", target, "a", "--give-up")[0] == 0
    assert unclear.states() == {State.DONE: 1, State.FAILED: 1}

    code, said = unclear.call("retry", target)
    assert (code, "left as they are" in said) == (0, True)
    assert unclear.run().exit_code == 1
    assert unclear.paid() == {"eins": 1, "zwei": 1}

    unclear.batch.retry(["a"], pay_again=True)
    assert unclear.run().exit_code == 0
    assert unclear.paid() == {"eins": 2, "zwei": 1}


def test_unclear_row_that_was_removed_can_still_be_resolved(unclear: Project) -> None:
    """No job wants it any more, but it may have been paid for: it is named by its request id."""
    unclear.write("b,zwei")
    unclear.run()
    assert "Of rows that are gone: 1 unclear" in unclear.call("status", str(unclear.manifest))[1]
    (left,) = unclear.batch.resolve().left

    code, _ = unclear.call("resolve", str(unclear.manifest), left, f"--adopt={ids(unclear)['eins']}")

    assert left.startswith("lb1.")
    assert code == 0
    assert unclear.run().exit_code == 0
    superseded = list((unclear.out / "_batch" / "superseded").glob("*.mp4"))
    assert len(superseded) == 1
    assert unclear.paid() == {"eins": 1, "zwei": 1}


def test_row_that_is_gone_is_not_sent_again(unclear: Project) -> None:
    """--resubmit is about what is wanted: for the rest it would only stop the looking."""
    unclear.write("b,zwei")
    unclear.run()
    (left,) = unclear.batch.resolve().left

    named, said = unclear.call("resolve", str(unclear.manifest), left, "--resubmit")
    unclear.call("resolve", str(unclear.manifest), "--resubmit")

    assert (named, "not sent again" in said) == (2, True)
    assert unclear.batch.resolve().left == [left]


def test_submit_that_is_found_before_it_is_sent_again_is_not_sent_again(project: Project) -> None:
    """`resolve --resubmit`, a doubt, another `resolve`: the log names it by now, and nothing is paid twice."""
    project.write("a,eins")
    project.api.log_lag = 10_000
    lose(project.api, "eins")
    project.run()
    project.batch.resolve(["a"], resubmit=True)
    project.api.log_lag = 0

    resolved = project.batch.resolve()

    assert [key for key, _ in resolved.adopted] == ["a"]
    assert project.run().exit_code == 0
    assert project.paid() == {"eins": 1}


def test_two_answers_with_one_id_at_the_same_moment_are_not_both_believed(project: Project) -> None:
    """Both jobs would get the same video, and say done."""
    project.write("a,eins", "b,zwei")
    both = threading.Barrier(2, timeout=20)

    def on_submit(request, handler) -> bool:
        if not project.api.tasks:
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait()
        with mixing:
            task = next(iter(project.api.tasks.values()), None) or project.api.accept(request, None)
        handler.answer(200, {"id": task.id, "status": "queued"})
        return True

    mixing = threading.Lock()
    project.api.on_submit = on_submit

    project.run()

    assert project.states() == {State.DONE: 1, State.UNCLEAR: 1}


def test_key_that_may_not_read_the_log_is_told_of(unclear: Project) -> None:
    """Then a person must look, and is told where."""
    unclear.api.log_status = 403

    code, said = unclear.call("resolve", str(unclear.manifest))

    assert code == 1
    assert "cannot be read with this key" in said
    assert "--adopt" in said


def test_verbs_that_change_things_wait_for_the_run_to_end(unclear: Project) -> None:
    """A second writer is what the lock is for."""
    with lock.held(unclear.out / "_batch"):
        for verb in (
            lambda: unclear.batch.redo(["b"], reason="late"),
            unclear.batch.retry,
            unclear.batch.resolve,
        ):
            with pytest.raises(BatchHeldError):
                verb()

    assert unclear.states() == {State.DONE: 1, State.UNCLEAR: 1}


def test_summary_names_the_way_on_for_unclear_jobs(unclear: Project) -> None:
    """Whoever reads the last lines of a night knows what to type."""
    outcome = unclear.run()

    assert outcome.stop_reason is StopReason.FINISHED
    assert "lipsync-batch resolve" in outcome.summary
    assert json.loads(outcome.reports.json.read_text())["counts"]["unclear"] == 1


def test_given_up_pair_that_the_log_names_later_is_fetched_for_nothing(project: Project) -> None:
    """It was paid for after all, and is not lost: neither the money nor the video."""
    project.write("a,eins", "b,zwei")
    project.api.log_lag = 10_000
    lose(project.api, "eins", "zwei")
    project.run()
    project.batch.resolve(["a"], give_up=True)
    project.batch.resolve(["b"], resubmit=True)
    project.api.on_submit = None
    project.run()
    project.api.log_lag = 0

    code, said = project.call("resolve", str(project.manifest))
    project.batch.retry()

    assert code == 0
    assert said.count("accepted after all") == 2
    assert project.run().exit_code == 0
    assert project.paid() == {"eins": 1, "zwei": 2}
    assert [g.generation_id is not None for g in project.batch.history("b").generations] == [True, True]


def test_batch_that_was_never_run_is_named_as_it_would_be(project: Project) -> None:
    """Not by the folder of a rehearsal that nobody spoke of."""
    project.write("a,eins")

    code, said = project.call("resolve", str(project.manifest))

    assert (code, "nothing was run yet" in said, ".sandbox" in said) == (2, True, False)


def test_nothing_unclear_is_said_so(project: Project) -> None:
    project.write("a,eins")
    project.run()

    assert project.call("resolve", str(project.manifest)) == (0, "Nothing is unclear.\n")


def test_decisions_are_in_the_log(unclear: Project) -> None:
    """Next month somebody asks who decided to send it again."""
    shutil.copy(unclear.out / "_batch" / "run.log", unclear.out / "before.log")

    unclear.batch.resolve(["a"], resubmit=True)

    added = (unclear.out / "_batch" / "run.log").read_text().removeprefix((unclear.out / "before.log").read_text())
    assert json.loads(added)["message"] == "resolve --resubmit"
