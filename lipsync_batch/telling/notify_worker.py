"""The process that speaks to apprise for `notify`: a question comes by stdin, an answer an address goes to stdout.

It ends by itself when its time is over, also where nobody waits for it any more.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tenacity import Retrying, retry_if_result, stop_after_attempt, stop_before_delay, wait_exponential_jitter

from lipsync_batch.masking import mask, pieces

ATTEMPTS = 4
LONGEST_REASON = 300
"""Bytes: some services answer with a whole page."""
UNKNOWN = "apprise does not understand this address"
Told = tuple[int, str | None]


class Reasons(logging.Handler):
    """What apprise says of the address that a thread is at: its log is the only place where it gives reasons."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: dict[int, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self._said[threading.get_ident()] = record.getMessage()

    def last(self) -> str | None:
        """The last one since it was asked for, of this thread."""
        return self._said.pop(threading.get_ident(), None)


def main() -> None:
    """Answer the question on stdin."""
    question = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a service prints is no answer
    ends = time.monotonic() + question["seconds"]
    reasons = Reasons()
    logging.getLogger("apprise").addHandler(reasons)
    told: queue.SimpleQueue[Told] = queue.SimpleQueue()
    addresses = question["addresses"]
    for number, address in enumerate(addresses):
        work = partial(_tell, address, question["notice"], reasons, question["seconds"])
        threading.Thread(target=_into, args=(told, number, work), daemon=True).start()
    for _ in addresses:
        try:
            number, reason = told.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            break
        print(json.dumps({"number": number, "reason": reason}), file=answers, flush=True)
    os._exit(0)  # a service that hangs keeps nobody


def _into(told: queue.SimpleQueue[Told], number: int, work: Callable[[], str | None]) -> None:
    told.put((number, work()))


def _tell(address: str, notice: dict[str, str] | None, reasons: Reasons, seconds: float) -> str | None:
    """None where an address could be told, or is understood at least; else why not, without anything secret."""
    try:
        reason = _try(address, notice, reasons, seconds)
    except Exception as error:  # noqa: BLE001 - a service's own bug is one more way in which it fails
        reason = f"{type(error).__name__}: {error}"
    return reason and mask(" ".join(reason.split()), secrets=pieces(address), limit=LONGEST_REASON)


def _try(address: str, notice: dict[str, str] | None, reasons: Reasons, seconds: float) -> str | None:
    from apprise import Apprise

    service = Apprise.instantiate(address)
    if service is None or not service.enabled:
        return UNKNOWN if service is None else f"this service needs more packages: {reasons.last() or 'see its page'}"
    if notice is None:
        return None
    again = Retrying(
        stop=stop_after_attempt(ATTEMPTS) | stop_before_delay(0.6 * seconds),
        wait=wait_exponential_jitter(initial=0.5, max=4.0, jitter=0.5),
        retry=retry_if_result(lambda reason: reason is not None),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
    reason: str | None = again(_send, service, notice, reasons)
    return reason


def _send(service: Any, notice: dict[str, str], reasons: Reasons) -> str | None:
    """Once. The body is plain text: what it quotes of a provider is no markup for the service."""
    sent = service.notify(title=notice["subject"], body=notice["body"], notify_type=notice["kind"], body_format="text")
    return None if sent else reasons.last() or "it was not taken"


if __name__ == "__main__":
    main()
