"""All that is known of a batch whose jobs.db is lost, put into a new one.

Only the newest generation of a pair may be alive. One that is known to have been intended, and of which no record says
what became of it, is in doubt.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict

from lipsync_batch.inputs import FINGERPRINT_VERSION
from lipsync_batch.jobs import MODEL, Pair, State
from lipsync_batch.store.hearing import Hearing, Told, ToldFile
from lipsync_batch.store.known import Known
from lipsync_batch.store.ledger import SPENT
from lipsync_batch.store.query import PAGE
from lipsync_batch.store.rows import PAIR_COLUMNS, dumps, pair_values


class Recovery(Hearing, Known):
    """Gathers what is told, then writes it. One transaction of the caller's goes round each of the two."""

    def take_logged(self, batch_id: str) -> None:
        """Take the rows of the provider's log that are about a batch for known."""
        after = ""
        while rows := list(
            self._rows(
                """
                SELECT * FROM temp.logged WHERE batch_id = :b AND client_request_id > :after
                ORDER BY client_request_id LIMIT :limit
                """,
                b=batch_id,
                after=after,
                limit=PAGE,
            )
        ):
            for row in rows:
                self.generation(
                    Told(
                        client_request_id=row["client_request_id"],
                        intended_at=row["created"],
                        generation_id=row["generation_id"],
                        accepted_at=row["created"],
                        quote=row["cost"],
                        outcome="accepted",
                    )
                )
            after = rows[-1]["client_request_id"]

    def redo(self, old: Pair, new: Pair, *, reason: str, now: str) -> None:
        """A job that the manifest calls `old` wants another take of it, as a person had asked."""
        self.name_in_full(new.fingerprint)
        columns = dict(zip(PAIR_COLUMNS, pair_values(new), strict=True))
        names = {**columns, "old": old.fingerprint, "now": now, "reason": reason}
        for statement in _REDO:
            self._connection.execute(statement, names)

    def write(self, now: str) -> None:
        """All that is told of generations and pairs, into the ledger. Each pair ends where a run can take it up."""
        for statement in _WRITE:
            self._connection.execute(
                statement,
                {
                    "now": now,
                    "model": MODEL,
                    "doubt": "jobs.db was lost, and no record says what became of this submit; it may be accepted",
                },
            )

    def reserve_by_estimate(self) -> None:
        """Where nobody knows any more what was reserved, what such a pair should cost is."""
        self._connection.execute(
            """
            UPDATE generations SET reserve = coalesce(
                (SELECT estimate FROM pairs AS p WHERE p.fingerprint = generations.fingerprint), 0
            ) WHERE reserve < 0
            """
        )

    def files(self) -> Iterator[list[ToldFile]]:
        """Finished videos that a report tells of, and whose pair is at the provider, a page at a time."""
        after = ""
        while rows := list(
            self._rows(
                """
                SELECT t.* FROM temp.told_files AS t JOIN pairs AS p USING (fingerprint)
                WHERE p.state = 'submitted' AND t.path > :after ORDER BY t.path LIMIT :limit
                """,
                after=after,
                limit=PAGE,
            )
        ):
            yield [ToldFile(**dict(row)) for row in rows]
            after = rows[-1]["path"]

    def in_place(self, file: ToldFile) -> None:
        """The video of a pair stands there, byte for byte as it was reported."""
        columns = asdict(file)
        self._connection.execute(
            """
            UPDATE pairs SET bytes = :bytes, sha256 = :sha256, duration_seconds = :duration_seconds,
                suspect = :suspect, updated_at = coalesce(:finished_at, updated_at) WHERE fingerprint = :fingerprint
            """,
            columns,
        )
        self._connection.execute("INSERT OR REPLACE INTO outputs VALUES (:path, :fingerprint, 0)", columns)

    def in_superseded(self, path: str, begun: str) -> None:
        """A video that was put aside: that of the pair whose digest begins so, if no job wants that any more."""
        self._connection.execute(
            """
            INSERT OR IGNORE INTO outputs SELECT :path, fingerprint, 1 FROM pairs
            WHERE fingerprint BETWEEN :first AND :last AND wanted = 0
                AND EXISTS (SELECT 1 FROM generations AS g WHERE g.fingerprint = pairs.fingerprint)
            LIMIT 1
            """,
            {
                "path": path,
                "first": f"{FINGERPRINT_VERSION}:{begun}",
                "last": f"{FINGERPRINT_VERSION}:{begun}g",
            },
        )

    def finish(self) -> int:
        """Pairs whose video stands in its place are done; how many."""
        self._connection.execute(
            """
            UPDATE generations SET outcome = 'finished' WHERE live = 1 AND finished_at IS NOT NULL AND fingerprint IN (
                SELECT fingerprint FROM outputs WHERE superseded = 0
            )
            """
        )
        return self._connection.execute(
            """
            UPDATE pairs SET state = 'done', error_code = NULL, error_message = NULL
            WHERE state = 'submitted' AND fingerprint IN (SELECT fingerprint FROM outputs WHERE superseded = 0)
            """
        ).rowcount

    def unjournalled(self) -> Iterator[str]:
        """Lines for run.log that it lacks: with them it tells once more all that another rebuilding needs."""
        for row in self._rows(_UNJOURNALLED):
            yield from _generation_as_told(row)
        for row in self._rows(_REDOS_UNJOURNALLED):
            moved = {"event": "moved", "name": row["name"], "pair": row["successor"], "old": State.DONE}
            yield dumps({"at": row["at"], **moved, "new": State.PENDING, "message": f"redo: {row['reason']}"})


def _generation_as_told(row: sqlite3.Row) -> Iterator[str]:
    """What run.log would have of a generation, had it been there: its intent, the answer, and its end."""
    ours = {"client_request_id": row["client_request_id"]}
    if not row["journalled"] & 1:
        intent = {"pair": row["fingerprint"], "attempt": row["attempt"], "reserve": row["reserve"]}
        yield dumps({"at": row["intended_at"], "event": "intent", **ours, **intent})
    if row["generation_id"] is not None and not row["journalled"] & 2:
        answer = {"id": row["generation_id"], "quote": row["quote"]}
        yield dumps({"at": row["accepted_at"], "event": "accepted", **ours, **answer})
    if row["is_over"] and not row["journalled"]:
        yield dumps(_end_as_told(row))


def _end_as_told(row: sqlite3.Row) -> dict[str, object]:
    """How a generation ended of which only a report tells, as run.log would have told it."""
    old = State.SUBMITTED if row["generation_id"] else State.SUBMITTING
    if row["outcome"] in SPENT:
        old = State.UNCLEAR
    new = State.FAILED if row["state"] == State.FAILED else State.PENDING
    moved = {"event": "moved", "name": row["last_output"], "pair": row["fingerprint"], "old": old, "new": new}
    return {"at": row["finished_at"] or row["accepted_at"] or row["intended_at"], **moved, "code": row["outcome"]}


_REDO = (
    """
    INSERT OR IGNORE INTO pairs (
        fingerprint, state, model, take, video, speech, video_sha256, audio_sha256, speech_seconds, billable_seconds,
        upload_bytes, wanted, position, priority, last_output, updated_at
    )
    SELECT :fingerprint, 'pending', model, :take, video, speech, video_sha256, audio_sha256, speech_seconds,
        billable_seconds, upload_bytes, wanted, position, priority, last_output, :now
    FROM pairs WHERE fingerprint = :old
    """,
    "INSERT OR REPLACE INTO redos VALUES (:old, :fingerprint, :take, :reason, :now)",
    "UPDATE jobs SET fingerprint = :fingerprint WHERE fingerprint = :old",
    "UPDATE pairs SET wanted = 0 WHERE fingerprint = :old",
    "UPDATE pairs SET wanted = 1 WHERE fingerprint = :fingerprint",
)
_NOBODY_KNOWS = json.dumps({"url": ""})
_WRITE = (
    # Pairs that no row names any more, and that may have been paid for: what they were made of nobody knows any more.
    f"""
    INSERT INTO pairs (
        fingerprint, state, model, take, video, speech, billable_seconds, upload_bytes, wanted, position, priority,
        last_output, updated_at
    )
    SELECT fingerprint, 'pending', :model, 1, '{_NOBODY_KNOWS}', '{_NOBODY_KNOWS}', 0, 0, 0, 0, 0,
        coalesce(CASE WHEN t.name LIKE '%.mp4' THEN t.name ELSE t.name || '.mp4' END,
            'removed-' || substr(fingerprint, {len(FINGERPRINT_VERSION) + 2}, 8) || '.mp4'), :now
    FROM (SELECT DISTINCT fingerprint FROM temp.told_generations) LEFT JOIN temp.told_pairs AS t USING (fingerprint)
    WHERE fingerprint NOT IN (SELECT fingerprint FROM pairs)
    """,
    """
    INSERT INTO generations (
        client_request_id, fingerprint, attempt, generation_id, live, intended_at, accepted_at, finished_at, reserve,
        quote, outcome
    )
    SELECT client_request_id, fingerprint, attempt, generation_id,
        is_over = 0 AND attempt = max(attempt) OVER (PARTITION BY fingerprint),
        coalesce(intended_at, accepted_at, :now),
        CASE WHEN generation_id IS NOT NULL THEN coalesce(accepted_at, intended_at, :now) END,
        finished_at, coalesce(reserve, -1), quote,
        coalesce(outcome, CASE WHEN generation_id IS NULL THEN 'unclear' ELSE 'accepted' END)
    FROM temp.told_generations
    """,
    """
    UPDATE pairs SET state = 'submitted', error_code = t.code, error_message = t.message,
        provider_errors = coalesce(t.provider_errors, 0)
    FROM generations AS g LEFT JOIN temp.told_pairs AS t ON t.fingerprint = g.fingerprint
    WHERE g.fingerprint = pairs.fingerprint AND g.live = 1 AND g.generation_id IS NOT NULL
    """,
    """
    UPDATE pairs SET state = 'unclear', error_code = coalesce(t.code, 'interrupted'),
        error_message = coalesce(t.message, :doubt)
    FROM generations AS g LEFT JOIN temp.told_pairs AS t ON t.fingerprint = g.fingerprint AND t.state = 'unclear'
    WHERE g.fingerprint = pairs.fingerprint AND g.live = 1 AND g.generation_id IS NULL
    """,
    """
    UPDATE pairs SET error_code = t.code, error_message = t.message, provider_errors = t.provider_errors
    FROM temp.told_pairs AS t WHERE t.fingerprint = pairs.fingerprint AND pairs.state = 'pending'
    """,
    # What had failed stays so until a person says `retry`, which polls it again if it has an id.
    """
    UPDATE pairs SET state = 'failed' FROM temp.told_pairs AS t
    WHERE t.fingerprint = pairs.fingerprint AND t.state = 'failed' AND pairs.state IN ('pending', 'submitted')
        AND t.attempt >= (SELECT max(attempt) FROM generations AS g WHERE g.fingerprint = pairs.fingerprint)
    """,
)
_UNJOURNALLED = """
    SELECT g.*, t.journalled, t.is_over, p.state, p.last_output FROM generations AS g
    JOIN temp.told_generations AS t USING (client_request_id) JOIN pairs AS p ON p.fingerprint = g.fingerprint
    WHERE t.journalled < 3
"""
_REDOS_UNJOURNALLED = """
    SELECT r.successor, r.asked_at AS at, r.reason, p.last_output AS name
    FROM redos AS r JOIN pairs AS p ON p.fingerprint = r.successor
    WHERE r.successor NOT IN (SELECT successor FROM temp.told_redos WHERE journalled = 1)
    UNION ALL SELECT successor, at, reason, '' FROM temp.told_redos
    WHERE journalled = 0 AND successor NOT IN (SELECT successor FROM redos)
"""
