"""Log, charges, balance and price list: where money is reckoned, to the micro-dollar."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import httpx2
import pytest
from aimlapi_client import api_error

from lipsync_batch.providers.account import PAGE, read_balance, read_charge_page, read_log_page, read_price
from lipsync_batch.providers.answers import Answer
from lipsync_batch.providers.base import (
    Charge,
    ChargePage,
    Denied,
    LogPage,
    LogRow,
    Price,
    Throttled,
    Unavailable,
)

MODEL = "pixverse/lip-sync"


def make_answer(body: object, status: int = 200) -> Answer:
    return Answer(status=status, headers=httpx2.Headers(), body=json.dumps(body).encode())


def log_row(**changes: object) -> dict[str, object]:
    return {
        "created": "2026-07-02T03:04:05.000Z",
        "status": "succeeded",
        "origin": "api",
        "model": MODEL,
        "cost": {"usd": 0.25, "credits": 500000},
        "tokens": {"input": 0, "output": 0, "total": 0},
        "request_id": "req-1",
        "inference_id": "inf-1",
        "client_request_id": "lb1.b.0.1",
        **changes,
    }


def log(*rows: object, has_more: object = False) -> dict[str, object]:
    return {"data": list(rows), "pagination": {"limit": 100, "offset": 0, "total": 1, "has_more": has_more}}


class TestLog:
    """What brings an unclear submit back: a row with our id, and nothing but that."""

    def test_row_gives_id_outcome_cost_and_instant(self) -> None:
        page = read_log_page(make_answer(log(log_row())), offset=0)

        assert page == LogPage(
            rows=(
                LogRow(
                    client_request_id="lb1.b.0.1",
                    generation_id="inf-1",
                    failed=False,
                    created=datetime(2026, 7, 2, 3, 4, 5, tzinfo=UTC),
                    cost=250_000,
                ),
            ),
            next_offset=None,
        )

    def test_failed_row_says_so(self) -> None:
        page = read_log_page(make_answer(log(log_row(status="failed", cost={"usd": 0, "credits": 0}))), offset=0)

        assert isinstance(page, LogPage)
        assert (page.rows[0].failed, page.rows[0].cost) == (True, 0)

    @pytest.mark.parametrize(
        "row", [log_row(client_request_id=None), log_row(inference_id=None), log_row(inference_id=""), None, "row", {}]
    )
    def test_row_without_both_ids_is_passed_over_and_still_counted(self, row: object) -> None:
        page = read_log_page(make_answer(log(row, log_row(), has_more=True)), offset=100)

        assert isinstance(page, LogPage)
        assert len(page.rows) == 1
        assert page.next_offset == 102

    def test_page_without_rows_is_the_last_whatever_it_says(self) -> None:
        """Else a server that always has more would be asked for ever."""
        assert read_log_page(make_answer(log(has_more=True)), offset=200) == LogPage(rows=(), next_offset=None)

    @pytest.mark.parametrize(("rows", "next_offset"), [(PAGE, PAGE), (PAGE - 1, None)])
    def test_full_page_goes_on_where_nothing_is_said_of_more(self, rows: int, next_offset: int | None) -> None:
        page = read_log_page(make_answer({"data": [log_row()] * rows}), offset=0)

        assert isinstance(page, LogPage)
        assert page.next_offset == next_offset

    @pytest.mark.parametrize("created", [None, 5, "yesterday", "", "9999-99-99"])
    def test_instant_that_cannot_be_read_costs_no_row(self, created: object) -> None:
        page = read_log_page(make_answer(log(log_row(created=created))), offset=0)

        assert isinstance(page, LogPage)
        assert page.rows[0].created is None

    def test_instant_without_an_offset_is_utc(self) -> None:
        page = read_log_page(make_answer(log(log_row(created="2026-07-02T03:04:05"))), offset=0)

        assert isinstance(page, LogPage)
        assert page.rows[0].created == datetime(2026, 7, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("read", [lambda answer: read_log_page(answer, offset=0), read_charge_page])
@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, Denied), (403, Denied), (429, Throttled), (400, Unavailable), (404, Unavailable), (500, Unavailable)],
)
def test_page_that_is_not_given(read: object, status: int, expected: type) -> None:
    """403 disables this look-up alone; 429 is waited for; anything else is asked again."""
    assert callable(read)
    assert isinstance(read(make_answer(api_error(status), status)), expected)


@pytest.mark.parametrize("read", [lambda answer: read_log_page(answer, offset=0), read_charge_page])
@pytest.mark.parametrize("body", [None, [], {}, {"data": None}, {"data": {}}, "data"])
def test_page_that_cannot_be_read_is_no_empty_page(read: object, body: object) -> None:
    assert callable(read)
    assert isinstance(read(make_answer(body)), Unavailable)


def movement(**changes: object) -> dict[str, object]:
    return {
        "created_at": "2026-08-17T10:00:00.000Z",
        "direction": "CHARGE",
        "type": "MODEL_USAGE",
        "amount": {"usd": 1.56, "credits": 3120000},
        "model": MODEL,
        "reference_id": "V1StGXR8Z5jdHi6BmyT8k",
        **changes,
    }


class TestCharges:
    def test_charge_names_its_generation_and_cost(self) -> None:
        page = read_charge_page(make_answer({"data": [movement()], "pagination": {"has_more": False}}))

        assert page == ChargePage(
            charges=(
                Charge(
                    generation_id="V1StGXR8Z5jdHi6BmyT8k",
                    cost=1_560_000,
                    created=datetime(2026, 8, 17, 10, tzinfo=UTC),
                ),
            ),
            next_cursor=None,
        )

    @pytest.mark.parametrize(
        "row",
        [
            movement(direction="TOPUP", type="REFUND"),
            movement(type="CREDITS_EXPIRED"),
            movement(reference_id=None),
            movement(amount=None),
            movement(amount={"usd": "?"}),
            movement(amount={"usd": -1}),
            None,
        ],
    )
    def test_other_movements_are_no_charges(self, row: object) -> None:
        page = read_charge_page(make_answer({"data": [row], "pagination": {}}))

        assert page == ChargePage(charges=(), next_cursor=None)

    @pytest.mark.parametrize(
        ("amount", "micro_usd"),
        [
            ({"usd": 0.1}, 100_000),
            ({"usd": 0.29}, 290_000),
            ({"usd": 1.005}, 1_005_000),
            ({"usd": 0.0000001}, 1),
            ({"usd": 0.25, "credits": 480_001}, 240_001),
            ({"credits": 3}, 2),
        ],
    )
    def test_amounts_are_exact_and_a_part_counts_whole(self, amount: object, micro_usd: int) -> None:
        """0.29 * 1,000,000 is 289,999.99… in floats."""
        page = read_charge_page(make_answer({"data": [movement(amount=amount)], "pagination": {}}))

        assert isinstance(page, ChargePage)
        assert page.charges[0].cost == micro_usd

    @pytest.mark.parametrize(
        ("pagination", "cursor"),
        [
            ({"next_cursor": "eyJ2IjoxfQ==", "has_more": True}, "eyJ2IjoxfQ=="),
            ({"next_cursor": "eyJ2IjoxfQ=="}, "eyJ2IjoxfQ=="),
            ({"next_cursor": "eyJ2IjoxfQ==", "has_more": False}, None),
            ({"next_cursor": None, "has_more": True}, None),
            ({"next_cursor": 5, "has_more": True}, None),
            (None, None),
        ],
    )
    def test_cursor_is_handed_on_as_it_is(self, pagination: object, cursor: str | None) -> None:
        page = read_charge_page(make_answer({"data": [], "pagination": pagination}))

        assert page == ChargePage(charges=(), next_cursor=cursor)


@pytest.mark.parametrize(
    ("body", "micro_usd"),
    [
        ({"current_balance": 123.45, "currency": "USD"}, 123_450_000),
        ({"current_balance": 0}, 0),
        ({"current_balance": -0.5, "currency": "usd"}, -500_000),
        ({"current_balance": 0.0000009}, 0),
        ({"current_balance": 10, "currency": "EUR"}, None),
        ({"current_balance": None}, None),
        ({"balance": 5}, None),
        ([], None),
    ],
)
def test_balance(body: object, micro_usd: int | None) -> None:
    assert read_balance(make_answer(body)) == micro_usd


def test_balance_that_is_not_told_is_unknown() -> None:
    assert read_balance(make_answer({"current_balance": 5}, 403)) is None


def listed(pricing: object, **changes: object) -> dict[str, object]:
    entry = {"id": MODEL, "aliases": ["lip-sync"], "type": "internal/video-generations/submit", "pricing": pricing}
    return {"object": "list", "data": [entry | changes]}


def fixed(*units: object, **changes: object) -> dict[str, object]:
    return listed({"kind": "fixed", "currency": "USD", "units": list(units)}, **changes)


def variants(*units: object) -> dict[str, object]:
    return listed({"kind": "variants", "dimensions": ["mode"], "variants": list(units)})


SECOND = {"name": "second", "measure": "output", "price": 0.04, "per": 1}
REQUEST = {"name": "generation", "measure": "request", "price": 0.24, "per": 1}


class TestPrice:
    """A budget is kept by this figure: one that is not understood is no figure, not a low one."""

    @pytest.mark.parametrize(
        ("body", "per_generation", "per_second"),
        [
            (fixed(SECOND), 0, 40_000),
            (fixed(REQUEST), 240_000, 0),
            (fixed(SECOND, REQUEST), 240_000, 40_000),
            (fixed(SECOND | {"price": 40, "per": 1000}), 0, 40_000),
            (fixed(SECOND | {"price": "0.04"}), 0, 40_000),
            (fixed(SECOND | {"name": "minute", "price": 1}), 0, 16_667),
            (fixed({"name": "video", "price": 1}), 1_000_000, 0),
            (fixed(SECOND, id="pixverse/lip-sync-2", aliases=[MODEL]), 0, 40_000),
            (variants({"when": {"a": 1}, "price": 0.39, "unit": "second", "per": 1}), 0, 390_000),
            (
                variants(
                    {"when": {"audio": True}, "price": 0.04, "unit": "second", "per": 1},
                    {"when": {"audio": False}, "price": 0.65, "unit": "second", "per": 10},
                ),
                *(0, 65_000),
            ),
            (
                variants({"price": 0.04, "unit": "second", "per": 1}, {"price": 0.24, "unit": "request", "per": 1}),
                *(240_000, 40_000),
            ),
        ],
    )
    def test_understood(self, body: object, per_generation: int, per_second: int) -> None:
        price = read_price(make_answer(body), model=MODEL, source="list")

        assert price == Price(per_generation=per_generation, per_second=per_second, source="list")

    @pytest.mark.parametrize(
        "body",
        [
            listed({"kind": "variable"}),
            listed({"kind": "new", "units": [SECOND]}),
            listed(None),
            fixed(),
            fixed(SECOND, {"name": "character", "price": 0.01, "per": 1000}),
            fixed(SECOND | {"per": 0}),
            fixed(SECOND | {"per": None}),
            fixed(SECOND | {"price": -1}),
            fixed(SECOND | {"price": None}),
            fixed("second"),
            listed({"kind": "fixed", "currency": "EUR", "units": [SECOND]}),
            fixed(SECOND, id="other/model"),
            fixed(SECOND, id=None, aliases=None),
            {"data": []},
            {},
            None,
        ],
    )
    def test_not_understood_is_unknown(self, body: object) -> None:
        assert read_price(make_answer(body), model=MODEL, source="list") is None

    def test_not_told_is_unknown(self) -> None:
        assert read_price(make_answer(fixed(SECOND), 500), model=MODEL, source="list") is None
