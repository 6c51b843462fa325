"""Tells people how a run ended, through apprise: mail, chat, a push to a phone, a web hook.

apprise works in a process of its own (`notify_worker`): a hook that hangs is killed with it, what its services print
goes nowhere, and a run without notifications never loads them. Addresses hold tokens and passwords: they go to that
process by its stdin, and nothing that comes back holds a part of them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from lipsync_batch.errors import MissingExtraError, UsageError
from lipsync_batch.masking import HIDDEN, mask
from lipsync_batch.report.notice import Notice

EXTRA = "notify"
CHECKS_WITHIN = 30.0
"""Seconds for loading apprise and its services; half a second is usual."""
SENT_WITHIN = 15.0
"""Seconds in which all addresses are told, repetitions included."""
HURRIED = 5.0
"""The same where somebody waits for the process to end."""
STARTS_WITHIN = 2.0
"""Seconds more, for the process to begin."""
# -P: a file of the user's may have the name of a module.
COMMAND = (sys.executable, "-P", "-W", "ignore", "-m", "lipsync_batch.telling.notify_worker")
NO_ANSWER = "no answer in time"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{1,15})://", re.IGNORECASE)


class Notifier:
    """The addresses that are told of a run's end."""

    def __init__(self, addresses: Sequence[str], *, origin: str, environ: Mapping[str, str]) -> None:
        """`origin` is how a user calls the place that they were given at; `environ` what apprise may know of it."""
        self._addresses = tuple(addresses)
        self._origin = origin
        self._environ = dict(environ)

    def check(self) -> None:
        """Nothing, or MissingExtraError, or UsageError that says which addresses apprise does not understand."""
        if not self._addresses:
            return
        if find_spec("apprise") is None:
            raise MissingExtraError(self._origin, EXTRA)
        faults = self._ask(None, CHECKS_WITHIN)
        if faults:
            raise UsageError(
                "\n".join(f"{self._origin}: {fault}" for fault in faults),
                hint="Write it like mailto://USER:PASSWORD@gmail.com or json://HOST/PATH; all services are listed at "
                "https://github.com/caronc/apprise/wiki. Nothing was submitted.",
            )

    def send(self, notice: Notice, *, seconds: float = SENT_WITHIN) -> list[str]:
        """Tell every address; what went wrong, an address a line, without anything secret. Raises nothing."""
        return self._ask(notice, seconds) if self._addresses else []

    def send_behind(self, notice: Notice) -> None:
        """Tell every address while this process ends: whether it worked, nobody hears."""
        if self._addresses:
            with suppress(OSError):
                process = self._start(subprocess.DEVNULL)
                assert process.stdin is not None
                with process.stdin as stdin:
                    stdin.write(self._question(notice, SENT_WITHIN))

    def _ask(self, notice: Notice | None, seconds: float) -> list[str]:
        try:
            process = self._start(subprocess.PIPE)
        except OSError as error:
            return [f"no process can be started for it ({error.strerror})"]
        with process:
            try:
                told, _ = process.communicate(self._question(notice, seconds), seconds + STARTS_WITHIN)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
                told, _ = process.communicate()
        return list(self._failures(_answers(told)))

    def _start(self, stdout: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own program, without a shell
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at the end of a run is not meant for it
            env=self._environ,
        )

    def _question(self, notice: Notice | None, seconds: float) -> bytes:
        asked = {"addresses": self._addresses, "notice": notice and asdict(notice), "seconds": seconds}
        return json.dumps(asked).encode()

    def _failures(self, answers: Mapping[int, str | None]) -> Iterator[str]:
        for number, address in enumerate(self._addresses):
            if (reason := answers.get(number, NO_ANSWER)) is not None:
                yield f"address {number + 1}{_shown(address)}: {mask(reason)}"


def _shown(address: str) -> str:
    """What may be shown of an address: the service that it is for."""
    scheme = _SCHEME.match(address)
    return f" ({scheme[1].lower()}://{HIDDEN})" if scheme else ""


def _answers(told: bytes) -> dict[int, str | None]:
    """Why each address failed, or None; what a process said that was killed meanwhile may end anywhere."""
    answers: dict[int, str | None] = {}
    for line in told.splitlines():
        with suppress(ValueError, TypeError, KeyError):
            answer: dict[str, Any] = json.loads(line)
            answers[int(answer["number"])] = answer["reason"]
    return answers
