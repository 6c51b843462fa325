"""What the headers of an HTTP answer say, read leniently: None for what is missing or makes no sense."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentRange:
    """Positions of the first and the last byte of a partial answer, and the length of the whole file."""

    first: int
    last: int
    total: int | None


def strong_etag(headers: Mapping[str, str]) -> str | None:
    """The ETag where it promises equal bytes (RFC 9110, section 8.8.3) and is fit to be sent back."""
    etag = headers.get("ETag", "").strip()
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]+"', etag) else None


def content_length(headers: Mapping[str, str]) -> int | None:
    """Bytes of the body."""
    return _number(headers.get("Content-Length", ""))


def content_range(headers: Mapping[str, str]) -> ContentRange | None:
    """Which part of the file the body is (RFC 9110, section 14.4)."""
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", headers.get("Content-Range", "").strip())
    if found is None:
        return None
    first, last, total = found.groups()
    return ContentRange(first=int(first), last=int(last), total=_number(total))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from now. The header holds seconds or a date (RFC 9110, section 10.2.3).

    A date is reckoned from the answer's own `Date`, where it has one: the server's clock may be hours off ours.
    """
    text = headers.get("Retry-After", "").strip()
    seconds = _number(text)
    if seconds is not None:
        return float(seconds)
    until = _instant(text)
    if until is None:
        return None
    return max(0.0, (until - (_instant(headers.get("Date", "")) or datetime.now(UTC))).total_seconds())


def _instant(text: str) -> datetime | None:
    try:
        instant = parsedate_to_datetime(text)
    except ValueError:
        return None
    # "-0000" is UTC, says RFC 5322
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None
