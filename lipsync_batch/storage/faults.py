"""What stores say when something does not work, in our words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lipsync_batch.inputs import Trouble
from lipsync_batch.masking import mask

LONGEST = 400
"""Bytes of a store's own words that are shown."""


class Kind(Enum):
    """What a fault means for those who asked."""

    MISSING = "missing"  #: there is no such object, or no such bucket
    DENIED = "denied"  #: who we are may not read it, or is not known
    MISPLACED = "misplaced"  #: the bucket is in another region than was asked
    LOCKED_OUT = "locked_out"  #: there are no credentials to ask with
    UNLISTABLE = "unlistable"  #: among the objects there is one whose name cannot be handled
    SILENT = "silent"  #: no answer, or one that says "later"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a store did not do what it was asked for."""

    kind: Kind
    words: str
    """The store's own, masked, on one line."""

    @classmethod
    def of(cls, error: Exception) -> Fault:
        """What an exception of obstore's says. They have classes for what is asked of one object, not of a listing."""
        # What follows is Rust's view of the same error, with the request in it.
        text = str(error).partition("\n\nDebug source")[0]
        words = mask(" ".join(text.split()), limit=LONGEST)
        return cls(kind=_kind(type(error).__name__, text), words=words)

    def told(self, what: str) -> Trouble:
        """Why `what`, an object or a folder of them, cannot be read, with the remedy."""
        match self.kind:
            case Kind.MISSING:
                return Trouble(cause=f'there is no "{what}"', remedy="check the bucket and the path")
            case Kind.DENIED:
                return Trouble(
                    cause=f'"{what}" cannot be read: access is denied ({self.words})',
                    remedy="check that the bucket exists, and that the credentials of this environment may read it",
                )
            case Kind.MISPLACED:
                return Trouble(
                    cause=f'"{what}" is in another region, or at another endpoint, than was asked; '
                    "or the session token has expired",
                    remedy="set AWS_REGION to the bucket's, and AWS_ENDPOINT_URL for a store that is not Amazon's; "
                    "renew credentials that come with a token",
                )
            case Kind.UNLISTABLE:
                return Trouble(
                    cause=f'"{what}" cannot be listed: an object there has a name that is no path ({self.words})',
                    remedy="rename it (no //, no . or .. as a part, no control character), or name another folder",
                )
            case Kind.LOCKED_OUT | Kind.SILENT:
                return Trouble(
                    cause=f'"{what}" cannot be read: its store does not answer ({self.words})',
                    remedy="check the network and AWS_ENDPOINT_URL, or try again later",
                )


def _kind(name: str, text: str) -> Kind:
    if "invalid path" in text:
        return Kind.UNLISTABLE
    if name in {"NotFoundError", "FileNotFoundError"} or "404 Not Found" in text:
        return Kind.MISSING
    if "token request" in text or "Account must be specified" in text:
        return Kind.LOCKED_OUT
    if "redirect without LOCATION" in text or "400 Bad Request" in text or "AuthorizationHeaderMalformed" in text:
        return Kind.MISPLACED
    if name in {"PermissionDeniedError", "UnauthenticatedError"} or "403 Forbidden" in text or "401 " in text:
        return Kind.DENIED
    return Kind.SILENT
