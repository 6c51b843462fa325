"""What is wrong with one value, before anyone knows where it stands."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

CLOSE = 0.8  # difflib's ratio from which on a name is taken for another one, misspelt


class FieldError(Exception):
    """A value that cannot be used: the cause, and what would be right. Becomes a Problem where the place is known."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}; {remedy}")
        self.cause = cause
        self.remedy = remedy


def nearest(name: str, known: Iterable[str], closeness: float = 0.6) -> str | None:
    """The known name that `name` was probably meant to be: the same in another case, else the most similar."""
    by_folded = {other.casefold(): other for other in known}
    close = get_close_matches(name.casefold(), by_folded, 1, closeness)
    return by_folded[close[0]] if close else None
