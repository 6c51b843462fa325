"""What is asked of jobs.db about files: where they stand, and where they should."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lipsync_batch.store.ledger import FileMove
from lipsync_batch.store.query import PAGE, Query


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A finished pair: what its file must be."""

    fingerprint: str
    bytes: int | None
    sha256: str | None


class FileReads(Query):
    """Questions about files."""

    def wanted_outputs(self, fingerprint: str) -> list[str]:
        """Where the jobs of a pair want its file, in manifest order."""
        rows = self._rows("SELECT output FROM jobs WHERE fingerprint = :f ORDER BY position", f=fingerprint)
        return [row["output"] for row in rows]

    def output_owner(self, path: str) -> str | None:
        """The fingerprint of the file that we put there; None where it is not ours."""
        row = self._one("SELECT fingerprint FROM outputs WHERE path = :path", path=path)
        return None if row is None else str(row["fingerprint"])

    def outputs(self, fingerprint: str) -> list[str]:
        """Where files of a pair stand now, those in superseded/ last."""
        rows = self._rows("SELECT path FROM outputs WHERE fingerprint = :f ORDER BY superseded, path", f=fingerprint)
        return [row["path"] for row in rows]

    def unplaced(self) -> list[tuple[str, str]]:
        """(fingerprint, output) of jobs whose pair is finished, but whose file does not stand where they want it."""
        rows = self._rows(
            """
            SELECT j.fingerprint, j.output FROM jobs AS j JOIN pairs AS p USING (fingerprint)
            LEFT JOIN outputs AS o ON o.path = j.output AND o.fingerprint = j.fingerprint
            WHERE p.state = 'done' AND o.path IS NULL ORDER BY j.position
            """
        )
        return [(row["fingerprint"], row["output"]) for row in rows]

    def file_moves(self) -> tuple[list[FileMove], bool]:
        """Renames that an earlier run planned and did not end, and whether all files have left their old names."""
        rows = list(self._rows("SELECT * FROM file_moves ORDER BY holding"))
        moves = [
            FileMove(holding=row["holding"], source=row["source"], target=row["target"], fingerprint=row["fingerprint"])
            for row in rows
        ]
        return moves, all(row["held"] for row in rows)

    def finished(self) -> Iterator[Finished]:
        """Every finished pair and what its file must be, read in pages."""
        after = ""
        while rows := list(
            self._rows(
                """
                SELECT fingerprint, bytes, sha256 FROM pairs
                WHERE state = 'done' AND fingerprint > :after ORDER BY fingerprint LIMIT :limit
                """,
                after=after,
                limit=PAGE,
            )
        ):
            for row in rows:
                yield Finished(fingerprint=row["fingerprint"], bytes=row["bytes"], sha256=row["sha256"])
            after = rows[-1]["fingerprint"]
