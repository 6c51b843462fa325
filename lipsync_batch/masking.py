"""Takes secrets out of text that is shown or kept: raw errors, messages, links.

What stands in an error is written by others, and errors quote requests: signed links, data URIs, even the key. So
everything from outside goes through `mask` before it reaches a log, jobs.db, a report or a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import quote

LIMIT = 4096
"""Bytes of UTF-8 that are kept of a raw error."""

MOST = 64 * 1024
"""Characters that are looked at: what was hidden makes room for what follows, but not for ever."""

HIDDEN = "***"
CUT = " …"

# Patterns see JSON as often as plain text: a slash may be written `\/`, and a value ends at a quote or white space.
# Every repetition is bounded or cannot start again inside itself, so that a hostile body costs linear time.
_DATA_URI = re.compile(r"(data:(?:[\w.+-]{1,64}\\?/[\w.+-]{1,64})?(?:;[\w=.+-]{1,64}){0,8},)[^\s\"'<>]+", re.IGNORECASE)
_BASE64_RUN = re.compile(r"(?<![A-Za-z0-9+/=_-])(?:[A-Za-z0-9+/=_-]|\\/){200,}")
_USER_INFO = re.compile(r"(:\\?/\\?/)[^\s\"'<>/\\?#@]{1,512}(?:@[^\s\"'<>/\\?#@]{1,512})*@")
_LINK = re.compile(r"([a-z][a-z0-9+.-]{0,15}:\\?/\\?/[^\s\"'<>?#]*)(?:([?#])[^\s\"'<>]+)?", re.IGNORECASE)
_BEARER = re.compile(r"(\bbearer\s{1,4})[^\s\"'<>,;]{8,}", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"(\bauthorization[\"']?\s?[:=]\s?[\"']?(?:\w{1,16}\s{1,4})?)[^\s\"'<>,;]+", re.IGNORECASE)
_NAMED = re.compile(
    r"(\b(?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|sig|secret|password|passwd"
    r"|(?:access|auth|api|secret)[-_ ]?key|(?:access|auth|api|refresh)?[-_]?token)[\"']?\s?[:=]\s?[\"']?)"
    r"[^\s\"'<>&,;{}\[\]]+",
    re.IGNORECASE,
)
# Escape sequences could take over a terminal; lone surrogates cannot be written as UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


class Secrets(frozenset[str]):
    """Texts that must be shown nowhere, a traceback with its local variables included."""

    def __repr__(self) -> str:
        return f"<{len(self)} secrets>"


def mask(text: str, *, secrets: Collection[str] = (), limit: int = LIMIT) -> str:
    """The text without its secrets, cut to `limit` bytes of UTF-8.

    Hidden are `secrets` themselves, the query, fragment and user info of links, the content of data URIs, long runs
    of Base64, bearer tokens and the values of parameters whose name says that they are secret.

    >>> mask("GET https://me:pw@cdn.example/a%2Fb.mp4?sig=1 failed")
    'GET https://***@cdn.example/a%2Fb.mp4?*** failed'
    """
    for secret in sorted(secrets, key=len, reverse=True):
        for form in {secret, quote(secret, safe="")} - {""}:
            text = text.replace(form, HIDDEN)
    text = _UNPRINTABLE.sub(" ", text[:MOST])
    text = _DATA_URI.sub(rf"\1{HIDDEN}", text)
    text = _BASE64_RUN.sub(HIDDEN, text)
    text = _USER_INFO.sub(rf"\1{HIDDEN}@", text)
    text = _LINK.sub(_hide_query, text)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    text = _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)
    text = _NAMED.sub(rf"\1{HIDDEN}", text)
    return _cut(text, limit)


def mask_link(link: str) -> str:
    """A link without its query, fragment and user info: what may be shown of an input.

    >>> mask_link("https://media.example/clip.mp4?X-Amz-Signature=0c1d")
    'https://media.example/clip.mp4?***'
    """
    end = min((link.index(mark) for mark in "?#" if mark in link), default=len(link))
    return mask(link[:end]) + (f"{link[end]}{HIDDEN}" if end < len(link) else "")


def _hide_query(link: re.Match[str]) -> str:
    place, mark = link.groups()
    return f"{place}{mark}{HIDDEN}" if mark else place


def _cut(text: str, limit: int) -> str:
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[: limit - len(CUT.encode())].decode(errors="ignore") + CUT
