"""What other records tell of a batch whose jobs.db is lost, taken down in temporary tables.

Several kinds of records speak of the same generations: a copy of jobs.db, our journal (run.log), a report, and the
provider's log. They are read in this order. Each adds to what is known of one generation, and none takes away; a record
that is read twice adds nothing.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import asdict, dataclass
from datetime import datetime

from lipsync_batch.clock import iso
from lipsync_batch.inputs import FINGERPRINT_VERSION
from lipsync_batch.jobs import State
from lipsync_batch.store.inputs import INPUT_COLUMNS
from lipsync_batch.store.ledger import SPENT
from lipsync_batch.store.query import Query
from lipsync_batch.store.rows import SHORT

_ATTEMPT = re.compile(r"[0-9]{1,9}")
LOCAL_FAULTS = frozenset({"lost", "no_link", "output_gone"})
"""Why we gave up a generation that the provider had not: its id stays."""

_TABLES = """
PRAGMA temp.cache_size = -20480;
CREATE TEMP TABLE told_generations (
    client_request_id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, attempt INTEGER NOT NULL, intended_at TEXT,
    reserve INTEGER, generation_id TEXT, accepted_at TEXT, finished_at TEXT, quote INTEGER, outcome TEXT,
    is_over INTEGER NOT NULL DEFAULT 0, journalled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX temp.told_by_pair ON told_generations (fingerprint, attempt);
CREATE INDEX temp.told_by_id ON told_generations (generation_id);
CREATE TEMP TABLE told_pairs (
    fingerprint TEXT PRIMARY KEY, at TEXT NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL, code TEXT,
    message TEXT, name TEXT, provider_errors INTEGER NOT NULL DEFAULT 0
);
CREATE TEMP TABLE told_redos (
    successor TEXT PRIMARY KEY, at TEXT NOT NULL, reason TEXT NOT NULL, journalled INTEGER NOT NULL
);
CREATE TEMP TABLE told_files (
    path TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, bytes INTEGER, sha256 TEXT NOT NULL, duration_seconds REAL,
    suspect TEXT, finished_at TEXT
);
CREATE TEMP TABLE logged (
    client_request_id TEXT PRIMARY KEY, batch_id TEXT, short TEXT, attempt INTEGER, generation_id TEXT, created TEXT,
    cost INTEGER, failed INTEGER NOT NULL
);
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestId:
    """The parts of a client request id of ours."""

    batch_id: str
    short: str
    """The beginning of the pair's fingerprint."""
    attempt: int

    @classmethod
    def parse(cls, text: str) -> RequestId | None:
        """None where it is none of ours.

        >>> RequestId.parse("lb1.9f86d0.0123456789abcdef01234567.2").attempt
        2
        """
        match text.split("."):
            case ["lb1", batch_id, digest, attempt] if batch_id and len(digest) == 24 and _ATTEMPT.fullmatch(attempt):
                return cls(batch_id=batch_id, short=f"{FINGERPRINT_VERSION}:{digest}", attempt=int(attempt))
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What one record tells of a generation; None where it says nothing. Instants as `iso`, money in micro-USD."""

    client_request_id: str
    fingerprint: str | None = None
    intended_at: str | None = None
    reserve: int | None = None
    generation_id: str | None = None
    accepted_at: str | None = None
    finished_at: str | None = None
    quote: int | None = None
    outcome: str | None = None
    is_over: bool = False
    """Nothing of it runs, or will be fetched, any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldFile:
    """A finished video as a report, or a copy of jobs.db, tells of it."""

    path: str
    fingerprint: str
    bytes: int | None
    sha256: str
    duration_seconds: float | None
    suspect: str | None
    finished_at: str | None


class Hearing(Query):
    """Takes down what each record tells, within a transaction of the caller's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        connection.executescript(_TABLES)
        self._some_are_short = False
        """Whether the pair of a generation is known by the beginning of its name alone."""
        self._all_until = ""
        """Up to there a copy of jobs.db has told all that came of pairs."""

    def generation(self, told: Told, *, journalled: bool = False) -> None:
        """What a record tells of a generation. One with an id that another one has is left out: it is mixed up.

        `journalled` says that it is in the run.log that later runs append to.
        """
        parts = RequestId.parse(told.client_request_id)
        if parts is None:
            return
        if told.generation_id is not None and self._is_another_ones(told):
            return
        fingerprint = told.fingerprint or self._in_full(parts.short)
        self._some_are_short |= len(fingerprint) == SHORT
        self._connection.execute(
            _ADD,
            {
                **asdict(told),
                "fingerprint": fingerprint,
                "attempt": parts.attempt,
                "is_over": int(told.is_over),
                "journalled": int(journalled),
            },
        )

    def _is_another_ones(self, told: Told) -> bool:
        row = self._one(
            "SELECT 1 FROM temp.told_generations WHERE generation_id = :id AND client_request_id <> :ours",
            id=told.generation_id,
            ours=told.client_request_id,
        )
        return row is not None

    def _in_full(self, short: str) -> str:
        """The fingerprint that begins so, of all that are known; what begins so where none is."""
        for table in ("pairs", "temp.told_generations", "temp.told_pairs"):
            row = self._one(
                f"SELECT max(fingerprint) AS fingerprint FROM {table} WHERE fingerprint BETWEEN :short AND :last",
                short=short,
                last=f"{short}g",
            )
            if row is not None and row["fingerprint"] is not None:
                return str(row["fingerprint"])
        return short

    def name_in_full(self, fingerprint: str | None = None) -> None:
        """Where a generation's pair is known by the beginning of its name alone: the name of a pair that begins so.

        That of the pair that is given, or of one that the manifest names.
        """
        if not self._some_are_short:
            return
        if fingerprint is not None:
            self._connection.execute(
                "UPDATE temp.told_generations SET fingerprint = :full WHERE fingerprint = :short",
                {"full": fingerprint, "short": fingerprint[:SHORT]},
            )
            return
        self._connection.execute(_NAME_IN_FULL, {"short": SHORT})

    def moved(
        self, fingerprint: str, old: State, new: State, *, at: str, name: str, code: str | None, message: str | None
    ) -> None:
        """A pair went from one state to another: what that says of its newest generation, and of itself.

        What is older than what is known of the pair, or the same, says nothing: a journal may be read twice.
        """
        if at <= self._all_until:
            return
        known = self._one("SELECT at, state FROM temp.told_pairs WHERE fingerprint = :f", f=fingerprint)
        if known is not None and (known["at"] > at or (known["at"], known["state"]) == (at, new)):
            return
        self.name_in_full(fingerprint)
        self._end(fingerprint, old, new, at=at, code=code)
        newest = self._one("SELECT max(attempt) AS n FROM temp.told_generations WHERE fingerprint = :f", f=fingerprint)
        attempt = 0 if newest is None else newest["n"] or 0
        self._pair(fingerprint, new, at=at, name=name, code=code, message=message, attempt=attempt)
        if (old, new) == (State.SUBMITTED, State.PENDING):
            self._connection.execute(
                "UPDATE temp.told_pairs SET provider_errors = provider_errors + 1 WHERE fingerprint = :f",
                {"f": fingerprint},
            )

    def _end(self, fingerprint: str, old: State, new: State, *, at: str, code: str | None) -> None:
        """What a move says of the newest generation that was intended by then."""
        change = _said_by(old, new, code)
        if change is not None:
            self._connection.execute(
                f"""
                UPDATE temp.told_generations SET {change} WHERE client_request_id = (
                    SELECT client_request_id FROM temp.told_generations
                    WHERE fingerprint = :f AND (intended_at IS NULL OR intended_at <= :at)
                    ORDER BY attempt DESC LIMIT 1
                )
                """,
                {"f": fingerprint, "at": at, "code": _no_word_of_ours(code)},
            )

    def asked_again(self, successor: str, *, at: str, reason: str, journalled: bool) -> None:
        """A person wanted a pair in the place of a finished one: the next take of it."""
        self._connection.execute(
            """
            INSERT INTO temp.told_redos VALUES (:successor, :at, :reason, :journalled)
            ON CONFLICT (successor) DO UPDATE SET journalled = journalled OR excluded.journalled
            """,
            {"successor": successor, "at": at, "reason": reason, "journalled": int(journalled)},
        )

    def stood(
        self,
        fingerprint: str,
        state: State,
        *,
        at: str,
        name: str,
        code: str | None,
        message: str | None,
        attempt: int,
        provider_errors: int,
    ) -> None:
        """A pair as a copy of jobs.db shows it. Copies are read before all else."""
        self._pair(fingerprint, state, at=at, name=name, code=code, message=message, attempt=attempt)
        self._connection.execute(
            "UPDATE temp.told_pairs SET provider_errors = :errors WHERE fingerprint = :f",
            {"f": fingerprint, "errors": provider_errors},
        )

    def knows_all_until(self, at: str) -> None:
        """Of what happened to pairs up to an instant, a copy of jobs.db has told all."""
        self._all_until = max(self._all_until, at)

    def input(self, row: sqlite3.Row) -> None:
        """What a local input was when it was last read, as a row of a jobs.db."""
        self._connection.execute(
            f"INSERT OR IGNORE INTO inputs ({INPUT_COLUMNS}) VALUES (:{INPUT_COLUMNS.replace(', ', ', :')})", dict(row)
        )

    def reported(self, fingerprint: str, state: State, *, attempt: int, name: str, code: str, message: str) -> None:
        """A pair as a report shows it: that counts where no journal tells of the pair, or only of earlier attempts."""
        known = self._one("SELECT attempt FROM temp.told_pairs WHERE fingerprint = :f", f=fingerprint)
        if known is not None and known["attempt"] >= attempt:
            return
        self._pair(fingerprint, state, at="", name=name, code=code or None, message=message or None, attempt=attempt)
        if state in (State.PENDING, State.FAILED):
            self._connection.execute(
                _REPORTED_END,
                {
                    "f": fingerprint,
                    "attempt": attempt,
                    "code": _no_word_of_ours(code),
                    "given_up": code == "given_up",
                    "keeps_id": state is State.FAILED and code != "given_up",
                },
            )

    def _pair(
        self,
        fingerprint: str,
        state: State,
        *,
        at: str,
        name: str,
        code: str | None,
        message: str | None,
        attempt: int,
    ) -> None:
        """What is known of a pair; `attempt` is its newest one that this can know of."""
        self._connection.execute(
            """
            INSERT INTO temp.told_pairs (fingerprint, at, attempt, state, code, message, name)
            VALUES (:fingerprint, :at, :attempt, :state, :code, :message, :name)
            ON CONFLICT (fingerprint) DO UPDATE SET at = excluded.at, attempt = excluded.attempt,
                state = excluded.state, code = excluded.code, message = excluded.message, name = excluded.name
            """,
            {
                "fingerprint": fingerprint,
                "at": at,
                "attempt": attempt,
                "state": state,
                "code": code,
                "message": message,
                "name": name,
            },
        )

    def file(self, told: ToldFile) -> None:
        """A report says what a finished video is, and where it stood."""
        self._connection.execute(
            """
            INSERT OR REPLACE INTO temp.told_files
            VALUES (:path, :fingerprint, :bytes, :sha256, :duration_seconds, :suspect, :finished_at)
            """,
            asdict(told),
        )

    def logged(
        self, client_request_id: str, generation_id: str, *, created: datetime | None, cost: int | None, failed: bool
    ) -> None:
        """A row of the provider's log. Rows that are none of ours are left out."""
        parts = RequestId.parse(client_request_id)
        if parts is not None:
            self._connection.execute(
                """
                INSERT OR IGNORE INTO temp.logged
                VALUES (:id, :batch_id, :short, :attempt, :theirs, :created, :cost, :failed)
                """,
                {
                    "id": client_request_id,
                    "batch_id": parts.batch_id,
                    "short": parts.short,
                    "attempt": parts.attempt,
                    "theirs": generation_id,
                    "created": iso(created) if created else None,
                    "cost": cost,
                    "failed": int(failed),
                },
            )


def _said_by(old: State, new: State, code: str | None) -> str | None:
    """What a move of a pair says of its generation, as an assignment in SQL; None where it says nothing."""
    over = "is_over = 1, outcome ="
    match old, new:
        case State.SUBMITTING, State.PENDING | State.FAILED:
            return f"{over} coalesce(:code, 'not taken')"
        case _, State.UNCLEAR:
            return "outcome = 'unclear'"
        case State.UNCLEAR, State.PENDING:
            return f"{over} 'unclear'"
        case State.UNCLEAR, State.FAILED:
            return f"{over} 'given_up'"
        case State.SUBMITTED, State.READY:
            return "outcome = 'finished', finished_at = coalesce(finished_at, :at)"
        case State.SUBMITTED, State.PENDING:
            return f"{over} 'provider_error', finished_at = :at"
        case State.SUBMITTED, State.FAILED if code not in LOCAL_FAULTS:
            return f"{over} 'provider_error', finished_at = :at"
        case State.FAILED, State.PENDING:
            return "is_over = 1"
    return None


def _no_word_of_ours(code: str | None) -> str | None:
    """The provider's word for why it did not take a submit, which may be one of ours for something else."""
    return f"refused: {code}" if code in SPENT else code


_ADD = """
INSERT INTO temp.told_generations (
    client_request_id, fingerprint, attempt, intended_at, reserve, generation_id, accepted_at, finished_at, quote,
    outcome, is_over, journalled
) VALUES (
    :client_request_id, :fingerprint, :attempt, :intended_at, :reserve, :generation_id, :accepted_at, :finished_at,
    :quote, :outcome, :is_over, CASE WHEN :journalled THEN 1 + (:generation_id IS NOT NULL) ELSE 0 END
)
ON CONFLICT (client_request_id) DO UPDATE SET
    fingerprint = max(fingerprint, excluded.fingerprint), -- the one in full
    intended_at = coalesce(intended_at, excluded.intended_at), reserve = coalesce(reserve, excluded.reserve),
    accepted_at = coalesce(accepted_at, excluded.accepted_at),
    finished_at = coalesce(finished_at, excluded.finished_at), quote = coalesce(quote, excluded.quote),
    -- Who has an id for a submit that was in doubt, or written off, knows that it was accepted.
    is_over = CASE WHEN generation_id IS NULL AND excluded.generation_id IS NOT NULL THEN excluded.is_over
        ELSE max(is_over, excluded.is_over) END,
    outcome = CASE WHEN generation_id IS NULL AND excluded.generation_id IS NOT NULL THEN excluded.outcome
        ELSE coalesce(outcome, excluded.outcome) END,
    generation_id = coalesce(generation_id, excluded.generation_id),
    journalled = journalled | CASE
        WHEN NOT :journalled THEN 0 WHEN excluded.generation_id IS NOT NULL THEN 2 ELSE 1 END
"""
_NAME_IN_FULL = """
UPDATE temp.told_generations AS t SET fingerprint = p.fingerprint FROM pairs AS p
WHERE length(t.fingerprint) = :short AND p.fingerprint BETWEEN t.fingerprint AND t.fingerprint || 'g'
"""
# What is pending again, and without a word of why, is so by a person's order: then money may have been spent.
_REPORTED_END = """
UPDATE temp.told_generations SET is_over = 1, outcome = CASE
    WHEN :given_up THEN 'given_up'
    WHEN generation_id IS NULL THEN coalesce(nullif(:code, ''), 'unclear')
    WHEN coalesce(:code, '') = '' THEN 'accepted'
    ELSE 'provider_error' END
WHERE fingerprint = :f AND attempt = :attempt AND (generation_id IS NULL OR NOT :keeps_id)
"""
