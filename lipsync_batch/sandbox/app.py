"""The routes of the sandbox, and its life: the studio works while the server runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lipsync_batch.sandbox import accounting, cdn, control, generations
from lipsync_batch.sandbox.answers import server_error
from lipsync_batch.sandbox.backend import Backend, Options, backend_of
from lipsync_batch.sandbox.contract import refusal
from lipsync_batch.sandbox.faults import Faults

Handler = Callable[[Request], Awaitable[Response]]


def make_app(options: Options, faults: Faults) -> Starlette:
    """The ASGI application of a sandbox whose folder exists and is no one else's."""

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        backend = app.state.backend = Backend(options, faults)
        if options.instant_media:
            backend.test_card = await backend.studio.test_card()
        work = asyncio.create_task(backend.studio.work())
        try:
            yield
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            backend.records.close()

    return Starlette(
        routes=[
            Route("/v2/video/generations", guarded(generations.submit), methods=["POST"]),
            Route("/v2/video/generations", guarded(generations.poll), methods=["GET"]),
            Route("/v2/logs", guarded(accounting.logs)),
            Route("/v2/billing", guarded(accounting.billing)),
            Route("/v2/billing/detail", guarded(accounting.billing_detail)),
            Route("/v2/billing/transactions", guarded(accounting.transactions)),
            Route("/v1/billing/balance", guarded(accounting.legacy_balance)),
            Route("/v1/models", accounting.models),
            Route("/models/metrics", accounting.metrics),
            Route("/cdn/{path:path}", cdn.result),
            Route("/_sandbox/faults", control.show_faults, methods=["GET"]),
            Route("/_sandbox/faults", control.change_faults, methods=["PUT"]),
            Route("/_sandbox/stats", control.stats),
        ],
        exception_handlers={HTTPException: _not_found},
        lifespan=life,
    )


def guarded(handler: Handler) -> Handler:
    """A route of the API: behind the gate, and struck by the faults that strike every request."""

    async def guard(request: Request) -> Response:
        backend = backend_of(request)
        answer = backend.gate.refuse(request, backend.faults)
        if answer is not None:
            await _drain(request)
            return answer
        asked = request.method, request.url.path, request.url.query
        time = (*asked, backend.nth(*asked))
        if request.method == "GET" and backend.dice.happens(backend.faults.server_errors, "server_errors", *time):
            return server_error(backend.dice, request.url.path, *time)
        answer = await handler(request)
        if backend.dice.happens(backend.faults.slow, "slow", *time):
            await asyncio.sleep(backend.faults.slow_seconds)
        return answer

    return guard


async def _drain(request: Request) -> None:
    """Read a body that nobody wants: a client that is still sending would not see the answer."""
    async for _ in request.stream():
        pass


async def _not_found(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in the API's words."""
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, error.detail, path=request.url.path)
