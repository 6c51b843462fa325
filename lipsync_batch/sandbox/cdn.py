"""GET and HEAD /cdn/...: the result files, with Range and entity tags, and without a key.

Links have the shape of the ones that were seen, `%2F` included: whoever decodes it asks for another file.
"""

from __future__ import annotations

import hashlib
import time

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

from lipsync_batch.sandbox.answers import Cut
from lipsync_batch.sandbox.backend import Backend, backend_of
from lipsync_batch.sandbox.records import Generation

PREFIX = "/cdn/panda/pixverse%2Fmp4%2Fmedia%2Fweb%2Fori%2F"
ENDING = "_seed0.mp4"


def link_to(request: Request, backend: Backend, generation: Generation) -> str:
    """Where the result is, as seen by who asks: right after a restart on another port, too."""
    link = f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}{PREFIX}{generation.name}{ENDING}"
    if backend.faults.link_seconds is None:
        return link
    expires = f"{time.time() + backend.faults.link_seconds:.3f}"
    return f"{link}?Expires={expires}&Signature={_signature(backend, generation, expires)}"


def _signature(backend: Backend, generation: Generation, expires: str) -> str:
    text = f"{backend.options.seed}/{generation.name}/{expires}"
    return hashlib.sha256(text.encode()).hexdigest()[:40]


async def result(request: Request) -> Response:
    """Send a result file, or what the faults make of it."""
    backend = backend_of(request)
    backend.gate.counts[f"{request.method} /cdn"] += 1
    if "authorization" in request.headers:
        backend.violations += 1
        return PlainTextResponse("The key belongs to the API alone", status_code=400)
    backend.settle()
    generation = _generation(request, backend)
    etag = backend.records.etag(generation.pair) if generation else None
    if generation is None or etag is None or not _exists(backend, generation):
        return PlainTextResponse("Not found", status_code=404)
    if not _signed(request, backend, generation):
        return PlainTextResponse("AccessDenied: Request has expired", status_code=403)
    return _sent(backend, generation, etag)


def _sent(backend: Backend, generation: Generation, etag: str) -> Response:
    try_ = *generation.fate, backend.nth("download", generation.id)
    if backend.dice.happens(backend.faults.html, "html", *try_):
        return HTMLResponse("<html><body>Our services are taking a short break.</body></html>")
    whole = FileResponse(backend.studio.film(etag), media_type="video/mp4", headers={"etag": f'"{etag}"'})
    return Cut(whole) if backend.dice.happens(backend.faults.cut, "cut", *try_) else whole


def _generation(request: Request, backend: Backend) -> Generation | None:
    """The finished generation that the path means, letter by letter as it was sent."""
    path = request.scope["raw_path"].decode("latin-1")
    if not (path.startswith(PREFIX) and path.endswith(ENDING)):
        return None
    generation = backend.records.by_name(path[len(PREFIX) : -len(ENDING)])
    finished = generation is not None and generation.finished is not None and generation.error is None
    return generation if finished else None


def _exists(backend: Backend, generation: Generation) -> bool:
    return not (
        backend.happens("late_file", generation)
        and backend.nth("late_file", generation.id) <= backend.faults.late_file_tries
    )


def _signed(request: Request, backend: Backend, generation: Generation) -> bool:
    """Whether a link is still good; links that were given without a signature are for ever, until links are signed."""
    if backend.faults.link_seconds is None and not request.query_params:
        return True
    expires, signature = request.query_params.get("Expires", ""), request.query_params.get("Signature", "")
    return signature == _signature(backend, generation, expires) and time.time() < float(expires)
