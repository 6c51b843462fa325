"""The provider's records as they are in life: long, shared with others, late, torn by outages and refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from lipsync_batch.clock import VirtualClock, VirtualTimeLoop, iso
from lipsync_batch.errors import ActionNeededError, UnreachableError
from lipsync_batch.providers.aimlapi import AimlApi
from lipsync_batch.providers.base import LogRow
from lipsync_batch.rebuilding.records import REACH, Records
from lipsync_batch.runner.throttle import Throttle
from lipsync_batch.store.ledger import Charged

NOW = datetime(2026, 5, 4, 6, 0, tzinfo=UTC)
SINCE = NOW - timedelta(days=3)


class Books:
    """The account's log and charges, served in pages; `spoils` may answer a request instead."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.charges: list[dict[str, Any]] = []
        self.spoils: Callable[[int], int | None] = lambda _: None
        """From the number of a request to the status that it is answered with."""
        self.asked: list[httpx2.URL] = []
        self.grows = 0
        """Rows of others that come in at the head while it is read, one with each page."""
        self.loop = VirtualTimeLoop()
        self.clock = VirtualClock(NOW, self.loop)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url)
        if (status := self.spoils(len(self.asked))) is not None:
            return httpx2.Response(status, json={"message": "not now", "statusCode": status})
        query = dict(request.url.params)
        if request.url.path == "/v2/billing/transactions":
            return self._charges(query)
        if request.url.path != "/v2/logs":
            return httpx2.Response(404, json={"message": "Generation not found", "statusCode": 404})
        rows = [_foreign(-1 - n) for n in range(min(self.grows, len(self.asked)))][::-1] + self.rows
        offset, limit = int(query["offset"]), int(query["limit"])
        more = offset + limit < len(rows)
        return httpx2.Response(
            200, json={"data": rows[offset : offset + limit], "pagination": {"has_more": more, "total": len(rows)}}
        )

    def _charges(self, query: dict[str, str]) -> httpx2.Response:
        start, limit = int(query.get("cursor", "0")), int(query["limit"])
        more = start + limit < len(self.charges)
        pagination = {"has_more": more, "next_cursor": str(start + limit) if more else None}
        return httpx2.Response(200, json={"data": self.charges[start : start + limit], "pagination": pagination})

    def read(self, ask: Callable[[Records], Any]) -> Any:
        """What a question to the records comes to, in virtual time."""

        async def asking() -> Any:
            api = AimlApi(base_url="https://api.example", key="k", transport=httpx2.MockTransport(self.answer))
            throttle = Throttle(self.clock)
            try:
                return await ask(Records(api, throttle, self.clock))
            finally:
                throttle.close()
                await api.aclose()

        return self.loop.run_until_complete(asking())

    def log(self, *, must: bool = False, since: datetime | None = SINCE) -> tuple[list[LogRow], str | None]:
        """The rows that were read, and what kept the rest away."""
        rows: list[LogRow] = []
        return rows, self.read(lambda records: records.log(since, rows.extend, must=must))


@pytest.fixture
def books() -> Iterator[Books]:
    books = Books()
    yield books
    books.loop.close()


def _row(number: int, *, client_request_id: str | None) -> dict[str, Any]:
    return {
        "created": iso(NOW - timedelta(seconds=number)),
        "status": "failed" if number % 7 == 3 else "succeeded",
        "model": "pixverse/lip-sync",
        "inference_id": f"inf-{number}",
        "client_request_id": client_request_id,
        "cost": {"usd": 0.24, "credits": 480_000},
    }


def _foreign(number: int) -> dict[str, Any]:
    """Of the playground, or of another program: it names no id, or one that is none of ours."""
    return _row(number, client_request_id=None if number % 2 else f"job {number}")


def _ours(number: int) -> dict[str, Any]:
    return _row(number, client_request_id=f"lb1.b.{number:024x}.1")


def test_thousands_of_rows_are_read_to_the_end_among_those_of_others(books: Books) -> None:
    """Rows that come in meanwhile shift the pages: one is read twice then, none is passed by."""
    books.rows = [_ours(n) if n % 5 == 0 else _foreign(n) for n in range(3_210)]
    books.grows = 20

    rows, denied = books.log()

    assert denied is None
    ours = [row for row in rows if row.client_request_id.startswith("lb1.")]
    assert {row.generation_id for row in ours} == {f"inf-{n}" for n in range(0, 3_210, 5)}
    assert {row.generation_id for row in ours if row.failed} == {f"inf-{n}" for n in range(0, 3_210, 5) if n % 7 == 3}
    assert books.clock.now() < 60.0


def test_log_is_asked_no_faster_than_it_allows(books: Books) -> None:
    """200 requests in 60 seconds, whatever the account's own rate is."""
    books.rows = [_foreign(n) for n in range(25_000)]

    _, denied = books.log()

    assert denied is None
    assert len(books.asked) == 250
    assert books.clock.now() >= 60.0


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_page_that_does_not_come_is_asked_for_again(books: Books, status: int) -> None:
    """Every third request is refused: not a row is missing for that."""
    books.rows = [_ours(n) for n in range(1_000)]
    books.spoils = lambda number: status if number % 3 == 0 else None

    rows, denied = books.log()

    assert denied is None
    assert len({row.generation_id for row in rows}) == 1_000


@pytest.mark.parametrize("status", [429, 500])
def test_log_that_breaks_off_is_told_of_or_stops_the_rebuilding(books: Books, status: int) -> None:
    """With run.log it is enough to say so; without it what was read must not be taken for all there is."""
    books.rows = [_ours(n) for n in range(1_000)]
    books.spoils = lambda number: status if number > 4 else None

    rows, denied = books.log()
    assert len(rows) == 400
    assert denied

    books.asked.clear()
    with pytest.raises(UnreachableError, match="Nothing was changed"):
        books.log(must=True)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_log_that_a_key_may_not_read_is_told_of_at_once(books: Books, status: int) -> None:
    books.spoils = lambda _: status

    rows, denied = books.log(must=True)

    assert (rows, len(books.asked)) == ([], 1)
    assert denied


def test_log_is_read_from_the_first_intent_or_as_far_back_as_it_goes(books: Books) -> None:
    """A clock that goes wrong by minutes does not hide a row."""
    books.log()
    books.log(since=None)
    books.log(since=NOW - timedelta(days=400))

    starts = [datetime.fromisoformat(url.params["start"]) for url in books.asked]
    assert SINCE - timedelta(hours=1) < starts[0] < SINCE
    assert starts[1] == starts[2] > NOW - REACH
    assert all(datetime.fromisoformat(url.params["end"]) > NOW for url in books.asked)


def test_charges_are_read_page_by_page_and_other_movements_left_out(books: Books) -> None:
    books.charges = [
        {
            "created_at": iso(NOW - timedelta(seconds=n)),
            "direction": "TOPUP" if n % 10 == 0 else "CHARGE",
            "type": "PAYMENT" if n % 10 == 0 else "MODEL_USAGE",
            "amount": {"usd": 0.24, "credits": 480_000},
            "reference_id": f"inf-{n}",
        }
        for n in range(950)
    ]
    books.spoils = lambda number: (429, 500)[number % 2] if number % 4 == 0 else None
    read: list[Charged] = []

    async def keep(page: Sequence[Charged]) -> None:
        read.extend(page)

    assert books.read(lambda records: records.charges(SINCE, keep)) is None
    assert {charge.generation_id for charge in read} == {f"inf-{n}" for n in range(950) if n % 10}
    assert {charge.cost for charge in read} == {240_000}


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, ActionNeededError), (403, ActionNeededError), (429, UnreachableError), (502, UnreachableError)],
)
def test_account_that_does_not_answer_is_not_taken_for_a_strange_one(
    books: Books, status: int, error: type[Exception]
) -> None:
    books.spoils = lambda _: status

    with pytest.raises(error):
        books.read(lambda records: records.knows_one_of(["inf-1", "inf-2"]))

    books.spoils = lambda _: None
    assert books.read(lambda records: records.knows_one_of(["inf-1", "inf-2"])) is False
    assert books.read(lambda records: records.knows_one_of([])) is True
