"""The seam to a hosted lip-sync API: one method per HTTP call, no retries, no sleeping.

What an answer means is a value of a closed union, to be matched exhaustively. What the pair becomes after a submit is
said here, once: see `Submission`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from lipsync_batch.capabilities import Capabilities
from lipsync_batch.jobs import Pair, State

PROBE = "lipsync-batch-probe"
"""An id that the API cannot know: asking after it costs nothing and says whether the service answers."""


class Refusal(StrEnum):
    """Why the provider did not take a submit."""

    THROTTLED = "throttled"  #: too many requests, or no slot free: the lane waits
    NO_SLOT = "no_slot"  #: the same where the answer says that it is about generations at once
    CREDENTIALS = "credentials"  #: the key is not valid: the submit lane closes
    FORBIDDEN = "forbidden"  #: out of credits, a spend limit, or this pair alone
    INVALID = "invalid"  #: this pair will never be taken as it is


class Unsent(StrEnum):
    """Why a submit never reached the provider whole."""

    UNREACHABLE = "unreachable"  #: name not found, refused, connect or pool timeout, reset before a small body was out
    BODY_CUT = "body_cut"  #: the connection broke before the last byte of a large body was handed over
    INPUT_CHANGED = "input_changed"  #: a file or object is not what was planned with; the last chunk was withheld
    INPUT_DENIED = "input_denied"  #: an object may not be read any more, so no link was made of it
    STORE_SILENT = "store_silent"  #: the store of an object does not answer, so no link was made of it
    INTERRUPTED = "interrupted"  #: the run was stopped while the body was on its way


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The generation runs, and will be billed. `quote` in micro-USD, None where the answer named none."""

    generation_id: str
    quote: int | None = None

    becomes = State.SUBMITTED


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """The provider said no; nothing runs. `retry_after` in seconds, where it was given."""

    kind: Refusal
    code: str
    message: str
    status: int
    retry_after: float | None = None
    raw: str = ""

    @property
    def becomes(self) -> State:
        return State.FAILED if self.kind is Refusal.INVALID else State.PENDING


@dataclass(frozen=True, kw_only=True, slots=True)
class NotSent:
    """Nothing that could be billed was handed over."""

    reason: Unsent
    message: str

    becomes = State.PENDING


@dataclass(frozen=True, kw_only=True, slots=True)
class Unclear:
    """The submit may have been accepted. Never sent again: only resolving moves the pair."""

    code: str
    message: str
    raw: str = ""

    becomes = State.UNCLEAR


Submission = Accepted | Refused | NotSent | Unclear
"""What a POST may mean.

| answer | value | the pair becomes |
| --- | --- | --- |
| 2xx with an id; any answer with `x-inference-id` | Accepted | submitted |
| name not found, refused, connect or pool timeout; a body never handed over whole | NotSent | pending |
| 429; 503 with the API's own JSON body | Refused(THROTTLED), or NO_SLOT where it says so | pending |
| 401 | Refused(CREDENTIALS) | pending |
| 403 | Refused(FORBIDDEN) | pending |
| 400, 404, 409, 413, 422, other 4xx | Refused(INVALID) | failed |
| everything else: 3xx, 408, 5xx, unreadable or id-less 2xx, time-outs and breaks after the body | Unclear | unclear |
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """Queued or generating, or a status that we do not know."""

    status: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """The provider is done. `link` is None where it forgot to say where: poll again, bounded."""

    link: str | None
    usage: int | None = None
    """What the answer says was spent, in micro-USD."""
    file_size: int | None = None
    """Bytes, where the answer names them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Errored:
    """The provider gave up on the generation; failed generations are not charged."""

    code: str
    message: str
    retryable: bool = False
    raw: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotFound:
    """The provider does not know the id (now)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Throttled:
    """429 on a read. `retry_after` in seconds, where it was given."""

    retry_after: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Denied:
    """401 or 403 on a read: the key does not allow it."""

    status: int
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unavailable:
    """The answer says nothing about the generation: network, 5xx, an unreadable body. Ask again later."""

    message: str
    status: int | None = field(default=None, compare=False)
    """Of the answer, where there was one."""


Check = Running | Finished | Errored | NotFound | Throttled | Denied | Unavailable


@dataclass(frozen=True, kw_only=True, slots=True)
class LogRow:
    """A row of the provider's own log that names a client request id: proof that this submit was accepted."""

    client_request_id: str
    generation_id: str
    failed: bool
    created: datetime | None = None
    cost: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LogPage:
    """A page of the provider's log, newest first. Rows without a client request id are left out."""

    rows: tuple[LogRow, ...]
    next_offset: int | None
    """Where the next page starts; None on the last one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """What the provider took for a generation, in micro-USD. Several charges of one generation add up."""

    generation_id: str
    cost: int
    created: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChargePage:
    """A page of the account's charges, newest first."""

    charges: tuple[Charge, ...]
    next_cursor: str | None
    """What asks for the next page; None on the last one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What a generation costs, as far as the provider publishes it. Money in micro-USD."""

    per_generation: int = 0
    per_second: int = 0
    """For each second of speech begun."""
    source: str = ""


class Provider(Protocol):
    """A hosted lip-sync API."""

    name: str
    origin: str
    """Scheme, host and port that money is spent at; a batch is bound to it."""
    capabilities: Capabilities

    async def submit(self, pair: Pair, client_request_id: str, *, cut: asyncio.Event | None = None) -> Submission:
        """Start one generation.

        Billed once accepted: an `Unclear` answer may be running, and is never sent again by a caller. From `cut` on
        the answer is waited for no longer: the submit ends as if its time-out had come.

        Source: POST /v2/video/generations, AI/ML API reference.
        """

    async def check(self, generation_id: str) -> Check:
        """Ask once how a generation stands. Source: GET /v2/video/generations?generation_id=."""

    async def find(
        self, *, since: datetime, until: datetime, offset: int = 0
    ) -> LogPage | Throttled | Denied | Unavailable:
        """Read one page of the provider's log of submits made from `since` to `until`.

        The caller looks for its ids in the rows and goes on at `next_offset`. Absence proves nothing: the log lags.
        Keep `until` fixed over the pages; rows that arrive meanwhile may then repeat one, and never hide one.

        Source: GET /v2/logs.
        """

    async def charges(
        self, *, since: datetime, cursor: str | None = None
    ) -> ChargePage | Throttled | Denied | Unavailable:
        """Read one page of what was taken for generations from `since` on; go on with `next_cursor`.

        A charge appears some time after its generation has finished. Source: GET /v2/billing/transactions.
        """

    async def balance(self) -> int | None:
        """Micro-USD left on the account; None where the key or the API does not say. Source: GET /v2/billing."""

    async def price(self) -> Price | None:
        """The published price; None where there is none. Source: GET /v1/models?include=pricing."""

    async def aclose(self) -> None: ...


class ProviderClass(Protocol):
    """What makes a provider of the environment: the class that an entry point names."""

    name: str
    capabilities: Capabilities
    """Known before anyone logs in: manifests are checked against it."""

    def base_url_from(self, environ: Mapping[str, str]) -> str:
        """Where its API is: scheme, host and port. A batch is bound to it. UsageError where it cannot be used."""

    def key_from(self, environ: Mapping[str, str]) -> str:
        """What pays, never empty: it also tells accounts apart. ActionNeededError where there is none."""

    def __call__(
        self,
        *,
        base_url: str,
        key: str | None,
        media_base_url: str | None = None,
        media_root: Path | None = None,
    ) -> Provider:
        """A client; no call is made yet. Without a key only the price is asked for.

        `media_root` is the manifest's folder, and `media_base_url` where the provider can fetch its files, if anywhere.
        """
