"""A copy of jobs.db from elsewhere, read as one more record of a batch: all that was known when it was made."""

from __future__ import annotations

from collections.abc import Iterator

from lipsync_batch.jobs import State
from lipsync_batch.store.hearing import Hearing, Told, ToldFile
from lipsync_batch.store.ledger import Charged
from lipsync_batch.store.query import PAGE, Query


class Copied(Query):
    """Questions to the copy."""

    def ends(self) -> str:
        """The instant of the last thing that it knows of."""
        row = self._one(
            """
            SELECT max(at) AS at FROM (
                SELECT max(updated_at) AS at FROM pairs UNION ALL SELECT max(intended_at) FROM generations
                UNION ALL SELECT created_at FROM batch
            )
            """
        )
        assert row is not None
        return str(row["at"])

    def tell(self, hearing: Hearing) -> None:
        """Tell all of it. What the journal says of that time says nothing more."""
        for row in self._rows("SELECT * FROM generations ORDER BY rowid"):
            hearing.generation(
                Told(
                    client_request_id=row["client_request_id"],
                    fingerprint=row["fingerprint"],
                    intended_at=row["intended_at"],
                    reserve=row["reserve"],
                    generation_id=row["generation_id"],
                    accepted_at=row["accepted_at"],
                    finished_at=row["finished_at"],
                    quote=row["quote"],
                    outcome=row["outcome"],
                    is_over=not row["live"],
                )
            )
        for row in self._rows(_PAIRS):
            hearing.stood(
                row["fingerprint"],
                State(row["state"]),
                at=row["updated_at"],
                name=row["last_output"],
                code=row["error_code"],
                message=row["error_message"],
                attempt=row["attempt"],
                provider_errors=row["provider_errors"],
            )
        for row in self._rows("SELECT successor, asked_at, reason FROM redos"):
            hearing.asked_again(row["successor"], at=row["asked_at"], reason=row["reason"], journalled=False)
        for row in self._rows(_FILES):
            hearing.file(ToldFile(**dict(row)))
        for row in self._rows("SELECT * FROM inputs"):
            hearing.input(row)
        hearing.knows_all_until(self.ends())

    def charges(self) -> Iterator[list[Charged]]:
        """What was taken for its generations, a page at a time."""
        after = 0
        while rows := list(
            self._rows("SELECT rowid, * FROM charges WHERE rowid > :after LIMIT :limit", after=after, limit=PAGE)
        ):
            yield [
                Charged(generation_id=row["generation_id"], charged_at=row["charged_at"], cost=row["cost"])
                for row in rows
            ]
            after = rows[-1]["rowid"]


_PAIRS = """
    SELECT fingerprint, state, updated_at, last_output, error_code, error_message, provider_errors,
        (SELECT max(attempt) FROM generations AS g WHERE g.fingerprint = pairs.fingerprint) AS attempt
    FROM pairs WHERE EXISTS (SELECT 1 FROM generations AS g WHERE g.fingerprint = pairs.fingerprint)
"""
_FILES = """
    SELECT o.path, o.fingerprint, bytes, sha256, duration_seconds, suspect, updated_at AS finished_at
    FROM outputs AS o JOIN pairs USING (fingerprint) WHERE o.superseded = 0 AND state = 'done' AND sha256 IS NOT NULL
"""
