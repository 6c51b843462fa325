"""What is asked of jobs.db about files: where they stand, and where they should."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from lipsync_batch.store.ledger import FileMove
from lipsync_batch.store.query import Query

_SURE = """NOT EXISTS (
    SELECT 1 FROM outputs AS o
    LEFT JOIN output_tags AS t ON t.path = o.path AND t.fingerprint = o.fingerprint
    LEFT JOIN temp.listed AS l ON l.path = o.path AND l.tag = t.tag AND l.size = p.bytes
    WHERE o.fingerprint = p.fingerprint AND l.path IS NULL
)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A finished pair: what its file must be, and where it should stand."""

    number: int
    """Its place in the order that they are read in."""
    fingerprint: str
    bytes: int | None
    sha256: str | None
    paths: tuple[str, ...]
    unplaced: bool
    """A job wants it where it does not stand."""
    sure: bool = False
    """A listing of the store shows each of them as it was when it was last looked at."""


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

    def is_arriving(self, tag: str) -> bool:
        """Whether a file is waited for whose checksum is committed; `tag` names its generation in file names."""
        row = self._one(
            """
            SELECT 1 FROM pairs
            WHERE state = 'ready' AND sha256 IS NOT NULL AND fingerprint GLOB '*:' || :short || '*' LIMIT 1
            """,
            short=tag.partition("-")[0],
        )
        return row is not None

    def unplaced(self, fingerprint: str | None = None) -> list[tuple[str, str]]:
        """(fingerprint, output) of jobs whose pair is finished, but whose file does not stand where they want it.

        Of all jobs, which looks at every one of them, or of those that want one pair.
        """
        condition = "TRUE" if fingerprint is None else "j.fingerprint = :f"
        rows = self._rows(
            f"""
            SELECT j.fingerprint, j.output FROM jobs AS j JOIN pairs AS p USING (fingerprint)
            LEFT JOIN outputs AS o ON o.path = j.output AND o.fingerprint = j.fingerprint
            WHERE p.state = 'done' AND o.path IS NULL AND {condition} ORDER BY j.position
            """,
            f=fingerprint,
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

    def forget_listing(self) -> None:
        """Begin a listing of a store anew; see `note_listed`."""
        self._connection.executescript(
            """
            DROP TABLE IF EXISTS temp.listed;
            CREATE TEMP TABLE listed (path PRIMARY KEY, size, tag) WITHOUT ROWID;
            """
        )

    def note_listed(self, found: Iterable[tuple[str, int, str | None]]) -> None:
        """What a listing shows of a store: (path, bytes, what the store knows it by)."""
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT OR REPLACE INTO temp.listed VALUES (?, ?, ?)", found)
        self._connection.execute("COMMIT")

    def finished(self, after: int, limit: int, *, listed: bool = False) -> list[Finished]:
        """The next finished pairs behind the number `after`, and what stands where for each.

        `listed` compares them with what `note_listed` was told.
        """
        rows = self._rows(
            f"""
            SELECT {_SURE if listed else "0"} AS sure, p.rowid AS number, p.fingerprint, p.bytes, p.sha256,
                (SELECT json_group_array(path) FROM outputs AS o WHERE o.fingerprint = p.fingerprint) AS paths,
                EXISTS (
                    SELECT 1 FROM jobs AS j WHERE j.fingerprint = p.fingerprint AND NOT EXISTS (
                        SELECT 1 FROM outputs AS o WHERE o.path = j.output AND o.fingerprint = j.fingerprint
                    )
                ) AS unplaced
            FROM pairs AS p WHERE p.state = 'done' AND p.rowid > :after ORDER BY p.rowid LIMIT :limit
            """,
            after=after,
            limit=limit,
        )
        return [
            Finished(
                number=row["number"],
                fingerprint=row["fingerprint"],
                bytes=row["bytes"],
                sha256=row["sha256"],
                paths=tuple(json.loads(row["paths"])),
                unplaced=bool(row["unplaced"]),
                sure=bool(row["sure"]),
            )
            for row in rows
        ]
