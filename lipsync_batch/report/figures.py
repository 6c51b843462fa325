"""Numbers as people read them: counts, money, durations, instants."""

from __future__ import annotations

from datetime import UTC, datetime

_HOUR = 3_600
_MINUTE = 60


def counted(number: int, noun: str) -> str:
    """`1 video`, `1,200 videos`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def dollars(micro: int | None) -> str:
    """Micro-USD as `$12.30`; with four digits below ten cents, where cents would hide the price of a job."""
    if micro is None:
        return "unknown"
    amount = micro / 1_000_000
    return f"${amount:,.4f}" if 0 < abs(amount) < 0.1 else f"${amount:,.2f}"


def duration(seconds: float) -> str:
    """Seconds as `850 ms`, `34.2 s`, `12 min 5 s`, `7 h 30 min`."""
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < _HOUR:
        return _two(whole // _MINUTE, "min", whole % _MINUTE, "s")
    return _two(whole // _HOUR, "h", whole % _HOUR // _MINUTE, "min")


def percent(part: int, whole: int) -> str:
    """Rounded down, so that 100 % means all."""
    return f"{100 * part // whole} %" if whole else "0 %"


def day_and_time(instant: datetime) -> str:
    """In UTC and saying so; the page's script puts the reader's own time in its place."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"
