"""What the API says of the account and of its prices: log, charges, balance, price list. Pure, and raises nothing.

Source: AI/ML API reference, service endpoints: usage logs, account balance, complete model list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from lipsync_batch.providers.answers import FAILED, Answer, read_failure
from lipsync_batch.providers.base import Charge, ChargePage, Denied, LogPage, LogRow, Price, Throttled, Unavailable
from lipsync_batch.providers.parsing import (
    MICRO_PER_USD,
    identifier,
    instant,
    micro_usd,
    micro_usd_left,
    micro_usd_of_credits,
    number,
    word,
)

PAGE = 100
"""Rows asked for at once: the most that log and charges give."""

_SECONDS_OF = {
    **dict.fromkeys(("second", "seconds", "sec", "s"), 1),
    **dict.fromkeys(("minute", "minutes", "min"), 60),
}
_GENERATIONS = frozenset({"generation", "generations", "request", "requests", "video", "videos", "call", "run"})


def read_log_page(answer: Answer, *, offset: int) -> LogPage | Throttled | Denied | Unavailable:
    """A page of `/v2/logs` that was asked for from `offset` on."""
    page = _page(answer)
    if page is None:
        return read_failure(answer)
    rows = tuple(row for row in map(_log_row, page.items) if row is not None)
    more = page.pagination.get("has_more", len(page.items) >= PAGE) is True
    return LogPage(rows=rows, next_offset=offset + len(page.items) if more and page.items else None)


def _log_row(item: Mapping[str, object]) -> LogRow | None:
    ours, theirs = identifier(item.get("client_request_id")), identifier(item.get("inference_id"))
    if ours is None or theirs is None:
        return None
    return LogRow(
        client_request_id=ours,
        generation_id=theirs,
        failed=word(item.get("status")) in FAILED,
        created=instant(item.get("created")),
        cost=_amount(item.get("cost")),
    )


def read_charge_page(answer: Answer) -> ChargePage | Throttled | Denied | Unavailable:
    """A page of `/v2/billing/transactions`: of it, what was taken for the use of a model."""
    page = _page(answer)
    if page is None:
        return read_failure(answer)
    charges = tuple(charge for charge in map(_charge, page.items) if charge is not None)
    cursor = page.pagination.get("next_cursor")
    more = page.pagination.get("has_more", True) is True and isinstance(cursor, str) and bool(cursor)
    return ChargePage(charges=charges, next_cursor=str(cursor) if more else None)


def _charge(item: Mapping[str, object]) -> Charge | None:
    """A movement of money, if it is one for a generation. Amounts are positive: the direction carries the sign."""
    generation_id, cost = identifier(item.get("reference_id")), _amount(item.get("amount"))
    taken = word(item.get("direction")) == "charge" and word(item.get("type")) == "model_usage"
    if not taken or generation_id is None or cost is None:
        return None
    return Charge(generation_id=generation_id, cost=cost, created=instant(item.get("created_at")))


def _amount(amount: object) -> int | None:
    """`{usd, credits}` in micro-USD. Credits are whole numbers, USD were rounded for show in some samples."""
    if not isinstance(amount, dict):
        return None
    exact = micro_usd_of_credits(amount.get("credits"))
    return micro_usd(amount.get("usd")) if exact is None else exact


class _Page(NamedTuple):
    items: Sequence[Mapping[str, object]]
    pagination: Mapping[str, object]


def _page(answer: Answer) -> _Page | None:
    document = answer.document()
    if not answer.succeeded or not isinstance(document, dict) or not isinstance(document.get("data"), list):
        return None
    pagination = document.get("pagination")
    # What is no row still counts as one: the next offset is reckoned from them.
    items = [item if isinstance(item, dict) else {} for item in document["data"]]
    return _Page(items, pagination if isinstance(pagination, dict) else {})


def read_balance(answer: Answer) -> int | None:
    """Micro-USD left, from `/v2/billing`."""
    document = answer.document()
    if not answer.succeeded or not isinstance(document, dict) or not _in_usd(document):
        return None
    return micro_usd_left(document.get("current_balance"))


def read_price(answer: Answer, *, model: str, source: str) -> Price | None:
    """The price of a model from `/v1/models`; None for one that cannot be told before the request, or understood."""
    listed = _listed(answer.document(), model) if answer.succeeded else None
    pricing = listed.get("pricing") if listed else None
    if not isinstance(pricing, dict) or not _in_usd(pricing):
        return None
    match word(pricing.get("kind")):
        case "fixed":
            return _price(pricing.get("units"), _total, source)
        case "variants":
            # Which one applies is known after the request. A budget must hold, so the dearest is reckoned with.
            return _price(pricing.get("variants"), max, source)
    return None


def _price(units: object, combine: Callable[[Iterable[Decimal]], Decimal], source: str) -> Price | None:
    rates = _rates(units)
    if rates is None:
        return None
    return Price(
        per_generation=_up(combine(rate.generation for rate in rates)),
        per_second=_up(combine(rate.second for rate in rates)),
        source=source,
    )


def _total(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))


def _listed(document: object, model: str) -> Mapping[str, object] | None:
    """The entry of the model, under its id or an alias: what a filter was answered with is checked."""
    entries = document.get("data", document) if isinstance(document, dict) else document
    for entry in entries if isinstance(entries, list) else [entries]:
        if isinstance(entry, dict) and model in (entry.get("id"), *_sequence(entry.get("aliases"))):
            return entry
    return None


class _Rate(NamedTuple):
    """USD for a generation, and for each second of it."""

    generation: Decimal
    second: Decimal


def _rates(units: object) -> list[_Rate] | None:
    """Every rate of a list; None if a single one is not understood, since it may be the one that counts."""
    rates = [_rate(unit) for unit in _sequence(units)]
    known = [rate for rate in rates if rate is not None]
    return known if known and len(known) == len(rates) else None


def _rate(unit: object) -> _Rate | None:
    """`price` is for `per` units, and `per` differs from model to model: always divided."""
    if not isinstance(unit, dict):
        return None
    price, per = number(unit.get("price")), number(unit.get("per", Decimal(1)))
    if price is None or per is None or not (0 <= price < MICRO_PER_USD and 1 <= per <= MICRO_PER_USD**2):
        return None
    zero, each = Decimal(0), price / per
    for name in (word(unit.get(key)) for key in ("unit", "name", "measure")):
        if name in _GENERATIONS:
            return _Rate(each, zero)
        if name in _SECONDS_OF:
            return _Rate(zero, each / _SECONDS_OF[name])
    return None


def _up(usd: Decimal) -> int:
    return int((usd * MICRO_PER_USD).to_integral_value(ROUND_CEILING))


def _in_usd(amounts: Mapping[str, object]) -> bool:
    return word(amounts.get("currency", "USD")) == "usd"


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()
