"""Money and the log: what reconciling and resolving stand on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from sandbox_client import ended, made, stats, submit

from lipsync_batch.sandbox.faults import Faults

LOGS = "/v2/logs?period=24h"
TRANSACTIONS = "/v2/billing/transactions"


def several(client: httpx2.Client, count: int) -> list[str]:
    """Submit, wait for, and name so many different generations, oldest first."""
    ids = [submit(client, f"lb1.b.{n}.1", lip_sync_tts_content=f"Number {n}").json()["id"] for n in range(count)]
    for generation_id in ids:
        ended(client, generation_id)
    return ids


def test_the_log_is_paged_newest_first(inside: Any) -> None:
    """The log has no filter for our ids: finding a lost submit means paging through all of it."""
    client = inside(instant_media=True)
    ids = several(client, 7)

    pages = [client.get(f"{LOGS}&limit=3&offset={offset}").json() for offset in (0, 3, 6)]

    found = [row["inference_id"] for page in pages for row in page["data"]]
    assert found == ids[::-1]
    assert [page["pagination"]["has_more"] for page in pages] == [True, True, False]
    assert pages[0]["pagination"] == {"limit": 3, "offset": 0, "total": 7, "has_more": True}


def test_a_log_row_ties_our_id_to_theirs(inside: Any) -> None:
    """This row is what turns an unclear submit into a generation that can be polled."""
    client = inside(instant_media=True)
    (generation_id,) = several(client, 1)

    (row,) = client.get(LOGS).json()["data"]

    assert row["inference_id"] == generation_id
    assert row["client_request_id"] == "lb1.b.0.1"
    assert row["status"] == "succeeded"
    assert row["cost"] == {"usd": 0.24, "credits": 480_000}
    assert row["model"] == "pixverse/lip-sync"


@pytest.mark.slow
def test_the_log_shows_nothing_that_runs_and_lags_behind(inside: Any) -> None:
    """Absence from the log proves nothing: whoever thinks otherwise pays twice, here already."""
    lagging = inside(instant_media=True, log_lag=3600.0)
    running = inside(Faults(stuck=1.0), instant_media=True)

    made(lagging)
    submit(running)

    assert lagging.get(LOGS).json()["pagination"]["total"] == 0
    assert running.get(LOGS).json()["pagination"]["total"] == 0


def test_failed_generations_are_logged_and_cost_nothing(inside: Any) -> None:
    """The hold is rolled back."""
    client = inside(Faults(errors=1.0), instant_media=True)
    made(client)

    (row,) = client.get(f"{LOGS}&status=failed").json()["data"]

    assert row["status"] == "failed"
    assert row["cost"]["credits"] == 0
    assert client.get(f"{LOGS}&status=succeeded").json()["data"] == []
    assert client.get(f"{LOGS}&status=succeeded&status=failed").json()["pagination"]["total"] == 1
    assert client.get(f"{TRANSACTIONS}?type=MODEL_USAGE").json()["data"] == []
    assert client.get("/v2/billing").json()["current_balance"] == 1000.0


def test_models_are_matched_whole(inside: Any) -> None:
    """A comma-separated list is one long name and matches nothing."""
    client = inside(instant_media=True)
    made(client)

    totals = {
        model: client.get(f"{LOGS}&model={model}").json()["pagination"]["total"]
        for model in ("pixverse/lip-sync", "lip-sync", "pixverse/v5", "pixverse/lip-sync,pixverse/v5")
    }

    assert list(totals.values()) == [1, 1, 0, 0]


def test_a_window_can_be_given_by_its_ends(inside: Any) -> None:
    """A value without an offset is UTC."""
    client = inside(instant_media=True)
    made(client)

    created = datetime.fromisoformat(client.get(LOGS).json()["data"][0]["created"])

    around = {"start": created - timedelta(minutes=1), "end": created + timedelta(minutes=1)}
    without_offset = {name: instant.replace(tzinfo=None).isoformat() for name, instant in around.items()}

    assert client.get("/v2/logs", params=without_offset).json()["pagination"]["total"] == 1
    assert client.get("/v2/logs?start=2020-01-01&end=2020-02-01").json()["pagination"]["total"] == 0


@pytest.mark.parametrize(
    "query",
    [
        "",
        "period=24h&start=2026-01-01&end=2026-01-02",
        "period=1w",
        "period=0h",
        "start=2026-01-01",
        "start=2026-01-02&end=2026-01-01",
        "start=2026-01-01&end=2026-06-01",
        "start=yesterday&end=today",
        "period=1h&limit=0",
        "period=1h&limit=101",
        "period=1h&offset=-1",
        "period=1h&status=done",
        "period=1h&status=succeeded,failed",
    ],
)
def test_a_query_that_the_log_does_not_take_is_400(inside: Any, query: str) -> None:
    """As documented, one by one."""
    assert inside().get(f"/v2/logs?{query}").status_code == 400


def test_what_runs_is_held_and_what_succeeded_is_charged(inside: Any) -> None:
    """The charge lands when the generation completes, under its id."""
    client = inside(Faults(stuck=1.0), instant_media=True, price=1_000_000)
    generation_id = submit(client).json()["id"]
    assert client.get("/v2/billing").json() == {"current_balance": 999.0, "currency": "USD"}
    assert client.get(f"{TRANSACTIONS}?direction=CHARGE").json()["data"] == []

    client.put("/_sandbox/faults", json={"stuck": 0})
    ended(client, generation_id)

    (charge,) = client.get(f"{TRANSACTIONS}?direction=CHARGE").json()["data"]
    assert charge["reference_id"] == generation_id
    assert charge["type"] == "MODEL_USAGE"
    assert charge["amount"] == {"usd": 1.0, "credits": 2_000_000}
    assert client.get("/v2/billing/detail").json()["current_balance"] == 999.0
    assert client.get("/v1/billing/balance").json()["balance"] == 999 * 2_000_000


def test_transactions_are_paged_by_cursor_down_to_the_opening(inside: Any) -> None:
    """Settling real costs walks these pages."""
    client = inside(instant_media=True)
    ids = several(client, 5)

    entries: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = client.get(TRANSACTIONS, params=query).json()
        entries += page["data"]
        cursor = page["pagination"]["next_cursor"]
        assert page["pagination"]["has_more"] is (cursor is not None)

    assert sorted(entry["reference_id"] for entry in entries[:-1]) == sorted(ids)
    assert entries[-1]["type"] == "INIT"
    assert entries[-1]["direction"] == "TOPUP"
    assert [entry["created_at"] for entry in entries] == sorted((e["created_at"] for e in entries), reverse=True)


@pytest.mark.parametrize(
    "query", ["type=GIFT", "direction=UP", "limit=0", "cursor=zzz", "from=2026-02-01&to=2026-01-01"]
)
def test_a_query_that_transactions_do_not_take_is_400(inside: Any, query: str) -> None:
    """As documented."""
    assert inside().get(f"{TRANSACTIONS}?{query}").status_code == 400


def test_without_credits_submits_are_403_and_polls_go_on(inside: Any) -> None:
    """What runs is finished and fetched; topping up lets the rest in."""
    client = inside(Faults(credits=0.5), instant_media=True)
    first = submit(client, lip_sync_tts_content="One").json()["id"]
    submit(client, lip_sync_tts_content="Two")

    refused = submit(client, lip_sync_tts_content="Three")

    assert refused.status_code == 403
    assert "run out of credits" in refused.json()["message"]
    assert ended(client, first)["status"] in ("completed", "succeeded")
    client.put("/_sandbox/faults", json={"credits": 10})
    assert submit(client, lip_sync_tts_content="Three").status_code == 200


def test_paying_twice_is_counted(inside: Any) -> None:
    """The one number that every test of the runner looks at."""
    client = inside(instant_media=True)
    for attempt in (1, 2):
        ended(client, submit(client, f"lb1.batch.0123.{attempt}").json()["id"])
    ended(client, submit(client, "lb1.batch.4567.1", lip_sync_tts_content="Another").json()["id"])

    counted = stats(client)

    assert counted["charges"] == 3
    assert counted["pairs_charged"] == 2
    assert counted["pairs_charged_twice"] == 1
    assert counted["works_charged_twice"] == 1
