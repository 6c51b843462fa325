"""What objects in stores were when they were last looked at: known again when they are gone, or cannot be asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from lipsync_batch.inputs import ObjectFacts

_COLUMNS = "url, identity, size"


class ObjectMemory:
    """Facts about objects by their address. Whether they still hold, only the store that has them can say."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # What is learned goes to a temporary table first: a plan looks at objects without writing to jobs.db.
        self._connection.execute("CREATE TEMP TABLE objects_seen (url PRIMARY KEY, identity, size, named)")

    def seen(self, url: str) -> ObjectFacts | None:
        """What an object is, where this process has looked at it."""
        return self._facts(f"SELECT {_COLUMNS} FROM temp.objects_seen WHERE url = :url", url)

    def last_known(self, url: str) -> ObjectFacts | None:
        """What an object was, whether or not it is still so, or still there."""
        known = f"SELECT {_COLUMNS} FROM objects WHERE url = :url"
        return self.seen(url) or self._facts(known, url)

    def notice(self, many: Iterable[ObjectFacts]) -> None:
        """Remember objects that jobs may name, while this process lives."""
        self._see(many, named=False)

    def keep(self, many: Iterable[ObjectFacts]) -> None:
        """Remember objects that jobs name; for good once `persist` was called."""
        self._see(many, named=True)

    def _see(self, many: Iterable[ObjectFacts], *, named: bool) -> None:
        rows = ((facts.url, facts.identity, facts.size, named) for facts in many)
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT OR REPLACE INTO temp.objects_seen VALUES (?, ?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    def persist(self) -> None:
        """Remember in jobs.db what was learned; part of a transaction of the caller's."""
        self._connection.execute(f"INSERT OR REPLACE INTO objects SELECT {_COLUMNS} FROM temp.objects_seen WHERE named")

    def _facts(self, sql: str, url: str) -> ObjectFacts | None:
        row = self._connection.execute(sql, {"url": url}).fetchone()
        return ObjectFacts(url=row["url"], identity=row["identity"], size=row["size"]) if row else None
