"""What is known by now of a batch whose jobs.db is lost, of all that was taken down by `Hearing`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from lipsync_batch.clock import from_iso
from lipsync_batch.jobs import Pair
from lipsync_batch.store.query import PAGE, Query
from lipsync_batch.store.rows import SHORT, pair_from_row


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A batch that the provider's log names, and that has pairs of the manifest."""

    batch_id: str
    generations: int
    pairs: int
    """Of those, such as the manifest has."""
    first: str
    last: str


class Known(Query):
    """Questions about what was told. They want `Hearing`'s tables, and some of them the manifest's pairs."""

    def oldest(self) -> datetime | None:
        """When the first generation was intended, or accepted, of which anything is told."""
        row = self._one("SELECT min(coalesce(intended_at, accepted_at)) AS at FROM temp.told_generations")
        return from_iso(row["at"]) if row is not None and row["at"] else None

    def known_ids(self, limit: int) -> list[str]:
        """Ids of the newest generations that were accepted."""
        rows = self._rows(
            """
            SELECT generation_id FROM temp.told_generations WHERE generation_id IS NOT NULL
            ORDER BY accepted_at DESC LIMIT :limit
            """,
            limit=limit,
        )
        return [row["generation_id"] for row in rows]

    def candidates(self) -> list[Candidate]:
        """Batches in the provider's log with pairs of the manifest, those with the most pairs first."""
        rows = self._rows(
            f"""
            SELECT l.batch_id, count(*) AS generations, count(DISTINCT p.fingerprint) AS pairs,
                coalesce(min(l.created), '') AS first, coalesce(max(l.created), '') AS last
            FROM temp.logged AS l LEFT JOIN (
                SELECT fingerprint, substr(fingerprint, 1, {SHORT}) AS short FROM pairs WHERE wanted = 1
            ) AS p USING (short)
            GROUP BY l.batch_id HAVING count(p.fingerprint) > 0 ORDER BY pairs DESC, last DESC
            """
        )
        return [
            Candidate(
                batch_id=row["batch_id"],
                generations=row["generations"],
                pairs=row["pairs"],
                first=row["first"],
                last=row["last"],
            )
            for row in rows
        ]

    def unsubmitted(self) -> int:
        """Pairs that jobs want and that a run would, or may, submit: nothing is told of a generation that is alive.

        One that failed by the provider's log is polled first, and then followed by another.
        """
        return self._count(
            """
            pairs AS p LEFT JOIN temp.told_pairs AS t USING (fingerprint)
            WHERE p.wanted = 1 AND t.state IS NOT 'failed' AND NOT EXISTS (
                SELECT 1 FROM temp.told_generations AS g LEFT JOIN temp.logged AS l USING (client_request_id)
                WHERE g.fingerprint = p.fingerprint AND g.is_over = 0 AND l.failed IS NOT 1
            )
            """
        )

    def generations(self) -> int:
        """All that is told of."""
        return self._count("temp.told_generations")

    def not_in_log(self) -> int:
        """Submits that other records tell of, and whose intent is not in the run.log that later runs append to."""
        return self._count("temp.told_generations WHERE NOT journalled & 1")

    def knows(self, fingerprint: str) -> bool:
        """Whether anything is told of a pair."""
        row = self._one(
            """
            SELECT 1 FROM temp.told_generations WHERE fingerprint IN (:full, :short)
            UNION ALL SELECT 1 FROM temp.told_pairs WHERE fingerprint = :full
            UNION ALL SELECT 1 FROM temp.told_redos WHERE successor = :full
            """,
            full=fingerprint,
            short=fingerprint[:SHORT],
        )
        return row is not None

    def redone_for(self, fingerprint: str) -> str | None:
        """Why a pair was asked for in the place of a finished one; None where no journal says so."""
        row = self._one("SELECT reason FROM temp.told_redos WHERE successor = :f", f=fingerprint)
        return None if row is None else str(row["reason"])

    def is_reported(self, fingerprint: str) -> bool:
        """Whether a report shows a pair as what a job wants."""
        row = self._one("SELECT 1 FROM temp.told_pairs WHERE fingerprint = :f AND at = ''", f=fingerprint)
        return row is not None

    def has_strangers(self) -> bool:
        """Whether anything is told of pairs that the manifest does not name: removed rows, or other takes."""
        told = {"told_generations": "fingerprint", "told_pairs": "fingerprint", "told_redos": "successor"}
        return any(
            self._one(f"SELECT 1 FROM temp.{table} WHERE {pair} NOT IN (SELECT fingerprint FROM pairs) LIMIT 1")
            for table, pair in told.items()
        )

    def wanted_pairs(self) -> Iterator[Pair]:
        """Every pair of the manifest, read in pages."""
        after = ""
        while rows := list(
            self._rows(
                "SELECT * FROM pairs WHERE wanted = 1 AND fingerprint > :after ORDER BY fingerprint LIMIT :limit",
                after=after,
                limit=PAGE,
            )
        ):
            yield from map(pair_from_row, rows)
            after = rows[-1]["fingerprint"]

    def _count(self, rows: str) -> int:
        row = self._one(f"SELECT count(*) AS n FROM {rows}")
        assert row is not None
        return int(row["n"])
