"""The recipes for nights: what they claim holds of the program that is shipped."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from command import environment
from media_factory import make_video

from lipsync_batch import exits, lock
from lipsync_batch.cli import cli

ROOT = Path(__file__).parent.parent
RECIPES = ROOT / "docs" / "recipes"
NIGHT = RECIPES / "cron" / "lipsync-night"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A manifest, the key's file, and a `lipsync-batch` to be found by its path."""
    make_video(tmp_path / "clip.mp4", seconds=0.5)
    (tmp_path / "spring.csv").write_text("key,video,text,speaker\na,clip.mp4,Hi,Emily\n", encoding="utf-8")
    program = tmp_path / "lipsync-batch"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m lipsync_batch "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    settings = tmp_path / "env"
    settings.write_text("AIMLAPI_API_KEY=sk-of-the-night\nAIMLAPI_BASE_URL=http://127.0.0.1:9\n", encoding="utf-8")
    settings.chmod(0o600)
    return tmp_path


def night(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What the cron line does, in cron's environment."""
    env = environment(project, LIPSYNC_ENV=str(project / "env")) | {"PATH": f"{project}:/usr/bin:/bin"}
    command = [str(NIGHT), str(project / "spring.csv"), *options]
    return subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
def test_night_that_went_well_mails_nothing_and_is_in_the_log(project: Path) -> None:
    (project / "env").write_text("LIPSYNC_BATCH_SANDBOX_OPTIONS='--median 1 --speed-up 50'\n", encoding="utf-8")

    ended = night(project, "--sandbox")

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    log = (project / "spring.night.log").read_text(encoding="utf-8")
    assert "The video is done." in log
    assert "exit 0" in log


@pytest.mark.slow
def test_night_that_went_wrong_is_mailed_and_its_exit_code_kept(project: Path) -> None:
    """The key of the file is taken: without it this would be exit 5."""
    ended = night(project, "--patience", "1s")

    assert ended.returncode == exits.AGAIN
    assert "The run ended because the API could not be reached." in ended.stdout
    assert "sk-of-the-night" not in ended.stdout


@pytest.mark.slow
def test_night_that_overlaps_says_nothing(project: Path) -> None:
    state = project / "out" / "spring" / "_batch"
    state.mkdir(parents=True)

    with lock.held(state):
        ended = night(project)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert "another run holds this batch" in (project / "spring.night.log").read_text(encoding="utf-8")


def test_key_that_others_can_read_is_refused(project: Path) -> None:
    (project / "env").chmod(0o644)

    ended = night(project)

    assert ended.returncode == exits.MANIFEST
    assert f"chmod 600 {project}/env" in ended.stderr


def test_every_command_of_the_recipes_takes_its_options() -> None:
    """A flag that was renamed would be found out at 22:00."""
    texts = [path.read_text(encoding="utf-8") for path in RECIPES.rglob("*") if path.is_file()]
    texts.append((ROOT / "docs" / "nights.md").read_text(encoding="utf-8"))
    used = {option for text in texts for line in re.findall(r"(?:lipsync-batch|lipsync-night).*", text) for option in
            re.findall(r"(?<= )--[a-z-]+", line)}  # fmt: skip
    known = set(re.findall(r"--[a-z-]+", CliRunner().invoke(cli, ["run", "--help"]).output))

    assert {"--finish-by", "--rate", "--budget", "--out"} <= used
    assert used - known - {"--now", "--no-cache-dir"} == set()


def test_service_gives_a_run_the_time_to_end_and_knows_its_exit_codes() -> None:
    """Ten seconds for what is on the wire, five for the notification: less would kill it in the middle."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(RECIPES / "systemd" / "lipsync-batch@.service")
    service = unit["Service"]

    assert int(service["TimeoutStopSec"]) >= 30
    assert service["KillSignal"] == "SIGTERM"
    assert service["SuccessExitStatus"].split() == [str(exits.AGAIN), str(exits.HELD)]
    assert service["Type"] == "oneshot"
    timer = configparser.ConfigParser(interpolation=None)
    timer.read(RECIPES / "systemd" / "lipsync-batch@.timer")
    assert timer["Timer"]["OnCalendar"]


def test_image_has_extras_that_exist_and_no_root() -> None:
    text = (RECIPES / "container" / "Dockerfile").read_text(encoding="utf-8")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (extras,) = re.findall(r"/source\[([a-z,]+)\]", text)

    assert set(extras.split(",")) <= set(known)
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    assert 'ENTRYPOINT ["lipsync-batch"]' in text
    assert os.access(NIGHT, os.X_OK)
