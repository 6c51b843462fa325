"""The read-only rest of the API: the log, the account, the models and how fast they are."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lipsync_batch.sandbox.backend import Backend, backend_of
from lipsync_batch.sandbox.contract import CREDITS_PER_MICRO_USD, MODEL, iso, money, refusal
from lipsync_batch.sandbox.records import Generation, Window

LONGEST_WINDOW = 92 * 86_400.0
METRICS_WINDOW = 300
TRANSACTION_TYPES = ("PAYMENT", "BONUS", "REFUND", "ADJUSTMENT", "MODEL_USAGE", "CREDITS_EXPIRED", "INIT")


class QueryError(ValueError):
    """A parameter that the API does not take."""


async def logs(request: Request) -> Response:
    """GET /v2/logs: what has ended, a while ago."""
    backend, query = backend_of(request), request.query_params
    try:
        window = _log_window(query)
        limit, offset = _number(query, "limit", 50, 1, 100), _number(query, "offset", 0, 0, 2**53)
    except QueryError as error:
        return refusal(400, f"Query validation error\n{error}", path="/v2/logs")
    backend.settle()
    models = query.getlist("model")
    rows: list[Generation] = []
    total = 0
    if not models or {MODEL, MODEL.partition("/")[2]} & set(models):
        until = time.time() - backend.options.log_lag
        rows, total = backend.records.logged(window, until=until, limit=limit, offset=offset)
    more = offset + len(rows) < total
    pagination = {"limit": limit, "offset": offset, "total": total, "has_more": more}
    return JSONResponse({"data": [_log_row(row) for row in rows], "pagination": pagination})


def _log_row(row: Generation) -> dict[str, Any]:
    return {
        "created": iso(row.accepted),
        "status": "succeeded" if row.error is None else "failed",
        "origin": "api",
        "model": MODEL,
        "cost": money(row.price if row.error is None else 0),
        "tokens": {"input": 0, "output": 0, "total": 0},
        "request_id": row.request_id,
        "inference_id": row.id,
        "client_request_id": row.client_request_id,
    }


def _log_window(query: QueryParams) -> Window:
    period, start, end = query.get("period"), query.get("start"), query.get("end")
    if (period is None) == (start is None and end is None):
        raise QueryError("Expected either period or start and end")
    if period is not None:
        match = re.fullmatch(r"([1-9]\d{0,4})([hd])", period)
        if match is None:
            raise QueryError(f"period: Expected such as 24h or 7d, received '{period}'")
        until = time.time()
        since = until - int(match[1]) * {"h": 3600.0, "d": 86_400.0}[match[2]]
    else:
        since, until = _instant(start, "start"), _instant(end, "end")
    if not since <= until <= since + LONGEST_WINDOW:
        raise QueryError("Expected end after start, and at most 92 days")
    return Window(start=since, end=until, failed=_outcome(query.getlist("status")))


def _outcome(statuses: Sequence[str]) -> bool | None:
    """Which rows: only failed ones (True), only the others (False), all (None)."""
    if unknown := set(statuses) - {"succeeded", "failed"}:
        raise QueryError(f"status: Expected 'succeeded' | 'failed', received '{min(unknown)}'")
    return None if len(set(statuses)) != 1 else statuses[0] == "failed"


def _instant(text: str | None, name: str) -> float:
    """An ISO instant in seconds since 1970; without an offset it is UTC."""
    try:
        instant = datetime.fromisoformat(text or "")
    except ValueError as error:
        raise QueryError(f"{name}: Expected an ISO-8601 instant, received '{text}'") from error
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()


def _number(query: QueryParams, name: str, default: int, least: int, most: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise QueryError(f"{name}: Expected a number from {least} to {most}, received '{text}'")
    return int(text)


async def billing(request: Request) -> Response:
    """GET /v2/billing: what is left, in USD."""
    return JSONResponse(_balance(backend_of(request)))


async def billing_detail(request: Request) -> Response:
    """GET /v2/billing/detail."""
    settings = {"is_enabled": False, "threshold": 0, "amount": 0, "currency": "USD"}
    owner = {"user_id": 1, "email": "sandbox@example.com"}
    return JSONResponse({**owner, **_balance(backend_of(request)), "autotopup_settings": settings})


def _balance(backend: Backend) -> dict[str, Any]:
    backend.settle()
    return {"current_balance": backend.balance() / 1_000_000, "currency": "USD"}


async def legacy_balance(request: Request) -> Response:
    """GET /v1/billing/balance: what is left, in credits."""
    backend = backend_of(request)
    backend.settle()
    left, threshold = backend.balance() * CREDITS_PER_MICRO_USD, 10_000
    return JSONResponse(
        {
            "balance": left,
            "lowBalance": left < threshold,
            "lowBalanceThreshold": threshold,
            "lastUpdated": iso(time.time()),
            "autoDebitStatus": "disabled",
            "status": "current",
            "statusExplanation": "Balance is current and up to date",
        }
    )


async def transactions(request: Request) -> Response:
    """GET /v2/billing/transactions: the charges, newest first, and below them the credits that opened the account."""
    backend, query = backend_of(request), request.query_params
    path = "/v2/billing/transactions"
    try:
        window = _transaction_window(query)
        limit, cursor = _number(query, "limit", 50, 1, 100), _cursor(query.get("cursor"))
        shown = _shown(query)
    except QueryError as error:
        return refusal(400, f"Query validation error\n{error}", path=path)
    backend.settle()
    entries = [_charge(row) for row in _charges(backend, window, cursor, limit)] if "MODEL_USAGE" in shown else []
    opened = backend.records.opened()
    if len(entries) <= limit and "INIT" in shown and window.start <= opened < window.end:
        entries.append(_opening(backend, opened))
    page, more = entries[:limit], len(entries) > limit
    position = page[-1].pop("position") if more else None
    for entry in page:
        entry.pop("position", None)
    return JSONResponse({"data": page, "pagination": {"next_cursor": position, "has_more": more}})


def _charges(backend: Backend, window: Window, cursor: tuple[float, int] | None, limit: int) -> list[Generation]:
    return backend.records.charges(window, before=cursor, limit=limit + 1)


def _charge(row: Generation) -> dict[str, Any]:
    assert row.finished is not None
    return {
        "created_at": iso(row.finished),
        "direction": "CHARGE",
        "type": "MODEL_USAGE",
        "amount": money(row.price),
        "model": MODEL,
        "reference_id": row.id,
        "position": base64.urlsafe_b64encode(json.dumps([row.finished, row.n]).encode()).decode(),
    }


def _opening(backend: Backend, opened: float) -> dict[str, Any]:
    return {
        "created_at": iso(opened),
        "direction": "TOPUP",
        "type": "INIT",
        "amount": money(round(backend.faults.credits * 1_000_000)),
        "model": None,
        "reference_id": None,
    }


def _transaction_window(query: QueryParams) -> Window:
    start = _instant(query["from"], "from") if "from" in query else 0.0
    end = _instant(query["to"], "to") if "to" in query else time.time() + 1
    if end <= start:
        raise QueryError("to: Expected later than from")
    return Window(start=start, end=end)


def _cursor(text: str | None) -> tuple[float, int] | None:
    if text is None:
        return None
    try:
        finished, n = json.loads(base64.urlsafe_b64decode(text))
        return float(finished), int(n)
    except (binascii.Error, ValueError, TypeError) as error:
        raise QueryError("cursor: Expected the next_cursor of an earlier answer") from error


def _shown(query: QueryParams) -> set[str]:
    """The types of transactions that the filters leave of those that happen here."""
    kind, direction = query.get("type"), query.get("direction")
    if kind is not None and kind not in TRANSACTION_TYPES:
        raise QueryError(f"type: Expected one of {', '.join(TRANSACTION_TYPES)}, received '{kind}'")
    directions = {"CHARGE": {"MODEL_USAGE"}, "TOPUP": {"INIT"}, None: {"MODEL_USAGE", "INIT"}}
    if direction not in directions:
        raise QueryError(f"direction: Expected 'TOPUP' | 'CHARGE', received '{direction}'")
    return directions[direction] & ({kind} if kind else {"MODEL_USAGE", "INIT"})


async def models(request: Request) -> Response:
    """GET /v1/models: the one model, with its price where it is asked for. Needs no key."""
    backend, query = backend_of(request), request.query_params
    wanted = {name for value in query.getlist("id") for name in value.split(",")}
    included = {name for value in query.getlist("include") for name in value.split(",")}
    card = _model_card(backend, priced=bool(included & {"pricing", "all"}))
    named = not wanted or wanted & {card["id"], *card["aliases"]}
    body = json.dumps({"object": "list", "data": [card] if named else []})
    etag = f'W/"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"etag": etag})
    return Response(body, media_type="application/json", headers={"etag": etag})


def _model_card(backend: Backend, *, priced: bool) -> dict[str, Any]:
    card: dict[str, Any] = {
        "id": MODEL,
        "aliases": [MODEL.partition("/")[2]],
        "type": "internal/video-generations/submit",
        "info": {"name": "PixVerse Lip Sync (sandbox)", "developer": "PixVerse", "releasedAt": "2025-11-01"},
        "tags": ["playground:video"],
    }
    if priced:
        unit = {"name": "generation", "measure": "request", "price": backend.options.price / 1_000_000, "per": 1}
        card["pricing"] = {"kind": "fixed", "currency": "USD", "units": [unit]}
    return card


async def metrics(request: Request) -> Response:
    """GET /models/metrics: how long generations took lately. Needs no key."""
    backend = backend_of(request)
    backend.settle()
    now = time.time()
    aliases = request.query_params.getlist("aliases")
    times = backend.records.durations(since=now - METRICS_WINDOW) if not aliases or MODEL in aliases else []
    entry = {"alias": MODEL, "endpoint": "/v2/video/generations", "metrics": {"duration_ms": _percentiles(times)}}
    body = {"window_seconds": METRICS_WINDOW, "generated_at": iso(now), "models": [entry] if times else []}
    return JSONResponse(body)


def _percentiles(times: Sequence[float]) -> dict[str, int]:
    if not times:
        return {}
    return {f"p{part}": round(times[min(len(times) - 1, len(times) * part // 100)] * 1000) for part in (50, 75, 90, 99)}
