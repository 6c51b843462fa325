"""`lipsync-batch sandbox`: every fault is an option, and without its packages it says what to install."""

from __future__ import annotations

import builtins
from dataclasses import fields
from typing import Any

import pytest
from click.testing import CliRunner

from lipsync_batch.cli.sandbox import sandbox
from lipsync_batch.errors import MissingExtraError
from lipsync_batch.sandbox.faults import Faults


def test_every_fault_is_an_option_with_help() -> None:
    """What the control endpoint can do, the command line can."""
    shown = CliRunner().invoke(sandbox, ["--help"]).output

    for switch in fields(Faults):
        assert f"--{switch.name.replace('_', '-')}" in shown
        assert " ".join(switch.metadata["help"].split()[:3]) in " ".join(shown.split())


@pytest.mark.parametrize(("option", "value"), [("--rate", "fast"), ("--lost", "2"), ("--speed-up", "0")])
def test_a_value_that_means_nothing_is_a_usage_error(option: str, value: str) -> None:
    """Exit 2 before anything listens."""
    result = CliRunner().invoke(sandbox, [option, value])

    assert result.exit_code == 2
    assert option in result.output


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install lipsync-batch` alone has no server in it."""
    real_import = builtins.__import__

    def without_server(name: str, *arguments: Any) -> Any:
        if name.startswith("lipsync_batch.sandbox.server"):
            raise ImportError(name)
        return real_import(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_server)

    result = CliRunner().invoke(sandbox, [])

    assert isinstance(result.exception, MissingExtraError)
    assert "lipsync-batch[sandbox]" in result.exception.hint
