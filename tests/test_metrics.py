"""Figures for Prometheus: read as Prometheus reads them, while a run goes on and when it is over."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command import KEY, environment, run, start
from media_factory import make_video
from other_api import OtherApi, other_api
from prometheus_client.parser import text_string_to_metric_families

from lipsync_batch import exits
from lipsync_batch.jobs import State, StopReason
from lipsync_batch.telling.metrics import Figures, LastRun, exposition

Samples = dict[tuple[str, str], float]


def samples(text: str) -> Samples:
    """What Prometheus makes of it: by the metric's name, and the label besides the batch's."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("gauge", "counter")
        for name, labels, value, *_ in family.samples:
            (more,) = {text for label, text in labels.items() if label != "batch"} or {""}
            assert (name, more) not in found
            found[name, more] = value
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_video(tmp_path / "clip.mp4", seconds=0.5)
    rows = [f"job-{number},clip.mp4,Hello {number},Emily" for number in range(3)]
    (tmp_path / "spring.csv").write_text("\n".join(["key,video,text,speaker", *rows]), encoding="utf-8")
    return tmp_path


@pytest.fixture
def api(project: Path) -> Iterator[OtherApi]:
    with other_api(project / "clip.mp4", key=KEY, seconds=0.1) as server:
        yield server


FULL = Figures(
    jobs={State.DONE: 2},
    spent=1_230_000,
    budget=40_000_000,
    refused=3,
    downloaded=1_000_000,
    running=True,
    started_at=1_790_000_000.25,
    last=LastRun(ended_at=1_789_000_000.0, exit_code=3, reason=StopReason.DEADLINE),
    succeeded_at=1_788_000_000.0,
    written_at=1_790_000_020.0,
)


def test_names_and_units_are_what_alerts_rely_on() -> None:
    """Renaming one silences somebody's alert: they are as documented, in seconds, bytes and dollars."""
    found = samples(exposition("spring", FULL))

    assert {key: value for key, value in found.items() if value} == {
        ("lipsync_batch_jobs", "done"): 2,
        ("lipsync_batch_spent_usd", ""): 1.23,
        ("lipsync_batch_budget_usd", ""): 40,
        ("lipsync_batch_requests_refused_total", ""): 3,
        ("lipsync_batch_downloaded_bytes_total", ""): 1_000_000,
        ("lipsync_batch_running", ""): 1,
        ("lipsync_batch_last_run_start_timestamp_seconds", ""): 1_790_000_000.25,
        ("lipsync_batch_last_run_end_timestamp_seconds", ""): 1_789_000_000,
        ("lipsync_batch_last_run_exit_code", ""): 3,
        ("lipsync_batch_last_run_stop_reason", "deadline"): 1,
        ("lipsync_batch_last_success_timestamp_seconds", ""): 1_788_000_000,
        ("lipsync_batch_updated_timestamp_seconds", ""): 1_790_000_020,
    }
    assert {state for name, state in found if name == "lipsync_batch_jobs"} == {state.value for state in State}
    documented = (Path(__file__).parent.parent / "docs" / "nights.md").read_text(encoding="utf-8")
    assert {name for name, _ in found if f"`{name}`" not in documented} == set()


def test_odd_folder_names_are_escaped() -> None:
    text = exposition('a "b"\\c\nd', FULL)

    assert {labels["batch"] for family in text_string_to_metric_families(text) for _, labels, *_ in family.samples} == {
        'a "b"\\c\nd'
    }


@pytest.mark.slow
def test_figures_after_each_run_say_how_it_went(project: Path, api: OtherApi) -> None:
    """One that fails, even before it begins, does not hide when one last went well: that is what is alerted on."""
    file = project / "spring.prom"
    env = environment(project, api.url, LIPSYNC_BATCH_METRICS=str(file), LIPSYNC_BATCH_PRICE_PER_JOB="0.5")
    before = datetime.now(UTC).timestamp()

    assert run("run", "spring.csv", "--budget", "40", env=env, cwd=project).returncode == exits.DONE
    good = samples(file.read_text())
    without_key = run("run", "spring.csv", env=env | {"AIMLAPI_API_KEY": ""}, cwd=project)
    bad = samples(file.read_text())

    assert good["lipsync_batch_jobs", "done"] == 3
    assert good["lipsync_batch_spent_usd", ""] > 0
    assert good["lipsync_batch_budget_usd", ""] == 40
    assert good["lipsync_batch_downloaded_bytes_total", ""] > 1000
    assert good["lipsync_batch_last_run_exit_code", ""] == 0
    assert good["lipsync_batch_last_run_stop_reason", "finished"] == 1
    assert good["lipsync_batch_last_success_timestamp_seconds", ""] >= before
    assert without_key.returncode == exits.ACT
    assert bad["lipsync_batch_last_run_exit_code", ""] == exits.ACT
    assert bad["lipsync_batch_last_run_stop_reason", "not_started"] == 1
    assert bad["lipsync_batch_jobs", "done"] == 3
    same = ("lipsync_batch_last_success_timestamp_seconds", "")
    assert bad[same] == good[same]
    assert [path.name for path in project.iterdir() if "prom" in path.name] == ["spring.prom"]


@pytest.mark.slow
def test_figures_are_kept_while_a_run_goes_on(project: Path, api: OtherApi) -> None:
    """Written at its begin already: who was killed with `running 1` and an old time is found by that."""
    api.seconds = 60.0
    file = project / "spring.prom"

    with start("run", "spring.csv", "--metrics", file, env=environment(project, api.url), cwd=project) as process:
        while not file.exists() and process.poll() is None:
            time.sleep(0.02)
        during = samples(file.read_text())
        while len(api.tasks) < 3 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    after = samples(file.read_text())

    assert during["lipsync_batch_running", ""] == 1
    assert during["lipsync_batch_last_success_timestamp_seconds", ""] == 0
    assert ("lipsync_batch_last_run_exit_code", "") not in during
    assert after["lipsync_batch_running", ""] == 0
    assert after["lipsync_batch_jobs", "submitted"] == 3
    assert after["lipsync_batch_last_run_exit_code", ""] == exits.TERMINATED
    assert after["lipsync_batch_last_run_stop_reason", "terminated"] == 1


def test_file_that_cannot_be_written_is_told_before_anything_is_sent(project: Path) -> None:
    """The node exporter's folder is root's, as a rule."""
    env = environment(project, AIMLAPI_BASE_URL="http://127.0.0.1:9")

    ended = run("run", "spring.csv", "--metrics", "nowhere/spring.prom", env=env, cwd=project)

    assert ended.returncode == exits.MANIFEST
    assert "--metrics nowhere/spring.prom: its folder does not exist" in ended.stderr
    assert "--collector.textfile.directory" in ended.stderr


@pytest.mark.slow
def test_figures_that_cannot_be_written_at_the_end_change_no_exit_code(project: Path, api: OtherApi) -> None:
    folder = project / "textfiles"
    folder.mkdir()

    def take_away(*_: object) -> bool:
        (folder / "spring.prom").unlink(missing_ok=True)
        if folder.exists():
            folder.rmdir()
        return False

    api.on_poll = take_away
    ended = run(
        "run", "spring.csv", "--metrics", folder / "spring.prom", env=environment(project, api.url), cwd=project
    )

    assert ended.returncode == exits.DONE
    assert f"Warning: the metrics were not written to {folder}/spring.prom: No such file" in ended.stderr
