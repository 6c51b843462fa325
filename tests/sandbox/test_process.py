"""A sandbox that runs: it starts, stops, dies with its parent, and remembers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from sandbox_client import KEY, MEDIA, Played, alive, data_uri, ended, pid_in, poll, stats, submit, wait_until

from lipsync_batch.sandbox.process import SandboxError, SandboxProcess

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "lipsync_batch", "sandbox"]
SLOW = ("--median", "60", "--speed-up", "30", "--log-lag", "0")
"""Generations of some two seconds: time enough to die in between."""


def client_of(sandbox: SandboxProcess) -> httpx2.Client:
    return httpx2.Client(base_url=sandbox.base_url, headers=KEY)


def test_what_was_accepted_survives_kill_9(tmp_path: Path) -> None:
    """An interrupted rehearsal resumes: same id, same key, a link that is right on the other port, one charge."""
    folder = tmp_path / "data"
    with SandboxProcess(folder, options=SLOW) as first, client_of(first) as client:
        wish = {"video_url": data_uri(MEDIA / "ben.mp4"), "lip_sync_tts_speaker": "Oliver"}
        generation_id = submit(client, "lb1.batch.0123.1", **wish).json()["id"]
        os.kill(pid_in(folder), signal.SIGKILL)

    with SandboxProcess(folder, options=SLOW) as second, client_of(second) as client:
        assert poll(client, generation_id)["status"] in ("queued", "generating")
        answer = ended(client, generation_id)

        assert answer["status"] in ("completed", "succeeded")
        assert answer["video"]["url"].startswith(second.base_url)
        assert Played(httpx2.get(answer["video"]["url"]).content).codecs == {"video": "h264", "audio": "aac"}
        assert stats(client)["charges"] == 1
        (row,) = client.get("/v2/logs?period=1h").json()["data"]
        assert row["client_request_id"] == "lb1.batch.0123.1"
    assert second.key == first.key


def test_what_lies_in_the_current_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rehearsal begins in the folder of the manifest, where a script may be called like a module."""
    for module in ("av", "click"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit(1)", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    with SandboxProcess(tmp_path / "data") as sandbox, client_of(sandbox) as client:
        wish = {"video_url": data_uri(MEDIA / "ben.mp4"), "lip_sync_tts_speaker": "Oliver"}

        assert submit(client, "lb1.batch.0123.1", **wish).status_code in (200, 201)


def test_it_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    """kill -9 of a run leaves no server behind."""
    program = """
import pathlib, sys, time
from lipsync_batch.sandbox.process import SandboxProcess
with SandboxProcess(pathlib.Path(sys.argv[1])) as sandbox:
    print(sandbox.base_url, flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        base_url = parent.stdout.readline().decode().strip()
        child = pid_in(tmp_path / "data")
        assert httpx2.get(f"{base_url}/_sandbox/stats").status_code == 200

        parent.kill()

    assert wait_until(lambda: not alive(child))


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_though_a_client_waits(tmp_path: Path, stop: signal.Signals) -> None:
    """Ctrl-C means now: an answer that is being held back does not hold it up, and nothing temporary is left."""
    options = ["--slow", "1", "--slow-seconds", "60"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as server:
        assert server.stdout is not None
        base_url = json.loads(server.stdout.readline())["sandbox"]
        with pytest.raises(httpx2.TransportError), httpx2.Client(headers=KEY, timeout=0.3) as client:
            client.get(f"{base_url}/v2/billing")

        server.send_signal(stop)
        _, said = server.communicate(timeout=10)

    assert server.returncode == 0
    assert b"Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path) -> None:
    """Not a time-out half a minute later."""
    with pytest.raises(SandboxError, match="--no-such-option"), SandboxProcess(tmp_path, options=["--no-such-option"]):
        pass


def test_a_folder_belongs_to_one_sandbox_at_a_time(tmp_path: Path) -> None:
    """Two would both render, and charge, the same generations."""
    with (
        SandboxProcess(tmp_path / "data"),
        pytest.raises(SandboxError, match="another sandbox"),
        SandboxProcess(tmp_path / "data"),
    ):
        pass


def test_its_key_is_made_up_and_kept_private(tmp_path: Path) -> None:
    """A resumed batch has the same; nobody else reads it."""
    with SandboxProcess(tmp_path / "data") as first:
        pass
    with SandboxProcess(tmp_path / "data") as second:
        pass

    assert first.key == second.key
    assert first.key.startswith("sandbox-")
    assert (tmp_path / "data" / "key").stat().st_mode & 0o077 == 0


def test_it_listens_on_loopback(tmp_path: Path) -> None:
    """Any key spends there: nobody else on the network may."""
    with SandboxProcess(tmp_path / "data") as sandbox:
        assert sandbox.base_url.startswith("http://127.0.0.1:")


@pytest.mark.slow
def test_key_of_the_real_account_is_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox is a server that others may reach: what it does not know it cannot show."""
    monkeypatch.setenv("AIMLAPI_API_KEY", "sk-of-the-real-account")

    with SandboxProcess(tmp_path):
        environ = Path(f"/proc/{pid_in(tmp_path)}/environ").read_bytes()

    assert b"sk-of-the-real-account" not in environ
