"""Takes secrets out of text that is shown or kept: raw errors, messages, links.

What stands in an error is written by others, and errors quote requests: signed links, data URIs, even the key. So
everything from outside goes through `mask` before it reaches a log, jobs.db, a report or a terminal.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from html.entities import codepoint2name
from urllib.parse import unquote

LIMIT = 4096
"""Bytes of UTF-8 that are kept of a raw error."""

MOST = 64 * 1024
"""Characters that are looked at: what was hidden makes room for what follows, but not for ever."""

HIDDEN = "***"
CUT = " …"

SHORTEST_CODE = 8
"""Characters from which on an encoded secret is looked for: fewer would be found in innocent words."""
SHORTEST_PIECE = 4
"""Characters from which on a part of an address is taken for a token, a password or a name."""
LONGEST_ESCAPE = 24
"""Characters that one character of a secret may become, as in `\\u003c` or `&quot;`, backslashes before it included."""

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

    Hidden are `secrets` in every form in which a server may quote them; the query, fragment and user info of links, the
    content of data URIs, long runs of Base64, bearer tokens and the values of parameters whose name says that they are
    secret.

    >>> mask("GET https://me:pw@cdn.example/a%2Fb.mp4?sig=1 failed")
    'GET https://***@cdn.example/a%2Fb.mp4?*** failed'
    """
    text = _UNPRINTABLE.sub(" ", _hide_known(text, secrets))
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


def pieces(address: str) -> Secrets:
    """A notification's address and its parts: services put tokens anywhere in it, also where a host would stand.

    >>> sorted(pieces("slack://T1JJ3T3L2/A1BRTD4JD?to=ops"))
    ['A1BRTD4JD', 'T1JJ3T3L2', 'slack://T1JJ3T3L2/A1BRTD4JD?to=ops']
    """
    rest = address.partition("://")[2] or address
    parts = {part for raw in re.split(r"[/?#&=@:;,+\s]+", rest) for part in (raw, unquote(raw))}
    return Secrets({address, *(part for part in parts if len(part) >= SHORTEST_PIECE)})


def holds(text: str, secrets: Collection[str]) -> bool:
    """Whether one of the secrets stands in a text, in whatever form."""
    return any(_pattern(secret).search(text) for secret in secrets if secret)


def _hide_known(text: str, secrets: Collection[str]) -> str:
    """The first characters of a text, without the secrets."""
    known = sorted(filter(None, secrets), key=len, reverse=True)  # one may hold another
    longest = LONGEST_ESCAPE * max(map(len, known), default=0)
    looked_at = text[: MOST + longest]
    whole = len(looked_at) == len(text)
    for secret in known:
        looked_at = _pattern(secret).sub(HIDDEN, looked_at)
    # A secret that the end cut in two was not found: what may be left of it goes.
    return (looked_at if whole or not longest else looked_at[:-longest])[:MOST]


@lru_cache(maxsize=16)
def _pattern(secret: str) -> re.Pattern[str]:
    """Finds a secret as it is and as it is quoted: escaped for JSON, Python, URLs or HTML, in Base64, in hex."""
    data = secret.encode()
    codes = {code for code in (data.hex(), *_in_base64(data)) if len(code) >= SHORTEST_CODE}
    forms = ["".join(map(_as_written, secret)), *map(re.escape, codes)]
    return re.compile("|".join(forms), re.IGNORECASE)  # hex digits come in either case


def _as_written(character: str) -> str:
    """Finds a character however it is escaped; a text that was quoted more than once has escapes of escapes."""
    if character.isalnum():
        return character
    number = ord(character)
    entity = "|".join(filter(None, (codepoint2name.get(number), f"#{number}", f"#x{number:x}")))
    ways = (
        re.escape(character),
        rf"[ux]0{{0,6}}{number:x}",
        rf"%(?:25){{0,3}}{number:02x}",
        rf"&(?:amp;){{0,3}}(?:{entity});",
    )
    return rf"\\{{0,8}}(?:{'|'.join(ways)})"


def _in_base64(secret: bytes) -> Iterator[str]:
    """What Base64 makes of a secret wherever in a longer text it begins: the characters that depend on it alone."""
    for before in range(3):
        first, end = -(-before * 8 // 6), (before + len(secret)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + secret).decode()[first:end]


def _hide_query(link: re.Match[str]) -> str:
    place, mark = link.groups()
    return f"{place}{mark}{HIDDEN}" if mark else place


def _cut(text: str, limit: int) -> str:
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[: limit - len(CUT.encode())].decode(errors="ignore") + CUT
