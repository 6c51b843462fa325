"""Who hears of a run that nobody watches: people by a notification, machines by a file of metrics.

Neither changes how a run ends. What goes wrong with them is said, and kept in run.log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from lipsync_batch.clock import Clock
from lipsync_batch.errors import BatchHeldError, DiskError, LipsyncBatchError
from lipsync_batch.events import Noticed
from lipsync_batch.jobs import State, StopReason
from lipsync_batch.location import Location
from lipsync_batch.report import notice
from lipsync_batch.report.notice import Notice
from lipsync_batch.runlog import RunLog
from lipsync_batch.telling.metrics import Metrics
from lipsync_batch.telling.notify import HURRIED, SENT_WITHIN, Notifier

IN_HASTE = (StopReason.INTERRUPTED, StopReason.TERMINATED)


class Telling:
    """What is told of one run, and to whom."""

    def __init__(
        self, place: Location, *, notifier: Notifier, metrics: Metrics, clock: Clock, say: Callable[[str], None]
    ) -> None:
        self.metrics = metrics
        self._place = place
        self._notifier = notifier
        self._clock = clock
        self._say = say
        self._notice: Notice | None = None
        """Of the end, as soon as there is one."""
        self._seconds = SENT_WITHIN

    def check(self) -> None:
        """Before anything is sent: MissingExtraError or UsageError where somebody could not be told."""
        self._notifier.check()
        self.metrics.check()

    @contextmanager
    def over(self) -> Iterator[None]:
        """Tell how the block ended, when the batch is free again. Who is kept out by another run tells nothing."""
        try:
            yield
        except BatchHeldError:
            raise  # the run that holds the batch tells how it ends
        except BaseException as error:
            self._finish(error)
            raise
        self._finish(None)

    def note(
        self,
        counts: Mapping[State, int],
        *,
        stop_reason: StopReason,
        exit_code: int,
        summary: str,
        fault: LipsyncBatchError | None,
    ) -> None:
        """How the work ended; it is told when the batch is free. `fault` kept it from submitting."""
        name = self._place.folder.root.name
        self._notice = notice.of_end(
            name, counts, stop_reason=stop_reason, exit_code=exit_code, summary=summary, fault=fault
        )
        self._seconds = HURRIED if stop_reason in IN_HASTE else SENT_WITHIN

    def at_once(self) -> None:
        """What was noted, without waiting: this process ends now."""
        self.metrics.write_end()
        if self._notice is not None:
            self._notifier.send_behind(self._notice)

    def _finish(self, error: BaseException | None) -> None:
        if (fault := self.metrics.write_end(error)) is not None:
            self._warn(fault)
        told = self._notice or self._of(error)
        if isinstance(error, KeyboardInterrupt):
            self._notifier.send_behind(told)
            return
        for failure in self._notifier.send(told, seconds=self._seconds):
            self._warn(f"the notification was not sent: {failure}")

    def _of(self, error: BaseException | None) -> Notice:
        """What there is to tell of a run whose end was not noted."""
        name = self._place.folder.root.name
        if isinstance(error, LipsyncBatchError):
            return notice.of_error(name, error)
        return notice.of_interrupt(name) if isinstance(error, KeyboardInterrupt) else notice.of_bug(name)

    def _warn(self, message: str) -> None:
        self._say(f"Warning: {message}")
        log = self._place.folder.state / "run.log"
        with suppress(DiskError), ExitStack() as stack:
            if log.exists():
                stack.enter_context(RunLog(log, self._clock)).listen(Noticed(message=message))
