"""Reading what a server sent without trusting it: JSON, ids, links, money, instants.

Nothing here raises, whatever the bytes: what cannot be understood is None. Numbers in JSON become `Decimal`, so that
money stays exact and a number of a thousand digits is no worse than any other.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from urllib.parse import urlsplit

MICRO_PER_USD = 1_000_000
CREDITS_PER_USD = 2_000_000

_MOST_USD = 1_000_000_000  # in micro-USD still far inside SQLite's integers; more than that is no sum of money
_LARGEST = 10**18  # beyond, arithmetic would round or overflow; nothing here is counted that far
_LONGEST_NUMBER = 64
_LONGEST_ID = 512


def parse_json(body: bytes) -> object:
    """The document, or None: not JSON, not text, cut short, nested beyond reason, or plainly `null`."""
    try:
        document: object = json.loads(body, parse_float=number, parse_int=number, parse_constant=lambda _: None)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        return None
    return document


def number(value: object) -> Decimal | None:
    """A number of reasonable size, also where it came as a string: headers and some fields write amounts so."""
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER:
        try:
            value = Decimal(value.strip())
        except ArithmeticError:
            return None
    if not isinstance(value, Decimal) or not value.is_finite():
        return None
    return value if -_LARGEST <= value <= _LARGEST else None


def whole(value: object) -> int | None:
    """A whole number of 0 or more that fits in 53 bits, such as a status code or a count of bytes."""
    exact = number(value)
    if exact is None or not 0 <= exact < 2**53 or exact != exact.to_integral_value():
        return None
    return int(exact)


def identifier(value: object) -> str | None:
    """An id as it came: any printable text that is not blank, for refusing one would strand what was paid for.

    A whole number counts as its digits.
    """
    if isinstance(value, Decimal):
        value = str(whole(value) or "")
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ID:
        return None
    return value if value.isprintable() and value.strip() else None


def link(value: object) -> str | None:
    """An http(s) URL, exactly as it was written: a `%2F` in its path is part of the name."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    if not text.isprintable() or " " in text:
        return None
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        return None
    return text if parts.scheme in ("http", "https") and host else None


def micro_usd(usd: object) -> int | None:
    """A cost in USD as micro-USD, a part of one counting as one; None for what is no cost."""
    amount = _sum_of_money(usd)
    return None if amount is None or amount < 0 else int((amount * MICRO_PER_USD).to_integral_value(ROUND_CEILING))


def micro_usd_of_credits(credits_used: object) -> int | None:
    """A cost in credits, likewise. 2,000,000 credits are one USD."""
    amount = number(credits_used)
    return None if amount is None else micro_usd(amount / CREDITS_PER_USD)


def micro_usd_left(usd: object) -> int | None:
    """A balance in USD as micro-USD: it may be below zero, and a part of one counts for nothing."""
    amount = _sum_of_money(usd)
    return None if amount is None else int((amount * MICRO_PER_USD).to_integral_value(ROUND_FLOOR))


def _sum_of_money(usd: object) -> Decimal | None:
    amount = number(usd)
    return None if amount is None or abs(amount) > _MOST_USD else amount


def instant(value: object) -> datetime | None:
    """An ISO 8601 instant in UTC; one without an offset is UTC already."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def word(value: object) -> str:
    """A status as words are compared: lower case, `_` for blanks and hyphens; empty for what is no text."""
    return re.sub(r"[\s_-]+", "_", value.strip()).casefold() if isinstance(value, str) else ""
