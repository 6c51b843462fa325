"""Secrets that can be found again: a marked text in every form in which a program or a server may write it down."""

from __future__ import annotations

import base64
import html
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

WINDOW = 12
"""Characters of a form that betray it: also a secret that was cut in two is a leak."""


@dataclass(frozen=True)
class Mark:
    """A secret that must not show."""

    text: str

    def forms(self) -> dict[str, str]:
        """How it may be written, by the name of the form."""
        text, data = self.text, self.text.encode()
        whole = {
            "plain": text,
            "in a URL": quote(text, safe=""),
            "in JSON": json.dumps(text)[1:-1].replace("/", "\\/"),
            "in HTML": html.escape(text),
            "in hex": data.hex(),
        }
        # Base64 of a text that holds the secret somewhere: what depends on the secret alone, for each of three ways.
        coded = {
            f"in Base64, {before} before": base64.b64encode(b"\0" * before + data)[before + 2 : -4].decode()
            for before in range(3)
        }
        return whole | coded | {f"{name}, for URLs": _for_urls(form) for name, form in coded.items()}

    def found_in(self, content: str | bytes) -> str | None:
        """The first form of which a part stands there, with that part."""
        text = (content.decode("utf-8", "replace") if isinstance(content, bytes) else content).lower()
        for name, form in self.forms().items():
            for start in range(max(1, len(form) - WINDOW + 1)):
                if (part := form[start : start + WINDOW].lower()) in text:
                    return f"{name}: {part}"
        return None


def _for_urls(form: str) -> str:
    return form.replace("+", "-").replace("/", "_")


def leaks(mark: Mark, folders: Iterable[Path]) -> Iterator[str]:
    """The files in which a mark stands. Databases are read row by row too: long values lie there in pieces."""
    for path in sorted(file for folder in folders for file in folder.rglob("*") if file.is_file()):
        content = path.read_bytes()
        found = mark.found_in(content) or mark.found_in(str(path))
        if found is None and content.startswith(b"SQLite format 3\0"):
            found = mark.found_in(dump(path))
        if found is not None:
            yield f"{path}: {found}"


def dump(path: Path) -> str:
    """Every value of a database."""
    # Immutable: to look at it must make no files beside it.
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as database:
        return "\n".join(database.iterdump())
