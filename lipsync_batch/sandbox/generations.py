"""POST and GET /v2/video/generations: submits and polls."""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from typing import IO, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lipsync_batch.sandbox import worker
from lipsync_batch.sandbox.answers import Severed, gateway_error, server_error
from lipsync_batch.sandbox.backend import Backend, backend_of, error_of
from lipsync_batch.sandbox.cdn import link_to
from lipsync_batch.sandbox.contract import (
    CLIENT_REQUEST_ID,
    CREDITS_PER_MICRO_USD,
    ID_FORM,
    MODEL,
    Order,
    new_name,
    refusal,
)
from lipsync_batch.sandbox.intake import InvalidOrderError, take_in
from lipsync_batch.sandbox.records import Generation

PATH = "/v2/video/generations"
LARGE = 1024 * 1024
"""Bytes. Larger bodies are kept on disk and taken in by a process of their own."""
ODD_STATUSES = ("waiting", "active", "NOT_START", "processing")
QUEUED_PART = 0.2
"""Of its time a generation waits this long before it is said to be generating."""


class TooLargeError(Exception):
    """The body is over the limit."""


async def submit(request: Request) -> Response:
    """Accept a generation: from the moment it is written down it runs, and will be charged, whatever is answered."""
    backend = backend_of(request)
    try:
        order = await _order(request, backend)
    except TooLargeError:
        # The rest of the body is not read: the client may see a broken connection instead of this.
        return refusal(413, "request entity too large", path=PATH, headers={"Connection": "close"})
    except InvalidOrderError as error:
        return refusal(400, f"Body validation error\n{error}", path=PATH)
    attempt = order.pair, backend.nth("submit", order.pair)
    if backend.dice.happens(backend.faults.server_errors, "server_errors", *attempt):
        return server_error(backend.dice, PATH, *attempt)
    backend.settle()
    if refused := _no_room(backend):
        return refused
    generation = _accept(request, backend, order)
    if backend.happens("lost", generation):
        return Severed()
    if backend.happens("hidden", generation):
        return gateway_error(502)
    return _accepted(backend, generation)


async def poll(request: Request) -> Response:
    """Say how a generation stands."""
    backend = backend_of(request)
    generation_id = request.query_params.get("generation_id", "")
    # A malformed id gets no x-inference-id: that is how the API tells it from an unknown one.
    headers = {"x-inference-id": generation_id} if ID_FORM.fullmatch(generation_id) else {}
    backend.settle()
    generation = backend.records.by_id(generation_id)
    if generation is None:
        return refusal(404, f"Generation with id {generation_id!r} is not found", path=PATH, headers=headers)
    backend.notices.told(generation, time.time())
    body = _standing(request, backend, generation)
    return JSONResponse(body, headers={**headers, **_correlation(generation), **_cost(generation, body)})


async def _order(request: Request, backend: Backend) -> Order:
    """The body, taken in: a small one in a thread, a large one in a process, so that the loop goes on."""
    limit = backend.options.body_limit
    if limit is not None and int(request.headers.get("content-length", 0)) > limit:
        raise TooLargeError
    with tempfile.SpooledTemporaryFile(LARGE, dir=str(backend.options.folder)) as body:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if limit is not None and size > limit:
                raise TooLargeError
            body.write(chunk)
        body.seek(0)
        if size < LARGE:
            return await asyncio.to_thread(take_in, body.read(), backend.studio.inputs)
        return await _take_in_apart(body, backend)


async def _take_in_apart(body: IO[bytes], backend: Backend) -> Order:
    taken = await worker.run("intake", backend.studio.inputs, given=body)
    if "problems" in taken:
        raise InvalidOrderError([taken["problems"]])
    return Order.from_json(taken["order"])


def _no_room(backend: Backend) -> Response | None:
    """The answer to a submit for which there is no money or no slot; None where there are both."""
    slots = backend.faults.slots
    if backend.balance() < backend.options.price:
        backend.gate.counts["refused 403"] += 1
        message = "You have run out of credits. Please top up your balance or update your payment method."
        return refusal(403, message, path=PATH)
    if slots is not None and backend.records.sums.running >= slots:
        backend.gate.counts["refused 429"] += 1
        return refusal(429, "Reached the limit for concurrent generations", path=PATH, as_text=True)
    return None


def _accept(request: Request, backend: Backend, order: Order) -> Generation:
    """Write the generation down. There is no way back from here: nothing between this and the answer may fail."""
    now = time.time()
    fate = order.pair, backend.records.next_take(order.pair)
    theirs = request.headers.get("x-client-request-id", "")
    generation = Generation(
        id=_new_id(backend, *fate),
        name=new_name(),
        pair=order.pair,
        take=fate[1],
        request_id=str(uuid.uuid4()),
        client_request_id=theirs if CLIENT_REQUEST_ID.fullmatch(theirs) else None,
        accepted=now,
        due=now + backend.options.timing.seconds(backend.dice.roll("time", *fate)),
        price=backend.options.price,
    )
    backend.records.accept(generation, order, etag=backend.test_card)
    backend.studio.wake()
    return generation


def _new_id(backend: Backend, *fate: object) -> str:
    """A nanoid, one in ten beginning with `-`; where dice say so, an id of the older form."""
    if backend.dice.happens(backend.faults.odd, "odd", *fate):
        return f"{uuid.uuid4()}:{MODEL}"
    return new_name(first="-" if backend.dice.happens(0.1, "dash", *fate) else "")


def _accepted(backend: Backend, generation: Generation) -> Response:
    usage = {"usage": {"credits_used": generation.price * CREDITS_PER_MICRO_USD}}
    body: dict[str, Any] = {"id": generation.id, "status": "queued", "meta": usage}
    if backend.dice.happens(0.1, "no meta", *generation.fate):
        del body["meta"]
    status = 201 if backend.happens("odd", generation) else 200
    headers = {"x-inference-id": generation.id, **_correlation(generation), **_cost(generation, body)}
    return JSONResponse(body, status_code=status, headers=headers)


def _standing(request: Request, backend: Backend, generation: Generation) -> dict[str, Any]:
    """The body of a poll's answer."""
    if generation.finished is None:
        return {"id": generation.id, "status": _word(backend, generation)}
    if generation.error is not None:
        return {"id": generation.id, "status": "error", "error": error_of(generation)}
    video = None if _forgets_link(backend, generation) else {"url": link_to(request, backend, generation)}
    body: dict[str, Any] = {"id": generation.id, "status": "completed", "video": video}
    if backend.dice.happens(0.5, "succeeded", *generation.fate):
        # As the documentation's own run prints it: another word, and not a word about the cost.
        body["status"] = "succeeded"
    else:
        body["meta"] = {"usage": {"credits_used": generation.price * CREDITS_PER_MICRO_USD}}
    return body


def _word(backend: Backend, generation: Generation) -> str:
    if backend.happens("odd", generation):
        return backend.dice.pick(ODD_STATUSES, "odd status", *generation.fate)
    waiting = (generation.due - generation.accepted) * QUEUED_PART
    return "queued" if time.time() < generation.accepted + waiting else "generating"


def _forgets_link(backend: Backend, generation: Generation) -> bool:
    return (
        backend.happens("no_link", generation) and backend.nth("no_link", generation.id) <= backend.faults.no_link_polls
    )


def _correlation(generation: Generation) -> dict[str, str]:
    theirs = generation.client_request_id
    return {} if theirs is None else {"x-client-request-id": theirs}


def _cost(generation: Generation, body: dict[str, Any]) -> dict[str, str]:
    """The cost headers: the quote of a submit, nothing while it runs or where it failed, then what it cost."""
    if "meta" not in body and body["status"] not in ("completed", "succeeded", "queued"):
        return {}
    return {
        "x-aimlapi-credits-used": str(generation.price * CREDITS_PER_MICRO_USD),
        "x-aimlapi-usd-spent": f"{generation.price / 1_000_000:.9f}",
    }
