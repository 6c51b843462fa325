"""Web addresses as names of things: which part says what is there, and which part only lets somebody in."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}

_ALWAYS = frozenset({"hdnts", "hdnea", "hdntl", "__token__", "edge-cache-token", "authorization"})
"""Akamai, Google Media CDN, Backblaze: these names mean nothing else."""

_PREFIXES = (
    "x-amz-",
    "x-goog-",
    "x-oss-",
    "x-tos-",
    "x-cos-",
    "q-sign",
    "q-ak",
    "q-key-time",
    "q-header-list",
    "q-url-",
)
"""Amazon and what speaks its language, Google, Alibaba, Volcengine, Tencent."""

_NEVER = frozenset({"x-oss-process", "x-tos-process", "x-cos-process", "x-amz-version-id"})
"""Under such a prefix, but they choose or change the content."""

_SIGNED_BY: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    # CloudFront; version 2 of Amazon S3, Google and Alibaba; Google Cloud CDN
    (
        frozenset({"signature"}),
        frozenset(
            {
                *("signature", "expires", "policy", "key-pair-id", "hash-algorithm", "keyname", "urlprefix"),
                *("awsaccesskeyid", "googleaccessid", "ossaccesskeyid", "security-token"),
            }
        ),
    ),
    # Azure's shared access signatures
    (
        frozenset({"sig", "se"}),
        frozenset(
            {
                *("sig", "se", "sp", "sv", "sr", "st", "spr", "sip", "ss", "srt", "ses", "sdd"),
                *("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid"),
            }
        ),
    ),
    # Bunny, KeyCDN and others; a token without an end may well be the name of the thing
    (frozenset({"token", "expires"}), frozenset({"token", "expires", "token_path"})),
)
"""Names that are a signature's only where all of the first set are there."""


def unsigned(url: str) -> str:
    """A link without what changes while the thing behind it stays: signature, user info, fragment, the host's spelling.

    All else stays as it is, the order of the query too: servers are free to find a difference in it.

    >>> unsigned("HTTPS://CDN.example:443/a%2Fb.mp4?v=2&X-Amz-Signature=9f&X-Amz-Expires=600#t=1")
    'https://cdn.example/a%2Fb.mp4?v=2'
    """
    if (plain := _plain(url)) is not None:
        origin, path = plain
        return origin + (path or "/")
    return unsigned_slowly(url)


def unsigned_slowly(url: str) -> str:
    """`unsigned` of any link."""
    try:
        parts = urlsplit(url.strip())
        host = _host(parts)
    except ValueError:
        return url.strip()
    return SplitResult(parts.scheme, host, parts.path or "/", _unsigned_query(parts.query), "").geturl()


def is_odd(url: str) -> bool:
    """Whether a text holds white space or a control character, as no link does."""
    return " " in url or not url.isprintable()  # of all white space, the space alone is printable


def path_of(url: str) -> str | None:
    """The path of a link, with its %xx decoded; None where the link has no host, or a wrong one."""
    if (plain := _plain(url)) is not None:
        return unquote(plain[1])
    return path_slowly(url)


def path_slowly(url: str) -> str | None:
    """`path_of` any link."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    return unquote(parts.path) if host else None


@lru_cache(maxsize=64)  # a link is asked about several times in a row: what it names, how it ends, what identifies it
def _plain(url: str) -> tuple[str, str] | None:
    """Origin and path of a link that has nothing else and no odd characters: by far the most, in a tenth of the time.

    None for any other, and for one whose host is wrong.
    """
    slashes = url.find("://")
    if slashes < 0 or "?" in url or "#" in url or is_odd(url):
        return None
    end = url.find("/", slashes + 3)
    origin = _origin(url if end < 0 else url[:end])
    return None if origin is None else (origin, "" if end < 0 else url[end:])


@lru_cache(maxsize=1024)  # a batch's links lead to a few hosts
def _origin(start: str) -> str | None:
    """Scheme and host as they are named in fingerprints; None where urlsplit finds no http(s) host in them."""
    try:
        parts = urlsplit(start)
        host = _host(parts)
    except ValueError:
        return None
    return f"{parts.scheme}://{host}" if host and parts.scheme in DEFAULT_PORTS else None


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    return host if parts.port in {None, DEFAULT_PORTS.get(parts.scheme)} else f"{host}:{parts.port}"


def _unsigned_query(query: str) -> str:
    fields = query.split("&")
    names = {_name(field) for field in fields}
    return "&".join(field for field in fields if not _is_signature(_name(field), names))


def _name(field: str) -> str:
    return unquote(field.partition("=")[0]).lower()


def _is_signature(name: str, names: Collection[str]) -> bool:
    if name in _NEVER:
        return False
    return (
        name in _ALWAYS
        or name.startswith(_PREFIXES)
        or any(name in members and needed <= set(names) for needed, members in _SIGNED_BY)
    )
