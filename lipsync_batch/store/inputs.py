"""What local inputs were when they were last read, so that no file is hashed twice."""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import asdict
from pathlib import Path

from lipsync_batch.inputs import FileFacts, Kind
from lipsync_batch.jobs import MediaInfo
from lipsync_batch.store.rows import dumps

INPUT_COLUMNS = "path, kind, inode, size, mtime_ns, sha256, media, problem, cacheable"


class InputCache:
    """Facts about files by path and use; they hold while inode, size and modification time are the same."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # What is learned goes to a temporary table first: a plan looks at files without writing to jobs.db.
        self._connection.execute(f"CREATE TEMP TABLE inputs_seen ({INPUT_COLUMNS}, PRIMARY KEY (path, kind))")

    def last_known(self, path: Path, kind: Kind) -> FileFacts | None:
        """What the file was, whether or not it is still so, or still there."""
        row = self._connection.execute(
            f"""
            SELECT {INPUT_COLUMNS} FROM temp.inputs_seen WHERE path = :path AND kind = :kind
            UNION ALL SELECT {INPUT_COLUMNS} FROM inputs WHERE path = :path AND kind = :kind LIMIT 1
            """,
            {"path": str(path), "kind": kind},
        ).fetchone()
        if row is None:
            return None
        return FileFacts(
            path=path,
            inode=row["inode"],
            size=row["size"],
            mtime_ns=row["mtime_ns"],
            sha256=row["sha256"],
            media=MediaInfo(**json.loads(row["media"])) if row["media"] else None,
            problem=row["problem"],
            cacheable=bool(row["cacheable"]),
        )

    def fresh(self, path: Path, kind: Kind) -> FileFacts | None:
        """What the file is, if it surely was not touched since it was read."""
        facts = self.last_known(path, kind)
        if facts is None or not facts.cacheable:
            return None
        try:
            return facts if facts.hold_for(path.stat()) else None
        except OSError:
            return None

    def keep(self, facts: FileFacts, kind: Kind) -> None:
        """Remember a file; for good once `persist` was called."""
        self._connection.execute(
            f"""
            INSERT OR REPLACE INTO temp.inputs_seen ({INPUT_COLUMNS})
            VALUES (:path, :kind, :inode, :size, :mtime_ns, :sha256, :media, :problem, :cacheable)
            """,
            {
                "path": str(facts.path),
                "kind": kind,
                "inode": facts.inode,
                "size": facts.size,
                "mtime_ns": facts.mtime_ns,
                "sha256": facts.sha256,
                "media": dumps(asdict(facts.media)) if facts.media else None,
                "problem": facts.problem,
                "cacheable": int(facts.cacheable),
            },
        )

    def persist(self) -> None:
        """Remember in jobs.db what was learned, and of which files; part of a transaction of the caller's."""
        self._connection.execute(
            f"INSERT OR REPLACE INTO inputs ({INPUT_COLUMNS}) SELECT {INPUT_COLUMNS} FROM temp.inputs_seen"
        )
        self._connection.execute("DELETE FROM intake_inputs")
        self._connection.execute("INSERT INTO intake_inputs SELECT path, kind FROM temp.inputs_seen")

    def all_fresh(self) -> bool:
        """Whether every file that the jobs in the store name surely was not touched since it was read."""
        rows = self._connection.execute(
            """
            SELECT path, inode, size, mtime_ns, cacheable FROM intake_inputs LEFT JOIN inputs USING (path, kind)
            """
        )
        return all(row["cacheable"] and _stands(row) for row in rows)


def _stands(row: sqlite3.Row) -> bool:
    try:
        facts = os.stat(row["path"])  # noqa: PTH116 (there may be a million, and a Path takes longer to make than this)
    except OSError:
        return False
    return (row["inode"], row["size"], row["mtime_ns"]) == (facts.st_ino, facts.st_size, facts.st_mtime_ns)
