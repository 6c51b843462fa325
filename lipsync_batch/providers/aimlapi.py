"""AI/ML API: one method per HTTP call, no retries, no sleeping.

Here is what goes over the wire; what comes back is read in `answers` and `account`. Whether a submit may have started
something is decided by how far its body got (`RequestBody`), not by the name of an exception alone: httpcore2, for
one, goes on to read an answer after a failed write.

Source: AI/ML API reference, `POST` and `GET /v2/video/generations`, and its service endpoints.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from lipsync_batch.capabilities import LIP_SYNC
from lipsync_batch.clock import iso
from lipsync_batch.jobs import Pair
from lipsync_batch.providers.account import PAGE, read_balance, read_charge_page, read_log_page, read_price
from lipsync_batch.providers.answers import Answer, read_check, read_submission
from lipsync_batch.providers.base import (
    ChargePage,
    Check,
    Denied,
    LogPage,
    NotSent,
    Price,
    Submission,
    Throttled,
    Unavailable,
    Unclear,
    Unsent,
)
from lipsync_batch.providers.body import InputChangedError, RequestBody
from lipsync_batch.providers.media_links import MediaLinks
from lipsync_batch.providers.wire import BEFORE_SENDING, NETWORK, TIMED_OUT, Timeouts, Wire
from lipsync_batch.settings import api_key, base_url

GENERATIONS = "/v2/video/generations"

LOG_WINDOW = timedelta(days=92)
"""`/v2/logs` answers 400 to more."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class AimlApi:
    """The provider `pixverse/lip-sync` at AI/ML API, or at a server that speaks like it."""

    name = "aimlapi"
    capabilities = LIP_SYNC
    base_url_from = staticmethod(base_url)
    key_from = staticmethod(api_key)

    def __init__(
        self,
        *,
        base_url: str,
        key: str | None,
        media_base_url: str | None = None,
        media_root: Path | None = None,
        timeouts: Timeouts | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Bind to the API at `base_url` (scheme, host, port). UsageError if it or the key cannot be used.

        Without a key only what is public can be asked for: the price. Local files under `media_root` go out as links
        under `media_base_url`, if one is given, all others inline. `transport` takes the network's place in tests.
        """
        self._wire = Wire(base_url, key, timeouts or Timeouts(), transport)
        self._links = MediaLinks(media_base_url, media_root)
        self.origin = self._wire.origin
        self._cutting: dict[asyncio.Event, asyncio.Future[Any]] = {}
        """What ends the wait for answers to submits, and the wait for that."""

    def __repr__(self) -> str:
        return f"AimlApi({self.origin!r})"

    async def aclose(self) -> None:
        for cutting in self._cutting.values():
            cutting.cancel()
        await self._wire.aclose()

    async def submit(self, pair: Pair, client_request_id: str, *, cut: asyncio.Event | None = None) -> Submission:
        """Start one generation; what each answer means is the table in `Submission`. See `Provider.submit`."""
        assert _REQUEST_ID.fullmatch(client_request_id), "the API would silently drop this id, and bill all the same"
        try:
            body = await RequestBody.of(pair, self._links.of)
            answer = await self._post(body, client_request_id, cut)
        except InputChangedError as error:
            return NotSent(reason=Unsent.INPUT_CHANGED, message=str(error))
        if not isinstance(answer, Answer):
            return answer
        return read_submission(answer, body_whole=body.whole, request_id=client_request_id)

    async def check(self, generation_id: str) -> Check:
        """Ask once how a generation stands. See `Provider.check`."""
        answer = await self._get(GENERATIONS, {"generation_id": generation_id})
        return answer if isinstance(answer, Unavailable) else read_check(answer, generation_id)

    async def find(
        self, *, since: datetime, until: datetime, offset: int = 0
    ) -> LogPage | Throttled | Denied | Unavailable:
        """One page of the log; `since` is moved up to the 92 days that it goes back. See `Provider.find`."""
        start = max(since, until - LOG_WINDOW)
        answer = await self._get(
            "/v2/logs",
            {
                "start": iso(start),
                "end": iso(until),
                "model": self.capabilities.model,
                "limit": str(PAGE),
                "offset": str(offset),
            },
        )
        return answer if isinstance(answer, Unavailable) else read_log_page(answer, offset=offset)

    async def charges(
        self, *, since: datetime, cursor: str | None = None
    ) -> ChargePage | Throttled | Denied | Unavailable:
        """One page of what was taken for generations. See `Provider.charges`."""
        asked = {"from": iso(since), "direction": "CHARGE", "type": "MODEL_USAGE", "limit": str(PAGE)}
        answer = await self._get("/v2/billing/transactions", asked | ({"cursor": cursor} if cursor else {}))
        return answer if isinstance(answer, Unavailable) else read_charge_page(answer)

    async def balance(self) -> int | None:
        """Micro-USD left on the account, where it can be known. See `Provider.balance`."""
        answer = await self._get("/v2/billing", {})
        return None if isinstance(answer, Unavailable) else read_balance(answer)

    async def price(self) -> Price | None:
        """The published price. Needs no key, so none is sent. See `Provider.price`."""
        model = self.capabilities.model
        answer = await self._get("/v1/models", {"id": model, "include": "pricing"}, authorized=False)
        if isinstance(answer, Unavailable):
            return None
        return read_price(answer, model=model, source=f"{self.origin}/v1/models")

    async def _get(self, path: str, query: Mapping[str, str], *, authorized: bool = True) -> Answer | Unavailable:
        try:
            return await self._wire.get(path, query, authorized=authorized)
        except NETWORK as error:
            return Unavailable(message=f"{self.origin} did not answer: {self._wire.in_words(error)}")

    async def _first(self, call: asyncio.Future[Answer], cut: asyncio.Event) -> None:
        """Wait until the call has ended, or is to be cut. The call ends with its caller."""
        if cut not in self._cutting:  # one for all submits of a run
            self._cutting[cut] = asyncio.ensure_future(cut.wait())
        either: set[asyncio.Future[Any]] = {call, self._cutting[cut]}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            call.cancel()
            raise

    async def _post(
        self, body: RequestBody, client_request_id: str, cut: asyncio.Event | None
    ) -> Answer | NotSent | Unclear:
        """Send a submit. Where no answer comes, it is a matter of how far the body got."""
        call = asyncio.ensure_future(self._wire.post(GENERATIONS, body, {"X-Client-Request-Id": client_request_id}))
        try:
            if cut is None:
                return await call
            await self._first(call, cut)
            if not call.done():
                return await _cut_short(call, body)
            return call.result()
        except NETWORK as error:
            words = self._wire.in_words(error)
            if isinstance(error, BEFORE_SENDING) or not body.started:
                return NotSent(reason=Unsent.UNREACHABLE, message=f"{self.origin} cannot be reached: {words}")
            if not body.whole:
                reason = Unsent.BODY_CUT if body.large else Unsent.UNREACHABLE
                return NotSent(reason=reason, message=f"the connection broke in the middle: {words}")
            code = "no_answer" if isinstance(error, TIMED_OUT) else "connection_lost"
            return Unclear(code=code, message=f"the request was sent, and no answer came: {words}")


async def _cut_short(call: asyncio.Future[Answer], body: RequestBody) -> Answer | NotSent | Unclear:
    """End a call whose answer has not come yet; what that means for the submit."""
    call.cancel()
    with suppress(asyncio.CancelledError):
        return await call  # it may have ended at the same moment
    if not body.whole:
        return NotSent(reason=Unsent.INTERRUPTED, message="the run was stopped before the request was whole")
    return Unclear(code="interrupted", message="the run was stopped before the answer came")
