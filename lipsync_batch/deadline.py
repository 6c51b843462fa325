"""`--finish-by`: when a run must be over."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from lipsync_batch.settings import parse_duration


def deadline(finish_by: str, now: datetime) -> datetime:
    """The instant that `06:00` (the next such hour, local time) or `8h` (from now) means, seen from `now`.

    >>> from datetime import UTC
    >>> deadline("8h", datetime(2026, 5, 1, 22, 0, tzinfo=UTC)).isoformat()
    '2026-05-02T06:00:00+00:00'
    """
    if ":" not in finish_by:
        return now + timedelta(seconds=parse_duration(finish_by))
    hour = time.fromisoformat(finish_by.zfill(5))
    local = now.astimezone()
    # Built from naive local time, so that a night in which the clocks change still ends at the hour on the wall.
    naive = datetime.combine(local.date(), hour)
    if naive <= local.replace(tzinfo=None):
        naive += timedelta(days=1)
    return naive.astimezone()
