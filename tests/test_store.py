"""jobs.db: moves are guarded, the ledger is durable, and a manifest is matched by pair."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from runner_factory import Night, make_job, make_pair

from lipsync_batch.clock import Clock
from lipsync_batch.errors import BatchError, StalePairError
from lipsync_batch.jobs import MOVES, Selection, State
from lipsync_batch.runlog import RunLog
from lipsync_batch.store import Store
from lipsync_batch.store.staging import Change, Facts
from lipsync_batch.store.writer import Statement

FACTS = Facts(speech_seconds=None, billable_seconds=1.0, upload_bytes=0)


def test_every_state_has_a_row_of_moves() -> None:
    """A state without one would be a dead end nobody decided on."""
    assert set(MOVES) == set(State)
    assert all(MOVES.values())


def test_move_from_another_state_changes_nothing(night: Night) -> None:
    """Two writers, or a bug, must not walk a pair backwards."""
    night.holds([make_job(0)])

    async def fail_before_submitted() -> None:
        with night.writing() as ledger:
            await ledger.fail(make_pair(0).fingerprint, State.SUBMITTED, code="lost", message="unknown")

    with pytest.raises(StalePairError):
        night.do(fail_before_submitted())
    assert night.counts() == {State.PENDING: 1}


def test_database_itself_refuses_a_second_live_generation(night: Night) -> None:
    """Law 1 holds even where the code is wrong."""
    night.holds([make_job(0)])
    fingerprint = make_pair(0).fingerprint

    async def intend_twice() -> None:
        with night.writing() as ledger:
            await ledger.intend(fingerprint, "lb1.x.y.1", 1, reserve=0)
            night.store._database.execute("UPDATE pairs SET state = 'pending'")
            await ledger.intend(fingerprint, "lb1.x.y.2", 2, reserve=0)

    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        night.do(intend_twice())


def open_store(folder: Path) -> Store:
    """A store with one pending pair, written by the real writer thread."""
    store = Store.open(folder / "jobs.db", Clock())
    store.bind(provider="fake", origin="https://fake.example", manifest="spring.csv")
    staging = store.staging()
    for number in range(3):
        staging.add(make_job(number), make_pair(number), FACTS)
    staging.flush()
    store.reconcile(staging)
    return store


async def test_intent_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    """In jobs.db for another process to see, and in run.log, before the paid call leaves."""
    store = open_store(tmp_path)

    with RunLog(tmp_path / "run.log", Clock()) as log, store.writing(log.durable) as ledger:
        await ledger.intend(make_pair(0).fingerprint, "lb1.x.y.1", 1, reserve=5)

        other = sqlite3.connect(tmp_path / "jobs.db")
        row = other.execute("SELECT state, live, reserve FROM pairs JOIN generations USING (fingerprint)").fetchone()
        other.close()
        assert row == ("submitting", 1, 5)
        line = json.loads((tmp_path / "run.log").read_text().splitlines()[-1])
        assert (line["event"], line["client_request_id"]) == ("intent", "lb1.x.y.1")
    store.close()


async def test_one_bad_write_of_a_group_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    """Writes are committed together, and fail alone."""
    store = open_store(tmp_path)
    with store.writing(lambda _: None) as ledger:
        writer = ledger._writer
        bad = writer.put(Statement("UPDATE pairs SET state = 'done' WHERE fingerprint = 'none'", {}, expect=1))
        good = ledger.intend(make_pair(1).fingerprint, "lb1.x.y.1", 1, reserve=0)
        import asyncio

        results = await asyncio.gather(bad, good, return_exceptions=True)

    assert isinstance(results[0], StalePairError)
    assert results[1] is None
    assert store.reads.counts()[State.SUBMITTING] == 1
    store.close()


def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    """A lost `submitted` record is a second paid submit."""
    store = open_store(tmp_path)

    assert store._database.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert store._database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    store.close()


def test_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """--out pointed at the wrong folder."""
    with sqlite3.connect(tmp_path / "jobs.db") as database:
        database.execute("CREATE TABLE photos (id INTEGER)")
    database.close()

    with pytest.raises(BatchError, match="another program"):
        Store.open(tmp_path / "jobs.db", Clock())


def test_newer_database_is_left_alone(tmp_path: Path) -> None:
    """An older program must not write into what it does not understand."""
    store = open_store(tmp_path)
    store._database["_sqlite_migrations"].insert(
        {"migration_set": "lipsync-batch", "name": "m999_future", "applied_at": "2030-01-01"}
    )
    store.close()

    with pytest.raises(BatchError, match="newer version"):
        Store.open(tmp_path / "jobs.db", Clock())


def test_file_that_is_no_database_is_told_of(tmp_path: Path) -> None:
    """A torn copy: what was paid for cannot be known, so nothing is done."""
    (tmp_path / "jobs.db").write_text("not a database, but long enough to be read as a header" * 20)

    with pytest.raises(BatchError, match="not a database"):
        Store.open(tmp_path / "jobs.db", Clock())


# A manifest against the store


def change_of(night: Night, jobs: list) -> dict[Change, int]:
    staging = night.store.staging()
    for job in jobs:
        number = int(job.want.video.url.split("/")[-1][:-4])
        staging.add(job, make_pair(number, take=job.want.take), FACTS)
    staging.flush()
    return {change: number for change, number in staging.changes().items() if number}


def test_changes_are_told_apart(night: Night) -> None:
    """New, changed, done and removed, each of which costs something else."""
    night.holds([make_job(0), make_job(1), make_job(2)])
    night.run()

    remade = make_job(1, pair=make_pair(1, take=2))
    assert change_of(night, [make_job(0), remade, make_job(7)]) == {
        Change.DONE: 1,
        Change.CHANGED: 1,
        Change.NEW: 1,
        Change.REMOVED: 1,
    }


def test_duplicates_are_found_over_all_rows(night: Night) -> None:
    """Two rows for one file: the second would overwrite the first."""
    staging = night.store.staging()
    rows = [
        make_job(0, key="a", output="x/A.mp4"),
        make_job(1, key="a", output="y.mp4"),
        make_job(2, key="c", output="x/a.MP4"),
        make_job(3, key="d", output="y.mp4/z.mp4"),
    ]
    for number, job in enumerate(rows):
        staging.add(job, make_pair(number), FACTS)
    staging.flush()

    problems = [str(problem) for problem in staging.problems(100)]

    assert len(problems) == 3
    assert any('duplicate key "a"' in problem for problem in problems)
    assert any('duplicate output "x/a.MP4"' in problem for problem in problems)
    assert any('"y.mp4" is also the folder' in problem for problem in problems)


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param([(1, "job-00001"), (0, "job-00000")], id="re-ordered"),
        pytest.param([(0, "renamed"), (1, "job-00001")], id="renamed"),
        pytest.param([(0, "job-00001"), (1, "job-00000")], id="swapped"),
        pytest.param([(0, "a"), (1, "b/c"), (0, "d")], id="one more name for the same pair"),
    ],
)
def test_renamed_and_swapped_rows_cost_nothing_and_their_files_move(night: Night, edited: list) -> None:
    """Who sorts a spreadsheet must not pay for it."""
    night.holds([make_job(0), make_job(1)])
    night.run()
    before = {number: night.video(f"job-0000{number}.mp4") for number in (0, 1)}

    rows = [make_job(place, key=key, pair=make_pair(number)) for place, (number, key) in enumerate(edited)]
    night.holds(rows)
    night.run()

    assert len(night.provider.submitted) == 2
    assert len(night.fetcher.fetched) == 2
    assert [night.video(f"{key}.mp4") for _, key in edited] == [before[number] for number, _ in edited]
    fingerprints = {make_pair(number).fingerprint: f"{key}.mp4" for number, key in edited}
    assert all(path in night.store.reads.outputs(fingerprint) for fingerprint, path in fingerprints.items())


def test_renamed_row_whose_file_was_deleted_does_not_take_what_stands_under_its_new_name(night: Night) -> None:
    """The old video of another row, of the same length even, must not pass for its own."""
    night.holds([make_job(0), make_job(1)])
    night.run()
    before = [night.video("job-00000.mp4"), night.video("job-00001.mp4")]
    night.folder.path("job-00000.mp4").unlink()

    night.holds([make_job(0, key="job-00001", pair=make_pair(0))])
    night.run()

    assert night.video("job-00001.mp4") == before[0]
    assert [path.read_text() for path in (night.folder.state / "superseded").iterdir()] == [before[1]]
    assert len(night.provider.submitted) == 2


def test_removed_row_that_comes_back_costs_nothing(night: Night) -> None:
    """The old video stood there all the time."""
    night.holds([make_job(0), make_job(1)])
    night.run()
    night.holds([make_job(1)])
    night.run()

    night.holds([make_job(0), make_job(1)])
    night.run()

    assert len(night.provider.submitted) == 2
    assert night.counts() == {State.DONE: 2}


def test_changed_row_keeps_the_old_video_aside(night: Night) -> None:
    """It stays in place until the new one lands, and in superseded/ after that."""
    night.holds([make_job(0)])
    night.run()
    old = night.video("job-00000.mp4")

    night.holds([make_job(0, pair=make_pair(0, take=2))])
    night.run()

    assert night.video("job-00000.mp4") != old
    assert [path.read_text() for path in (night.folder.state / "superseded").iterdir()] == [old]


def test_row_that_changed_in_flight_is_still_collected(night: Night) -> None:
    """It was paid for: it is fetched into superseded/, and the new one into its place."""
    from datetime import timedelta

    from runner_factory import START

    night.provider.seconds = 600.0
    night.holds([make_job(0)])
    night.run(deadline=START + timedelta(seconds=60))

    night.holds([make_job(0, pair=make_pair(0, take=2))])
    night.run()

    assert len(night.provider.charged) == 2
    assert len(list((night.folder.state / "superseded").iterdir())) == 1
    assert night.counts() == {State.DONE: 1}


def test_missing_output_is_fetched_again_for_nothing(night: Night) -> None:
    """Somebody cleaned up."""
    night.holds([make_job(0), make_job(1)])
    night.run()
    night.folder.path("job-00000.mp4").unlink()

    night.run()

    assert len(night.provider.submitted) == 2
    assert night.video("job-00000.mp4")


def test_damaged_output_is_seen_with_verify(night: Night) -> None:
    """Same length, other bytes."""
    night.holds([make_job(0)])
    night.run()
    right = night.video("job-00000.mp4")
    night.folder.path("job-00000.mp4").write_text("x" * len(right))

    night.run(verify=True)

    assert night.video("job-00000.mp4") == right
    assert len(night.provider.submitted) == 1


def test_file_that_stood_in_the_way_is_kept(night: Night) -> None:
    """Never onto an occupied path."""
    night.holds([make_job(0)])
    night.folder.path("job-00000.mp4").write_text("a file of the user's")

    night.run()

    kept = [path.read_text() for path in (night.folder.state / "superseded").iterdir()]
    assert kept == ["a file of the user's"]


@pytest.mark.parametrize("renames", range(5))
def test_crash_between_two_renames_of_a_swap_loses_nothing(
    night: Night, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal of moves is carried out by the next run, wherever the first one died."""
    from lipsync_batch import files

    night.holds([make_job(0), make_job(1)])
    night.run()
    before = [night.video("job-00000.mp4"), night.video("job-00001.mp4")]
    swapped = [make_job(0, key="job-00001", pair=make_pair(0)), make_job(1, key="job-00000", pair=make_pair(1))]
    night.holds(swapped)
    land, done = files.land, []

    def land_or_die(part: Path, final: Path) -> None:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(final)
        land(part, final)

    monkeypatch.setattr(files, "land", land_or_die)
    if renames < 4:
        with pytest.raises(KeyboardInterrupt):
            night.run()
    monkeypatch.setattr(files, "land", land)

    night.run()

    assert [night.video("job-00001.mp4"), night.video("job-00000.mp4")] == before
    assert len(night.provider.submitted) == 2


def test_selection_narrows_what_is_submitted(night: Night) -> None:
    """`--where language=de --limit 3`: the rest waits, and the run is judged by what was selected."""
    night.holds([make_job(number) for number in range(10)])

    assert night.store.reads.select(Selection(where={"language": "de"})) == 5
    assert night.store.reads.select(Selection(only=["job-0000[12]"])) == 2
    assert night.store.reads.select(Selection(limit=3)) == 3
    assert len(night.store.reads.turns(100)) == 3
