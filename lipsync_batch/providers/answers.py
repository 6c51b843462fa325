"""What an answer of the AI/ML API means: from status, headers and body to the values of the seam. Pure.

The documentation and the samples on the same pages disagree, and the service behind one model name has been changed
before. So reading is lenient, except where money hangs on it. Nothing here raises, whatever was answered.

Source: AI/ML API reference of `pixverse/lip-sync`, its pages on errors and on request tracing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from lipsync_batch import headers
from lipsync_batch.masking import Secrets, holds, mask
from lipsync_batch.providers.base import (
    Accepted,
    Check,
    Denied,
    Errored,
    Finished,
    NotFound,
    NotSent,
    Refusal,
    Refused,
    Running,
    Submission,
    Throttled,
    Unavailable,
    Unclear,
    Unsent,
)
from lipsync_batch.providers.parsing import (
    identifier,
    link,
    micro_usd,
    micro_usd_of_credits,
    parse_json,
    whole,
    word,
)

DONE = frozenset({"completed", "complete", "succeeded", "succeed", "success", "done", "finished", "ready"})
"""`completed` is documented; the page's own sample run prints `succeeded`; the others come from its neighbours."""

FAILED = frozenset(
    {
        *("error", "failed", "fail", "failure"),
        *("cancelled", "canceled", "expired", "timeout", "timed_out", "rejected"),
    }
)
NOT_CHARGED = frozenset({"error", "failed", "fail", "failure"})
"""The documentation says of failed requests that they are never charged; of expired or cancelled ones it is silent."""

_PASSING = re.compile(
    r"\btry(?:ing)? again\b(?! with)|\bretry\b|\boverload|\btemporar|\bbusy\b|\bcapacity\b|\bunavailable\b"
    r"|\bmaintenance\b|\btimed?[\s-]*out\b|\btoo many requests\b|\brate.?limit|\bconcurren"
    r"|\binternal\b.{0,20}\berror\b",
    re.IGNORECASE,
)
_WORK = r"\b(?:generation|job|task|video|render)s?\b"
_AT_ONCE = re.compile(
    rf"\bconcurren(?:t|cy)\b(?!\W+(?:\w+\W+)?(?:request|connection|call)s?\b)"
    rf"|\b(?:in.?flight|simultaneous(?:ly)?|parallel)\b.{{0,20}}{_WORK}"
    rf"|{_WORK}.{{0,30}}\b(?:at (?:once|a time|the same time)|in parallel|simultaneously)\b",
    re.IGNORECASE,
)
"""PixVerse says "Reached the limit for concurrent generations"; "concurrent requests" are a matter of requests."""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_CODE = re.compile(r"[\w.:/-]{1,64}", re.ASCII)

LONGEST_MESSAGE = 500
LONGEST_PAUSE = 3600.0
_ITEMS = 5
_DEPTH = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An HTTP answer as far as it came. Its status and headers are whole; its body may have broken off."""

    status: int
    headers: Mapping[str, str]
    """Read without regard to case."""
    body: bytes = b""
    broken: str = ""
    """Why the body is not whole, in words; empty where it is."""
    secrets: Secrets = field(default=Secrets(), repr=False)
    """What must show in nothing that is read from here."""

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300

    @property
    def raw(self) -> str:
        """The body as it may be kept."""
        return mask(self.body.decode(errors="replace"), secrets=self.secrets)

    def document(self) -> object:
        return parse_json(self.body)

    def shown(self, text: str) -> str:
        """A text of the answer as it may be shown: on one line."""
        return " ".join(mask(text, secrets=self.secrets, limit=LONGEST_MESSAGE).split())

    def said(self) -> str:
        """The error in the provider's words, else the status."""
        message = self.shown(find_words(self.document()).message)
        return f"{message} (HTTP {self.status})" if message else f"HTTP {self.status}"

    def retry_after(self) -> float | None:
        """Seconds to wait, if the answer names them; an hour at most."""
        seconds = headers.retry_after(self.headers)
        return None if seconds is None else min(seconds, LONGEST_PAUSE)


def read_submission(answer: Answer, *, body_whole: bool, request_id: str = "") -> Submission:
    """What an answer to a submit means; the table is in `Submission`. `body_whole`: the last chunk was handed over.

    An API that had not got the whole request cannot have started anything, unless it says so with an id. An answer
    that echoes another request id than ours says nothing about this submit: taken for its own, it would make one pair
    wait for the video of another.
    """
    document = answer.document()
    if _is_to_another(answer, request_id):
        message = "the answer that came was to another submit"
        if not body_whole:
            return NotSent(reason=Unsent.BODY_CUT, message=message)
        return Unclear(code="mixed_up", message=message, raw=answer.raw)
    generation_id = _accepted_id(answer, document)
    if generation_id is not None:
        return Accepted(generation_id=generation_id, quote=_quote(answer, document))
    code = find_words(document).code or f"http_{answer.status}"
    kind = _refusal(answer.status, document)
    if kind is not None:
        return Refused(
            kind=kind,
            code=answer.shown(code),
            message=answer.said(),
            status=answer.status,
            retry_after=answer.retry_after(),
            raw=answer.raw,
        )
    if not body_whole:
        return NotSent(reason=Unsent.BODY_CUT, message=f"answered before the whole request was sent: {answer.said()}")
    if answer.succeeded:
        cause = answer.broken or "it names no generation id"
        return Unclear(code="unreadable", message=f"HTTP {answer.status}, but {cause}", raw=answer.raw)
    return Unclear(code=f"http_{answer.status}", message=answer.said(), raw=answer.raw)


def _is_to_another(answer: Answer, request_id: str) -> bool:
    """Whether another submit of ours is echoed. What is not of our making says nothing: gateways write there too."""
    echoed = answer.headers.get("x-client-request-id", "").strip()
    return echoed != request_id and echoed.partition(".")[0] == request_id.partition(".")[0]


def _accepted_id(answer: Answer, document: object) -> str | None:
    """The id of what was started. The body's is the documented one; the header comes even where a body breaks off."""
    in_body = _ids(document) if answer.succeeded else []
    return next(iter(in_body), None) or identifier(answer.headers.get("x-inference-id"))


def _refusal(status: int, document: object) -> Refusal | None:
    match status:
        case 429:
            return _shortage(document)
        case 503 if _is_api_error(document, 503):
            return _shortage(document)
        case 401:
            return Refusal.CREDENTIALS
        case 403:
            return Refusal.FORBIDDEN
        case 408:  # whoever gave up waiting, a gateway or the API, does not say what became of the request
            return None
        case _ if 400 <= status < 500:
            return Refusal.INVALID
    return None


def _shortage(document: object) -> Refusal:
    """Of what there was too much: requests, or generations at once. Few answers say it; the others leave it open."""
    return Refusal.NO_SLOT if _AT_ONCE.search(find_words(document).message) else Refusal.THROTTLED


def _is_api_error(document: object, status: int) -> bool:
    """Whether the API itself wrote this error, and no gateway before it. `statusCode` comes as a string too."""
    return (
        isinstance(document, dict)
        and whole(document.get("statusCode")) == status
        and "message" in document
        and bool(document.get("requestId"))
    )


def read_check(answer: Answer, generation_id: str) -> Check:
    """What an answer to a poll says of the generation that was asked for.

    400, 410 and 422 count as 404 does: the API will not have this id, while it may well know all others. A 404 that is
    not JSON is a gateway's, and says nothing about the id.
    """
    document = answer.document()
    if answer.succeeded:
        return _read_generation(answer, document, generation_id)
    if answer.status in (400, 404, 410, 422) and isinstance(document, dict):
        return NotFound()
    return read_failure(answer)


def read_failure(answer: Answer) -> Throttled | Denied | Unavailable:
    """What an answer to a GET means that did not bring what was asked for."""
    match answer.status:
        case 429:
            return Throttled(retry_after=answer.retry_after())
        case 401 | 403:
            return Denied(status=answer.status, message=answer.said())
    if answer.succeeded:
        return Unavailable(message=f"the answer cannot be read: {answer.broken or 'not what is documented'}")
    return Unavailable(message=answer.said(), status=answer.status)


def _read_generation(answer: Answer, document: object, asked: str) -> Check:
    if not isinstance(document, dict):
        return read_failure(answer)
    named = [document[key] for key in _ID_KEYS if document.get(key) is not None]
    if named and asked not in map(identifier, named):
        return Unavailable(message="the answer is about another generation than was asked for")
    status = document.get("status")
    if not named and status is None:
        return read_failure(answer)
    if word(status) in DONE:
        video = find_video(document.get("video"))
        # The key goes to no other host, and is written down nowhere: a link that holds it is none.
        usable = video.link is not None and not holds(video.link, answer.secrets)
        return Finished(link=video.link if usable else None, usage=read_usage(document), file_size=video.file_size)
    if word(status) in FAILED:
        return _errored(answer, document)
    return Running(status=answer.shown(str(status))[:64] if status is not None else "")


def _errored(answer: Answer, document: Mapping[str, object]) -> Errored:
    words = find_words(document.get("error"))
    if not any(words):
        words = find_words(document)
    message = answer.shown(words.message) or "the provider gives no reason"
    may_pass = word(document.get("status")) in NOT_CHARGED and says_passing(words)
    return Errored(
        code=answer.shown(words.code or "provider_error"), message=message, retryable=may_pass, raw=answer.raw
    )


class Words(NamedTuple):
    """An error in words: a short name where it has one, and a message for people."""

    code: str | None
    message: str


def find_words(error: object, depth: int = _DEPTH) -> Words:
    """The words of an error in any of its shapes: `{name, message}`, `{detail: [{type, msg}]}`, a text, or none.

    Inside a message, what stands under names that nobody documented counts as well.
    """
    if isinstance(error, str):
        return Words(None, error.strip())
    if depth == 0:
        return Words(None, "")
    if isinstance(error, list):
        parts = [find_words(item, depth - 1) for item in error[:_ITEMS]]
        code = next((part.code for part in parts if part.code), None)
        return Words(code, "; ".join(part.message for part in parts if part.message))
    if isinstance(error, dict):
        inner = [find_words(error.get(key), depth - 1) for key in ("message", "msg", "detail", "error", "errors")]
        said = next((words for words in inner if words.message), Words(None, ""))
        if not said.message and depth < _DEPTH:
            said = Words(said.code, _by_field(error, depth - 1))
        names = (error.get(key) for key in ("name", "code", "type"))
        own = next((name for name in names if isinstance(name, str) and _CODE.fullmatch(name)), None)
        return Words(own or said.code, said.message)
    return Words(None, "")


def _by_field(errors: Mapping[str, object], depth: int) -> str:
    """What validators say: `{fieldErrors: {video_url: ["Invalid url"]}}`."""
    said = ((name, find_words(value, depth).message) for name, value in islice(errors.items(), _ITEMS))
    return "; ".join(f"{name}: {message}" for name, message in said if message)


def says_passing(words: Words) -> bool:
    """Whether an error says by itself that it will pass: overload, a time-out, an internal error, "try again".

    Anything else, above all what is said about the media, would only fail again. "Try again with another video" is
    about the media.
    """
    code = _CAMEL.sub(" ", words.code or "").replace("_", " ")
    return _PASSING.search(f"{code}: {words.message}") is not None


class Video(NamedTuple):
    """Where the finished video is, and its bytes where they are named."""

    link: str | None
    file_size: int | None


def find_video(video: object, depth: int = _DEPTH) -> Video:
    """`{url}` as documented, with `file_size` from some backends; a plain link; or a list of either."""
    if isinstance(video, list) and depth:
        found = (find_video(item, depth - 1) for item in video[:_ITEMS])
        return next((one for one in found if one.link), Video(None, None))
    if isinstance(video, dict):
        return Video(link(video.get("url")), whole(video.get("file_size")) or None)
    return Video(link(video), None)


def read_usage(document: object) -> int | None:
    """What a generation says it has used, in micro-USD. The key has changed over time."""
    meta = document.get("meta") if isinstance(document, dict) else None
    usage = meta.get("usage") if isinstance(meta, dict) else None
    if not isinstance(usage, dict):
        return None
    amounts = (
        micro_usd(usage.get("usd_spent")),
        micro_usd_of_credits(usage.get("credits_used")),
        micro_usd_of_credits(usage.get("tokens_used")),
    )
    return next((amount for amount in amounts if amount is not None), None)


def _quote(answer: Answer, document: object) -> int | None:
    """What the submit says it will cost: the last poll of the documented sample does not repeat it."""
    amounts = (
        read_usage(document),
        micro_usd(answer.headers.get("x-aimlapi-usd-spent")),
        micro_usd_of_credits(answer.headers.get("x-aimlapi-credits-used")),
    )
    return next((amount for amount in amounts if amount is not None), None)


_ID_KEYS = ("id", "generation_id")


def _ids(document: object) -> list[str]:
    """`id` is documented; other gateways with this endpoint, and a page of this one, say `generation_id`."""
    found = (identifier(document.get(key)) for key in _ID_KEYS) if isinstance(document, dict) else ()
    return [one for one in found if one is not None]
