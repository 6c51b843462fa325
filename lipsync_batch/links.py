"""Web addresses as names of things: which part says what is there, and which part only lets somebody in."""

from __future__ import annotations

from collections.abc import Collection
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
    try:
        parts = urlsplit(url.strip())
        host = _host(parts)
    except ValueError:
        return url.strip()
    return SplitResult(parts.scheme, host, parts.path or "/", _unsigned_query(parts.query), "").geturl()


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
