"""A manifest against the store, in SQL: what a million rows would change, without holding them in memory.

The jobs of a manifest go into a temporary table first. There they are checked against each other, compared with what
the store knows, and then, in one transaction, take the place of the jobs that were. Pairs are matched first, over all
pairs ever seen: a row that was renamed, moved, removed and brought back costs nothing.

The table is filled from its end, and its indices are made when it is whole: sorted at once, they cost a fifth of what
they would cost row by row.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from lipsync_batch.errors import Problem
from lipsync_batch.jobs import Job, Pair, Place, Selection, State
from lipsync_batch.store.changed_inputs import COMPARED, OLD, Input, changed_inputs
from lipsync_batch.store.labels import no_such_jobs, no_such_label
from lipsync_batch.store.query import chosen
from lipsync_batch.store.rows import PAIR_COLUMNS, SHORT, dumps, labels_to_json, pair_values

CHUNK = 1_000
CACHE_KIB = 40 * 1024
"""What SQLite may hold of the temporary tables in memory; the rest is in a file."""

_COLUMNS = (
    *("position", "key", "output", "folded", "labels", "priority", "line", "column_", "row_"),
    *PAIR_COLUMNS,
    *("speech_seconds", "billable_seconds", "upload_bytes"),
)
_TABLES = f"""
PRAGMA temp.cache_size = -{CACHE_KIB};
DROP TABLE IF EXISTS temp.staged;
DROP TABLE IF EXISTS temp.staged_folders;
DROP TABLE IF EXISTS temp.skipped;
CREATE TEMP TABLE staged (
    position INTEGER PRIMARY KEY, key TEXT, output TEXT, folded TEXT, labels TEXT, priority INTEGER,
    line INTEGER, column_ INTEGER, row_ INTEGER,
    fingerprint TEXT, model TEXT, take INTEGER, video TEXT, speech TEXT, video_sha256 TEXT, audio_sha256 TEXT,
    speech_seconds REAL, billable_seconds REAL, upload_bytes INTEGER
);
CREATE TEMP TABLE staged_folders (folder TEXT PRIMARY KEY);
CREATE TEMP TABLE skipped (key TEXT PRIMARY KEY);
"""
_BY_PAIR = """
CREATE INDEX IF NOT EXISTS temp.staged_by_pair ON staged (fingerprint, priority, billable_seconds, upload_bytes)
"""
_NAMES = (("key", "key"), ("folded", "output"))
"""Columns in which no two jobs may have the same, and what that is for people."""
_INSERT = f"INSERT INTO temp.staged ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


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

    @classmethod
    def nothing(cls) -> Bill:
        return cls(pairs=0, billable_seconds=0.0, upload_bytes=0)


@dataclass(kw_only=True, slots=True)
class Reason:
    """Rows that changed in the same inputs."""

    inputs: tuple[Input, ...]
    jobs: int = 0
    keys: list[str] = field(default_factory=list)
    """The first few, in manifest order."""


@dataclass(kw_only=True, slots=True)
class Share:
    """The part of a plan that the jobs with one value of a label have."""

    changes: dict[Change, int] = field(default_factory=lambda: dict.fromkeys(Change, 0))
    bill: Bill = field(default_factory=Bill.nothing)
    """A pair that several values want is in that of its first job, so that all add up."""


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
# Several jobs may want the same pair: the first in manifest order names it, the highest priority counts. Beside a lone
# min(), the other columns are those of its row: https://www.sqlite.org/lang_select.html#bareagg
_FIRST = """
    SELECT fingerprint, min(position) AS position, billable_seconds, upload_bytes FROM temp.staged GROUP BY fingerprint
"""
_PAIRS = """
    SELECT fingerprint, min(position) AS position, max(priority) AS priority FROM temp.staged GROUP BY fingerprint
"""
_JOINED = f"""
    SELECT s.*, {_CHANGE} AS change, p.state FROM temp.staged AS s
    LEFT JOIN jobs AS j ON j.key = s.key LEFT JOIN pairs AS p ON p.fingerprint = s.fingerprint
"""


def fold(output: str) -> str:
    """Outputs that some file system takes for the same file have the same folded name."""
    return output.lower() if output.isascii() else unicodedata.normalize("NFC", output).casefold()


class Staging:
    """The jobs of one manifest, on their way into the store."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._connection.executescript(_TABLES)
        self._jobs: list[tuple[object, ...]] = []
        self._folders: set[str] = set()
        self._repeated: list[tuple[str, str]] = []
        """Columns in which two jobs have the same."""
        self._condition = "TRUE"
        self._parameters: dict[str, object] = {}
        self._condition_on_old = "TRUE"
        """The same for the jobs that the store has; they know no limit."""

    def narrow(self, selection: Selection) -> int:
        """Let what is asked about changes be about some jobs only; how many. UsageError where there are none at all."""
        self._condition, self._parameters = chosen(selection, "s")
        self._condition_on_old, _ = chosen(selection, "jobs")
        if selection.limit is not None:
            self._cut_off(selection.limit)
        if selection.is_all:
            return self._number("SELECT count(*) FROM temp.staged")
        number = self._number(f"SELECT count(*) FROM ({self._joined})", **self._parameters)
        if not number and not self._removed():
            raise no_such_jobs(self._connection, "temp.staged", selection)
        return number

    def _cut_off(self, limit: int) -> None:
        """Leave out the jobs behind the first so many that are not done."""
        row = self._connection.execute(
            f"SELECT position FROM ({self._joined}) WHERE change <> 'done' ORDER BY position LIMIT 1 OFFSET :behind",
            {**self._parameters, "behind": limit},
        ).fetchone()
        if row is not None:
            self._condition += " AND (s.position < :cut OR p.state = 'done')"
            self._parameters["cut"] = row["position"]

    @property
    def _chosen(self) -> str:
        """Whether a pair `t` is wanted by a job that the questions are about."""
        if self._condition == "TRUE":
            return "TRUE"
        return f"EXISTS (SELECT 1 FROM temp.staged AS s WHERE s.fingerprint = t.fingerprint AND {self._condition})"

    @property
    def _joined(self) -> str:
        return f"{_JOINED} WHERE {self._condition}"

    def add(self, job: Job, pair: Pair, facts: Facts) -> None:
        """Take a job in. Jobs come in manifest order; several may want the same pair."""
        folded, place = fold(job.output), job.place
        self._jobs.append(
            (
                *(job.position, job.key, job.output, folded, labels_to_json(job.labels), job.priority),
                *(place.line, place.column, place.row),
                *pair_values(pair),
                *(facts.speech_seconds, facts.billable_seconds, facts.upload_bytes),
            )
        )
        folder = folded.rpartition("/")[0]
        while folder and folder not in self._folders:
            self._folders.add(folder)
            folder = folder.rpartition("/")[0]
        if len(self._jobs) >= CHUNK:
            self._write()

    def skip(self, key: str) -> None:
        """A job that cannot be used now: what the store has under its key stays as it is."""
        self._connection.execute("INSERT OR IGNORE INTO temp.skipped VALUES (:key)", {"key": key})

    def flush(self) -> None:
        """That was the last job: from here on questions can be asked."""
        self._write()
        if self._number("SELECT EXISTS (SELECT 1 FROM pairs WHERE length(fingerprint) = :short)", short=SHORT):
            self._connection.execute(_KNOWN_IN_SHORT, {"short": SHORT})
        self._connection.execute(_BY_PAIR)
        self._repeated = [(column, what) for column, what in _NAMES if not self._is_unique(column)]

    def _is_unique(self, column: str) -> bool:
        """Make an index of a column; whether no value is in it twice, which making it shows for nothing."""
        create = f"INDEX IF NOT EXISTS temp.staged_by_{column} ON staged ({column})"
        try:
            self._connection.execute(f"CREATE UNIQUE {create}")
        except sqlite3.IntegrityError:
            self._connection.execute(f"CREATE {create}")
            return False
        return True

    def _write(self) -> None:
        connection = self._connection
        connection.execute("BEGIN")
        connection.executemany(_INSERT, self._jobs)
        connection.executemany("INSERT OR IGNORE INTO temp.staged_folders VALUES (?)", [(f,) for f in self._folders])
        connection.execute("COMMIT")
        self._jobs.clear()
        self._folders.clear()

    def problems(self, limit: int) -> Iterator[Problem]:
        """Jobs that get in each other's way: keys or outputs used twice, an output that is another one's folder."""
        for column, what in self._repeated:
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
        counts[Change.REMOVED] = self._removed()
        return counts

    def _removed(self) -> int:
        return self._number(f"SELECT count(*) FROM jobs WHERE {self._gone}", **self._parameters)

    @property
    def _gone(self) -> str:
        return f"{_GONE} AND {self._condition_on_old}"

    def removed_keys(self, limit: int) -> list[str]:
        """The first of the jobs that are no longer in the manifest."""
        rows = self._connection.execute(
            f"SELECT key FROM jobs WHERE {self._gone} ORDER BY position LIMIT :most",
            {**self._parameters, "most": limit},
        )
        return [row["key"] for row in rows]

    def reasons(self, keys: int) -> list[Reason]:
        """Which inputs of the changed rows are other ones, the most frequent first; the first so many keys of each."""
        found: dict[tuple[Input, ...], Reason] = {}
        rows = self._connection.execute(_CHANGED.format(condition=self._condition), self._parameters)
        for row in rows:
            inputs = changed_inputs(row)
            reason = found.setdefault(inputs, Reason(inputs=inputs))
            reason.jobs += 1
            if len(reason.keys) < keys:
                reason.keys.append(row["key"])
        return sorted(found.values(), key=lambda reason: -reason.jobs)

    def shares(self, label: str, limit: int) -> tuple[dict[str, Share], int]:
        """(what each value of a label has of the plan, by value; how many more values there are).

        Jobs without the label are under '', those of the values beyond the first `limit` are in none. UsageError where
        no job has the label.
        """
        path: dict[str, object] = {"path": f"$.{dumps(label)}"}
        values, more = self._values(path, limit)
        if values == [""]:
            raise no_such_label(self._connection, "temp.staged", label)
        shares = {value: Share() for value in values}
        asked = {**self._parameters, **path, "last": values[-1] if values else ""}
        for row in self._connection.execute(_CHANGES_BY.format(joined=self._joined, gone=self._gone), asked):
            shares[row["value"]].changes[Change(row["change"])] = row["n"]
        for row in self._connection.execute(_BILL_BY.format(condition=self._condition), asked):
            shares[row["value"]].bill = _bill(row)
        return shares, more

    def _values(self, path: dict[str, object], limit: int) -> tuple[list[str], int]:
        asked = {**self._parameters, **path}
        values = f"""
            SELECT DISTINCT {_VALUE} AS value FROM ({self._joined})
            UNION SELECT {_VALUE} FROM jobs WHERE {self._gone}
        """
        rows = self._connection.execute(f"{values} ORDER BY 1 LIMIT :most", {**asked, "most": limit + 1})
        first = [row["value"] for row in rows]
        if len(first) <= limit:
            return first, 0
        return first[:limit], self._number(f"SELECT count(*) FROM ({values})", **asked) - limit

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
            SELECT {_SUMS} FROM ({_FIRST}) AS t LEFT JOIN pairs AS p USING (fingerprint)
            WHERE (p.state IS NULL OR p.state = 'pending') AND {self._chosen}
            """,
            self._parameters,
        ).fetchone()
        return _bill(row)

    def resuming(self) -> int:
        """How many pairs are at the provider, or finished there."""
        return self._number(
            f"""
            SELECT count(*) FROM ({_FIRST}) AS t JOIN pairs AS p USING (fingerprint)
            WHERE p.state IN ('submitting', 'submitted', 'ready') AND {self._chosen}
            """,
            **self._parameters,
        )

    def remade(self) -> tuple[int, int]:
        """(finished pairs that jobs would turn away from, to pay for another one; finished pairs in all)."""
        remade = self._number(
            """
            SELECT count(DISTINCT j.fingerprint) FROM jobs AS j
            CROSS JOIN temp.staged AS s ON s.key = j.key AND s.fingerprint <> j.fingerprint
            JOIN pairs AS old ON old.fingerprint = j.fingerprint AND old.state = 'done'
            LEFT JOIN pairs AS p ON p.fingerprint = s.fingerprint
            WHERE p.state IS NULL OR p.state = 'pending'
            """
        )
        return remade, self._number("SELECT count(*) FROM pairs WHERE state = 'done' AND wanted = 1")

    def outputs(self) -> Iterator[str]:
        """Where the videos of all jobs go, in manifest order."""
        return (row["output"] for row in self._connection.execute("SELECT output FROM temp.staged ORDER BY position"))

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
        gone = execute(f"DELETE FROM jobs WHERE {_GONE} OR {_DIFFERENT}").rowcount
        new = execute(
            """
            INSERT INTO jobs (key, output, labels, position, priority, fingerprint)
            SELECT key, output, labels, position, priority, fingerprint FROM temp.staged AS s
            WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.key = s.key)
            """
        ).rowcount
        if gone or new:
            execute("DELETE FROM placed")
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
# The provider's log is all that told of some pairs when jobs.db was made again, and it knows no more of their names.
_KNOWN_IN_SHORT = """
    UPDATE temp.staged SET fingerprint = substr(fingerprint, 1, :short)
    WHERE substr(fingerprint, 1, :short) IN (SELECT fingerprint FROM pairs WHERE length(fingerprint) = :short)
"""
_UPSERT_PAIRS = f"""
    INSERT INTO pairs (
        fingerprint, state, model, take, video, speech, video_sha256, audio_sha256, speech_seconds, billable_seconds,
        upload_bytes, wanted, position, priority, last_output, updated_at
    )
    SELECT s.fingerprint, :pending, model, take, video, speech, video_sha256, audio_sha256, speech_seconds,
        billable_seconds, upload_bytes, 1, t.position, t.priority, output, :now
    FROM ({_PAIRS}) AS t CROSS JOIN temp.staged AS s ON s.position = t.position WHERE TRUE
    ON CONFLICT (fingerprint) DO UPDATE SET
        wanted = 1, video = excluded.video, speech = excluded.speech, position = excluded.position,
        priority = excluded.priority, last_output = excluded.last_output, take = excluded.take,
        video_sha256 = excluded.video_sha256, audio_sha256 = excluded.audio_sha256,
        speech_seconds = excluded.speech_seconds, billable_seconds = excluded.billable_seconds,
        upload_bytes = excluded.upload_bytes
    WHERE (wanted, video, speech, pairs.position, pairs.priority, last_output)
        <> (1, excluded.video, excluded.speech, excluded.position, excluded.priority, excluded.last_output)
"""


_CHANGED = f"""
    SELECT s.key, {", ".join(f"s.{name}, o.{name} AS {OLD}{name}" for name in COMPARED)},
        EXISTS (SELECT 1 FROM redos AS r WHERE r.successor = o.fingerprint) AS redone
    FROM temp.staged AS s JOIN jobs AS j ON j.key = s.key JOIN pairs AS o ON o.fingerprint = j.fingerprint
    LEFT JOIN pairs AS p ON p.fingerprint = s.fingerprint
    WHERE j.fingerprint <> s.fingerprint AND (p.state IS NULL OR p.state = 'pending') AND {{condition}}
    ORDER BY s.position
"""
_VALUE = "coalesce(json_extract(labels, :path), '')"
_CHANGES_BY = f"""
    SELECT value, change, count(*) AS n FROM (
        SELECT {_VALUE} AS value, change FROM ({{joined}})
        UNION ALL SELECT {_VALUE}, 'removed' FROM jobs WHERE {{gone}}
    ) WHERE value <= :last GROUP BY 1, 2
"""
_SUMS = "count(*) AS n, total(ceil(t.billable_seconds)) AS seconds, total(t.upload_bytes) AS bytes"
_BILL_BY = f"""
    SELECT {_VALUE} AS value, {_SUMS} FROM (
        SELECT s.fingerprint, min(s.position) AS position, s.billable_seconds, s.upload_bytes, s.labels
        FROM temp.staged AS s LEFT JOIN pairs AS p USING (fingerprint)
        WHERE (p.state IS NULL OR p.state = 'pending') AND {{condition}} GROUP BY s.fingerprint
    ) AS t WHERE value <= :last GROUP BY 1
"""


def _bill(row: sqlite3.Row) -> Bill:
    return Bill(pairs=row["n"], billable_seconds=row["seconds"], upload_bytes=int(row["bytes"]))


def _place(row: sqlite3.Row) -> Place:
    return Place(line=row["line"], column=row["column_"], row=row["row_"])
