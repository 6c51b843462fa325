"""Names of objects: `s3://bucket/key`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEMES = frozenset({"s3", "gs", "az"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What no key holds. Spaces that do not break, and characters that take no room, are found in many."""
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where an object is, or, with an empty key or one that ends in `/`, where many of them are."""

    scheme: str
    bucket: str
    """Of Azure the container."""
    key: str
    """As it is in the store: nothing in it is escaped."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take `s3://bucket/key` apart. ValueError, which says what would be right after a `; `.

        What stands in the place of the bucket is not in the message: it may hold a secret that was put there.
        """
        scheme, _, rest = url.partition("://")
        scheme, (bucket, _, key) = scheme.lower(), rest.partition("/")
        if "@" in bucket or ":" in bucket:
            raise ValueError("holds credentials or a port; leave them away: they come from the environment alone")
        if scheme not in SCHEMES:
            raise ValueError("is no address in object storage; write it like s3://bucket/path")
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"names no bucket; write {scheme}://bucket/path/clip.mp4")
        if any(part in {"", ".", ".."} for part in key.removesuffix("/").split("/")) and key:
            raise ValueError('has an empty part, or "." or "..", in its path; name objects as their store does')
        if _CONTROL.search(key):
            raise ValueError("holds a control character; give the object another name")
        return cls(scheme=scheme, bucket=bucket, key=key)

    @property
    def place(self) -> str:
        """The bucket's own address."""
        return f"{self.scheme}://{self.bucket}"

    def __str__(self) -> str:
        return f"{self.place}/{self.key}"
