"""GET and PUT /_sandbox/faults, GET /_sandbox/stats: for tests and for curious people. Not part of the API."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lipsync_batch.sandbox.backend import backend_of
from lipsync_batch.sandbox.faults import FaultError


async def show_faults(request: Request) -> Response:
    return JSONResponse(backend_of(request).faults.as_json())


async def change_faults(request: Request) -> Response:
    """Set the switches that the JSON body names; the others stay. Answers with all of them, or 422."""
    backend = backend_of(request)
    try:
        changes = await request.json()
        if not isinstance(changes, dict):
            raise FaultError("expected an object of faults and their values")
        backend.faults = backend.faults.changed(changes)
    except ValueError as error:
        return JSONResponse({"message": str(error)}, status_code=422)
    return JSONResponse(backend.faults.as_json())


async def stats(request: Request) -> Response:
    """What was asked since the start, and what was accepted and charged since the folder was made.

    `worst_window` is the most API requests that arrived within any one window of the rate (without one: a second).
    `polling` is about the generations whose end a poll was told: how many polls each took, and the seconds between the
    end and that poll (`lag_`); `?after=60` leaves out the first 60 that were accepted. `at` is when this was so, so
    that two answers give a rate.
    """
    backend = backend_of(request)
    after = request.query_params.get("after", "0")
    if not after.isdecimal():
        return JSONResponse({"message": f"after: {after!r} is not a number of generations"}, status_code=422)
    backend.settle()
    return JSONResponse(
        {
            "requests": dict(sorted(backend.gate.counts.items())),
            "admitted": backend.gate.admitted,
            "refused": backend.gate.counts["refused 429"],
            "worst_window": backend.gate.worst,
            "auth_violations": backend.violations,
            "spent_usd": backend.records.sums.spent / 1_000_000,
            **backend.records.tally(),
            "polling": backend.notices.summary(after=int(after)),
            "at": time.time(),
        }
    )
