"""A manifest against the store, in SQL: what a million rows would change, without holding them in memory.

The jobs of a manifest go into temporary tables first. There they are checked against each other, compared with what the
store knows, and then, in one transaction, take the place of the jobs that were. Pairs are matched first, over all pairs
ever seen: a row that was renamed, moved, removed and brought back costs nothing.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lipsync_batch.errors import Problem
from lipsync_batch.jobs import Job, Pair, Place, State
from lipsync_batch.store.rows import dumps, pair_columns

CHUNK = 5_000

_TABLES = """
DROP TABLE IF EXISTS temp.staged;
DROP TABLE IF EXISTS temp.staged_pairs;
DROP TABLE IF EXISTS temp.staged_folders;
DROP TABLE IF EXISTS temp.skipped;
CREATE TEMP TABLE staged (
    position INTEGER PRIMARY KEY, key TEXT, output TEXT, folded TEXT, labels TEXT, priority INTEGER, fingerprint TEXT,
    line INTEGER, column_ INTEGER, row_ INTEGER
);
CREATE TEMP TABLE staged_pairs (
    fingerprint TEXT PRIMARY KEY, model TEXT, take INTEGER, video TEXT, speech TEXT, video_sha256 TEXT,
    audio_sha256 TEXT, speech_seconds REAL, billable_seconds REAL, upload_bytes INTEGER, position INTEGER,
    priority INTEGER, output TEXT
);
CREATE TEMP TABLE staged_folders (folder TEXT PRIMARY KEY);
CREATE TEMP TABLE skipped (key TEXT PRIMARY KEY);
"""


class Change(StrEnum):
    """What a run would do with a job."""

    NEW = "new"  #: its key was not there before; it will be paid for
    CHANGED = "changed"  #: its key now wants another pair; that one will be paid for
    WAITING = "waiting"  #: known, not submitted yet; it will be paid for
    RESUMING = "resuming"  #: at the provider, or finished there: polled and fetched, for nothing
    DONE = "done"
    FAILED = "failed"  #: stays so until `retry`
    UNCLEAR = "unclear"  #: looked up, never submitted again
    REMOVED = "removed"  #: no longer in the manifest


PAID = frozenset({Change.NEW, Change.CHANGED, Change.WAITING})


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What looking at a pair's inputs told, beyond its fingerprint. Durations in seconds."""

    speech_seconds: float | None
    billable_seconds: float
    """An upper bound where the length of the speech is not known."""
    upload_bytes: int
    """Of the local files that go out inline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bill:
    """What is about to be paid for."""

    pairs: int
    billable_seconds: float
    """Σ over the pairs of the seconds of speech, each rounded up."""
    upload_bytes: int


_CHANGE = """
    CASE
        WHEN p.state IN ('submitting', 'submitted', 'ready') THEN 'resuming'
        WHEN p.state IN ('done', 'failed', 'unclear') THEN p.state
        WHEN j.key IS NULL THEN 'new'
        WHEN j.fingerprint <> s.fingerprint THEN 'changed'
        WHEN p.state IS NULL THEN 'new'
        ELSE 'waiting'
    END
"""
_JOINED = f"""
    SELECT s.*, {_CHANGE} AS change, p.state FROM temp.staged AS s
    LEFT JOIN jobs AS j ON j.key = s.key LEFT JOIN pairs AS p ON p.fingerprint = s.fingerprint
"""


def fold(output: str) -> str:
    """Outputs that some file system takes for the same file have the same folded name."""
    return unicodedata.normalize("NFC", output).casefold()


class Staging:
    """The jobs of one manifest, on their way into the store."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._connection.executescript(_TABLES)
        self._jobs: list[dict[str, Any]] = []
        self._pairs: list[dict[str, Any]] = []
        self._folders: set[str] = set()
        self._condition = "TRUE"
        self._parameters: dict[str, object] = {}

    def narrow(self, where: Mapping[str, str]) -> None:
        """Let what is asked about changes be about jobs with these labels only."""
        conditions = ["TRUE"]
        for number, (label, value) in enumerate(where.items()):
            conditions.append(f"json_extract(s.labels, :label{number}) = :value{number}")
            self._parameters |= {f"label{number}": f"$.{dumps(label)}", f"value{number}": value}
        self._condition = " AND ".join(conditions)

    @property
    def _joined(self) -> str:
        return f"{_JOINED} WHERE {self._condition}"

    def add(self, job: Job, pair: Pair, facts: Facts) -> None:
        """Take a job in. Jobs come in manifest order; several may want the same pair."""
        folded = fold(job.output)
        self._jobs.append(
            {
                "position": job.position,
                "key": job.key,
                "output": job.output,
                "folded": folded,
                "labels": dumps(dict(job.labels)),
                "priority": job.priority,
                "fingerprint": pair.fingerprint,
                "line": job.place.line,
                "column_": job.place.column,
                "row_": job.place.row,
            }
        )
        self._pairs.append(
            {
                **pair_columns(pair),
                "speech_seconds": facts.speech_seconds,
                "billable_seconds": facts.billable_seconds,
                "upload_bytes": facts.upload_bytes,
                "position": job.position,
                "priority": job.priority,
                "output": job.output,
            }
        )
        while "/" in folded:
            folded = folded.rpartition("/")[0]
            self._folders.add(folded)
        if len(self._jobs) >= CHUNK:
            self.flush()

    def skip(self, key: str) -> None:
        """A job that cannot be used now: what the store has under its key stays as it is."""
        self._connection.execute("INSERT OR IGNORE INTO temp.skipped VALUES (:key)", {"key": key})

    def flush(self) -> None:
        """Write down what was taken in so far."""
        if not self._jobs:
            return
        connection = self._connection
        connection.execute("BEGIN")
        connection.executemany(_insert("staged", self._jobs), self._jobs)
        connection.executemany(
            # Several jobs may want the same pair: the first in manifest order names it, the highest priority counts.
            _insert("staged_pairs", self._pairs)
            + " ON CONFLICT (fingerprint) DO UPDATE SET priority = max(priority, excluded.priority)",
            self._pairs,
        )
        connection.executemany("INSERT OR IGNORE INTO temp.staged_folders VALUES (?)", [(f,) for f in self._folders])
        connection.execute("COMMIT")
        self._jobs.clear()
        self._pairs.clear()
        self._folders.clear()

    def problems(self, limit: int) -> Iterator[Problem]:
        """Jobs that get in each other's way: keys or outputs used twice, an output that is another one's folder."""
        for column, what in (("key", "key"), ("folded", "output")):
            rows = self._connection.execute(
                f"""
                SELECT s.*, f.line AS line0, f.column_ AS column0, f.row_ AS row0, f.key AS key0 FROM temp.staged AS s
                JOIN (SELECT {column} AS same, min(position) AS first FROM temp.staged GROUP BY 1 HAVING count(*) > 1)
                    AS d ON s.{column} = d.same AND s.position > d.first
                JOIN temp.staged AS f ON f.position = d.first
                ORDER BY s.position LIMIT :limit
                """,
                {"limit": limit},
            )
            for row in rows:
                first = Place(line=row["line0"], column=row["column0"], row=row["row0"])
                yield Problem(
                    place=_place(row),
                    field=what,
                    cause=f'duplicate {what} "{row[what]}", first used at {first} (job "{row["key0"]}")',
                    remedy="give it another name, or remove one of the two"
                    if what == "key"
                    else "outputs must differ in more than upper and lower case",
                )
        yield from self._folder_problems(limit)

    def _folder_problems(self, limit: int) -> Iterator[Problem]:
        rows = self._connection.execute(
            "SELECT s.* FROM temp.staged AS s JOIN temp.staged_folders AS f ON f.folder = s.folded LIMIT :limit",
            {"limit": limit},
        )
        for row in rows:
            yield Problem(
                place=_place(row),
                field="output",
                cause=f'output "{row["output"]}" is also the folder of another output',
                remedy="a path cannot be a file and a folder at once: rename one of the two",
            )

    # What it would change

    def changes(self) -> dict[Change, int]:
        """How many jobs would go which way; every way is named."""
        counts = dict.fromkeys(Change, 0)
        rows = self._connection.execute(
            f"SELECT change, count(*) AS n FROM ({self._joined}) GROUP BY change", self._parameters
        )
        counts.update({Change(row["change"]): row["n"] for row in rows})
        counts[Change.REMOVED] = self._number(f"SELECT count(*) FROM jobs WHERE {_GONE}")
        return counts

    def changes_by(self, label: str) -> dict[str, dict[Change, int]]:
        """The same for each value of a label; jobs without it are under ''."""
        table: dict[str, dict[Change, int]] = {}
        rows = self._connection.execute(
            f"""
            SELECT coalesce(json_extract(labels, :path), '') AS value, change, count(*) AS n
            FROM ({self._joined}) GROUP BY 1, 2 ORDER BY 1
            """,
            {**self._parameters, "path": f"$.{dumps(label)}"},
        )
        for row in rows:
            table.setdefault(str(row["value"]), dict.fromkeys(Change, 0))[Change(row["change"])] = row["n"]
        return table

    def listed(self, limit: int) -> list[tuple[str, Change]]:
        """The first jobs that are not simply done: (key, change), in manifest order."""
        rows = self._connection.execute(
            f"SELECT key, change FROM ({self._joined}) WHERE change <> 'done' ORDER BY position LIMIT :limit",
            {**self._parameters, "limit": limit},
        )
        return [(row["key"], Change(row["change"])) for row in rows]

    def bill(self) -> Bill:
        """The pairs that would be paid for, each once however many jobs want it."""
        row = self._connection.execute(
            f"""
            SELECT count(*) AS n, total(ceil(t.billable_seconds)) AS seconds, total(t.upload_bytes) AS bytes
            FROM temp.staged_pairs AS t LEFT JOIN pairs AS p USING (fingerprint)
            WHERE (p.state IS NULL OR p.state = 'pending')
                AND t.fingerprint IN (SELECT fingerprint FROM temp.staged AS s WHERE {self._condition})
            """,
            self._parameters,
        ).fetchone()
        return Bill(pairs=row["n"], billable_seconds=row["seconds"], upload_bytes=int(row["bytes"]))

    def remade(self) -> tuple[int, int]:
        """(finished pairs that jobs would turn away from, to pay for another one; finished pairs in all)."""
        remade = self._number(
            """
            SELECT count(DISTINCT j.fingerprint) FROM temp.staged AS s
            JOIN jobs AS j ON j.key = s.key AND j.fingerprint <> s.fingerprint
            JOIN pairs AS old ON old.fingerprint = j.fingerprint AND old.state = 'done'
            LEFT JOIN pairs AS p ON p.fingerprint = s.fingerprint
            WHERE p.state IS NULL OR p.state = 'pending'
            """
        )
        return remade, self._number("SELECT count(*) FROM pairs WHERE state = 'done' AND wanted = 1")

    def paid_for(self, fingerprint: str) -> bool:
        """Whether the store has a pair that needs its inputs no more, for it was taken by the provider."""
        return bool(
            self._number(
                "SELECT count(*) FROM pairs WHERE fingerprint = :f AND state NOT IN ('pending', 'failed')",
                f=fingerprint,
            )
        )

    # Making it so

    def reconcile(self, now: str) -> None:
        """Put the manifest's jobs in the place of those that were, in one transaction of the caller's."""
        execute = self._connection.execute
        execute(_UPSERT_PAIRS, {"pending": State.PENDING, "now": now})
        # Changed rows go before they come again: two jobs may have swapped their outputs.
        execute(f"DELETE FROM jobs WHERE {_GONE} OR {_DIFFERENT}")
        execute(
            """
            INSERT INTO jobs (key, output, labels, position, priority, fingerprint)
            SELECT key, output, labels, position, priority, fingerprint FROM temp.staged AS s
            WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.key = s.key)
            """
        )
        execute("UPDATE pairs SET wanted = 0 WHERE wanted = 1 AND fingerprint NOT IN (SELECT fingerprint FROM jobs)")

    def _number(self, sql: str, **parameters: object) -> int:
        return int(self._connection.execute(sql, parameters).fetchone()[0])


_GONE = """
    NOT EXISTS (SELECT 1 FROM temp.staged AS s WHERE s.key = jobs.key)
    AND NOT EXISTS (SELECT 1 FROM temp.skipped AS k WHERE k.key = jobs.key)
"""
_DIFFERENT = """
    EXISTS (
        SELECT 1 FROM temp.staged AS s WHERE s.key = jobs.key AND (
            s.output, s.labels, s.position, s.priority, s.fingerprint
        ) <> (jobs.output, jobs.labels, jobs.position, jobs.priority, jobs.fingerprint)
    )
"""
_UPSERT_PAIRS = """
    INSERT INTO pairs (
        fingerprint, state, model, take, video, speech, video_sha256, audio_sha256, speech_seconds, billable_seconds,
        upload_bytes, wanted, position, priority, last_output, updated_at
    )
    SELECT fingerprint, :pending, model, take, video, speech, video_sha256, audio_sha256, speech_seconds,
        billable_seconds, upload_bytes, 1, position, priority, output, :now
    FROM temp.staged_pairs WHERE TRUE
    ON CONFLICT (fingerprint) DO UPDATE SET
        wanted = 1, video = excluded.video, speech = excluded.speech, position = excluded.position,
        priority = excluded.priority, last_output = excluded.last_output
    WHERE (wanted, video, speech, pairs.position, pairs.priority, last_output)
        <> (1, excluded.video, excluded.speech, excluded.position, excluded.priority, excluded.last_output)
"""


def _insert(table: str, rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0])
    return f"INSERT INTO temp.{table} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})"


def _place(row: sqlite3.Row) -> Place:
    return Place(line=row["line"], column=row["column_"], row=row["row_"])
