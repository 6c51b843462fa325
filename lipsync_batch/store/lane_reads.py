"""What the lanes ask of jobs.db: whose turn it is, what is at the provider, what is to be fetched, what is in doubt."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from lipsync_batch.clock import from_iso, iso
from lipsync_batch.jobs import ALL, Pair, Selection, State
from lipsync_batch.store.file_reads import FileReads
from lipsync_batch.store.labels import no_such_jobs
from lipsync_batch.store.ledger import SPENT
from lipsync_batch.store.query import SELECTED, chosen
from lipsync_batch.store.rows import pair_from_row

PAIR = "p.fingerprint, p.video, p.speech, p.take, p.model, p.video_sha256, p.audio_sha256"

NAME = (
    "coalesce((SELECT key FROM jobs AS j WHERE j.fingerprint = p.fingerprint ORDER BY position LIMIT 1), last_output)"
)
"""What people know a pair `p` by: the key of the first job that wants it; of rows that are gone, where it stood."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """A pending pair whose turn it is to be submitted."""

    pair: Pair
    name: str
    """The key of a job that wants it, for people."""
    attempt: int
    """The number of the coming generation: one more than any before."""
    reserve: int
    """What it may cost, in micro-USD."""
    body_cuts: int
    provider_errors: int
    last_output: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Flight:
    """A generation at the provider, to be polled."""

    fingerprint: str
    client_request_id: str
    generation_id: str
    name: str
    accepted_at: datetime
    provider_errors: int
    link_refreshes: int
    """Over zero: the video was finished once, and only a fresh link is wanted."""
    held: int
    """What the budget holds for it, in micro-USD."""
    charged: bool
    """It was finished once, or the account took money for it: what it says now does not make it free."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A finished generation whose video is to be fetched."""

    fingerprint: str
    attempt: int
    generation_id: str
    name: str
    link: str | None
    link_bytes: int | None
    sha256: str | None
    """Of the checked file, where one was committed before its rename."""
    bytes: int | None
    link_refreshes: int
    speech_seconds: float | None
    last_output: str
    outputs: tuple[str, ...]
    """Where the jobs want it, in manifest order; none when no job wants it any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubt:
    """A submit whose answer never came."""

    fingerprint: str
    client_request_id: str
    name: str
    intended_at: datetime
    reserve: int
    """What the budget holds for it, in micro-USD."""


_SELECTION = """
DROP TABLE IF EXISTS temp.selection;
DROP TABLE IF EXISTS temp.selected;
CREATE TEMP TABLE selection (narrow INTEGER);
CREATE TEMP TABLE selected (fingerprint TEXT PRIMARY KEY);
"""
"""All jobs are the usual case, and need no list."""


class LaneReads(FileReads):
    """The lanes' questions."""

    def select(self, selection: Selection = ALL) -> int:
        """Narrow what may be submitted, and what the run is judged by, to some jobs; how many there are.

        Its limit keeps the first so many jobs that are not done yet, besides those that are. UsageError where no job
        is left.
        """
        self._connection.executescript(_SELECTION)
        self._connection.execute("INSERT INTO temp.selection VALUES (:narrow)", {"narrow": not selection.is_all})
        if selection.is_all:
            return self.job_count()
        condition, parameters = chosen(selection, "j")
        self._connection.execute(
            f"""
            INSERT OR IGNORE INTO temp.selected
            SELECT fingerprint FROM (
                SELECT j.fingerprint,
                    sum(p.state <> 'done') OVER (ORDER BY j.position) AS unfinished, p.state
                FROM jobs AS j JOIN pairs AS p USING (fingerprint) WHERE {condition}
            ) WHERE :limit IS NULL OR unfinished <= :limit OR state = 'done'
            """,
            {**parameters, "limit": selection.limit},
        )
        row = self._one("SELECT count(*) AS n FROM jobs WHERE fingerprint IN (SELECT fingerprint FROM temp.selected)")
        if row is None or not row["n"]:
            raise no_such_jobs(self._connection, "jobs", selection)
        return int(row["n"])

    def job_count(self) -> int:
        row = self._one("SELECT count(*) AS n FROM jobs")
        assert row is not None
        return int(row["n"])

    def turns(self, limit: int, *, exclude: Collection[str] = (), dearer: float = 1.0) -> list[Turn]:
        """The next selected pairs to submit: higher priority first, then manifest order.

        Each reserves `dearer` times its estimate.
        """
        rows = self._rows(
            f"""
            SELECT {PAIR}, p.body_cuts, p.provider_errors, p.last_output,
                CAST(ceil(coalesce(p.estimate, 0) * :dearer) AS INTEGER) AS reserve,
                {NAME} AS name,
                (SELECT coalesce(max(attempt), 0) + 1 FROM generations AS g WHERE g.fingerprint = p.fingerprint) AS turn
            FROM pairs AS p
            WHERE p.state = 'pending' AND p.wanted = 1 AND {SELECTED}
                AND p.fingerprint NOT IN (SELECT value FROM json_each(:exclude))
            ORDER BY p.priority DESC, p.position LIMIT :limit
            """,
            limit=limit,
            dearer=dearer,
            exclude=json.dumps(list(exclude)),
        )
        return [
            Turn(
                pair=pair_from_row(row),
                name=row["name"],
                attempt=row["turn"],
                reserve=row["reserve"],
                body_cuts=row["body_cuts"],
                provider_errors=row["provider_errors"],
                last_output=row["last_output"],
            )
            for row in rows
        ]

    def flights(self) -> Iterator[Flight]:
        """Every generation at the provider, oldest first."""
        rows = self._rows(f"{_FLIGHT} WHERE p.state = :state ORDER BY g.accepted_at", state=State.SUBMITTED)
        return map(_flight, rows)

    def flight(self, fingerprint: str) -> Flight | None:
        """The generation of one submitted pair."""
        row = self._one(
            f"{_FLIGHT} WHERE p.fingerprint = :f AND p.state = :state", f=fingerprint, state=State.SUBMITTED
        )
        return None if row is None else _flight(row)

    def arrivals(self, limit: int, *, exclude: Collection[str] = ()) -> list[Arrival]:
        """Finished generations to fetch, oldest link first."""
        # Without the names of those that are left out, the statement is always the same text, and compiled once.
        left_out = "AND p.fingerprint NOT IN (SELECT value FROM json_each(:exclude))" if exclude else ""
        rows = self._rows(
            f"""
            SELECT p.fingerprint, p.link, p.link_bytes, p.sha256, p.bytes, p.link_refreshes, p.speech_seconds,
                p.last_output, {NAME} AS name, g.attempt, g.generation_id, (
                    SELECT json_group_array(output) FROM (
                        SELECT output FROM jobs AS j WHERE j.fingerprint = p.fingerprint ORDER BY position
                    )
                ) AS outputs
            FROM pairs AS p JOIN generations AS g ON g.fingerprint = p.fingerprint AND g.live = 1
            WHERE p.state = '{State.READY}' {left_out}
            ORDER BY p.ready_at LIMIT :limit
            """,
            limit=limit,
            **({"exclude": json.dumps(list(exclude))} if exclude else {}),
        )
        return [
            Arrival(
                fingerprint=row["fingerprint"],
                attempt=row["attempt"],
                generation_id=row["generation_id"],
                name=row["name"],
                link=row["link"],
                link_bytes=row["link_bytes"],
                sha256=row["sha256"],
                bytes=row["bytes"],
                link_refreshes=row["link_refreshes"],
                speech_seconds=row["speech_seconds"],
                last_output=row["last_output"],
                outputs=tuple(json.loads(row["outputs"])),
            )
            for row in rows
        ]

    def last_finished(self) -> str | None:
        """The id of the generation that was last seen to be finished: one that the provider ought to know."""
        row = self._one(
            """
            SELECT generation_id FROM generations WHERE outcome = 'finished' AND generation_id IS NOT NULL
            ORDER BY finished_at DESC LIMIT 1
            """
        )
        return None if row is None else str(row["generation_id"])

    def doubts(self) -> list[Doubt]:
        """Submits that may have been accepted, oldest first."""
        rows = self._rows(
            f"""
            SELECT p.fingerprint, {NAME} AS name, g.client_request_id, g.intended_at, g.reserve
            FROM pairs AS p JOIN generations AS g ON g.fingerprint = p.fingerprint AND g.live = 1
            WHERE p.state = '{State.UNCLEAR}' ORDER BY g.intended_at
            """
        )
        return [
            Doubt(
                fingerprint=row["fingerprint"],
                client_request_id=row["client_request_id"],
                name=row["name"],
                intended_at=from_iso(row["intended_at"]),
                reserve=row["reserve"],
            )
            for row in rows
        ]

    def interrupted(self) -> dict[str, str]:
        """Submits that were on their way when the process died: their pairs by client request id."""
        rows = self._rows(
            """
            SELECT g.client_request_id, g.fingerprint FROM generations AS g JOIN pairs AS p USING (fingerprint)
            WHERE g.live = 1 AND p.state = :state
            """,
            state=State.SUBMITTING,
        )
        return {row["client_request_id"]: row["fingerprint"] for row in rows}

    def any_doubts(self) -> bool:
        """Whether any submit may have been accepted without our knowing its id."""
        return self._one("SELECT 1 FROM pairs WHERE state = :state LIMIT 1", state=State.UNCLEAR) is not None

    def doubts_since(self, earliest: datetime) -> list[datetime]:
        """When the submits left that may have been accepted, oldest first; none from before `earliest`."""
        rows = self._rows(
            """
            SELECT g.intended_at FROM pairs AS p JOIN generations AS g ON g.fingerprint = p.fingerprint AND g.live = 1
            WHERE p.state = :state AND g.intended_at > :earliest ORDER BY g.intended_at
            """,
            state=State.UNCLEAR,
            earliest=iso(earliest),
        )
        return [from_iso(row["intended_at"]) for row in rows]

    def is_in_doubt(self, client_request_id: str) -> bool:
        """Whether a generation is still unclear."""
        row = self._one(
            """
            SELECT 1 FROM generations AS g JOIN pairs AS p USING (fingerprint)
            WHERE g.client_request_id = :id AND g.live = 1 AND p.state = :state
            """,
            id=client_request_id,
            state=State.UNCLEAR,
        )
        return row is not None

    def spent(self) -> int:
        """Law 5, in micro-USD: over the ledger, what was settled, else the larger of reserve and quote."""
        row = self._one(
            f"""
            SELECT coalesce(sum(coalesce(settled, max(reserve, coalesce(quote, 0)))), 0) AS spent
            FROM generations
            WHERE live = 1 OR settled IS NOT NULL OR outcome IN {SPENT}
            """
        )
        return int(row["spent"]) if row else 0

    def dearer(self) -> float:
        """How many times its estimate the dearest settled generation cost; at least 1.

        Each reserved as many estimates as the dearest before it had cost: so the dearest cost more than it reserved.
        """
        row = self._one(
            """
            SELECT max(CAST(g.settled AS REAL) / p.estimate) AS times
            FROM generations AS g JOIN pairs AS p USING (fingerprint) WHERE p.estimate > 0 AND g.settled > g.reserve
            """
        )
        return max(1.0, row["times"] or 1.0) if row else 1.0

    def unsettled_since(self, earliest: datetime) -> datetime | None:
        """When the oldest generation was accepted of which no charge is known yet; none from before `earliest`."""
        row = self._one(
            """
            SELECT min(accepted_at) AS oldest FROM generations
            WHERE settled IS NULL AND outcome IN ('accepted', 'finished') AND accepted_at >= :earliest
            """,
            earliest=iso(earliest),
        )
        return None if row is None or row["oldest"] is None else from_iso(row["oldest"])

    def generation_seconds(self, limit: int) -> list[float]:
        """How long the newest finished generations took, from accepted to noticed, oldest first."""
        rows = self._rows(
            """
            SELECT (julianday(finished_at) - julianday(accepted_at)) * 86400.0 AS seconds FROM generations
            WHERE outcome = 'finished' AND accepted_at IS NOT NULL ORDER BY finished_at DESC LIMIT :limit
            """,
            limit=limit,
        )
        return [row["seconds"] for row in rows][::-1]


_FLIGHT = f"""
    SELECT p.fingerprint, p.provider_errors, p.link_refreshes, {NAME} AS name,
        g.client_request_id, g.generation_id, g.accepted_at, max(g.reserve, coalesce(g.quote, 0)) AS held,
        (g.finished_at IS NOT NULL OR coalesce(g.settled, 0) > 0) AS charged
    FROM pairs AS p JOIN generations AS g ON g.fingerprint = p.fingerprint AND g.live = 1
"""


def _flight(row: sqlite3.Row) -> Flight:
    return Flight(
        fingerprint=row["fingerprint"],
        client_request_id=row["client_request_id"],
        generation_id=row["generation_id"],
        name=row["name"],
        accepted_at=from_iso(row["accepted_at"]),
        provider_errors=row["provider_errors"],
        link_refreshes=row["link_refreshes"],
        held=row["held"],
        charged=bool(row["charged"]),
    )
