"""What the program asks of jobs.db: one method a question, in pages where an answer may be long.

Reads need no lock and see only what is committed, so `status` and `report` work while a run goes on.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lipsync_batch.clock import from_iso
from lipsync_batch.jobs import (
    BatchRecord,
    Costs,
    DataUri,
    Generation,
    JobRecord,
    Link,
    LocalFile,
    Pair,
    RunRecord,
    Source,
    State,
    StopReason,
    Text,
)
from lipsync_batch.masking import mask_link
from lipsync_batch.store.ledger import COST_NOTHING, HAS_LIVE_ID, FileMove
from lipsync_batch.store.rows import instant, pair_from_row, source_from_json, speech_from_json

PAGE = 1_000

_PAIR = "p.fingerprint, p.video, p.speech, p.take, p.model, p.video_sha256, p.audio_sha256"
_LAST_GENERATION = """
    LEFT JOIN generations AS g ON g.fingerprint = p.fingerprint
        AND g.attempt = (SELECT max(attempt) FROM generations AS h WHERE h.fingerprint = p.fingerprint)
"""
_SELECTED = "EXISTS (SELECT 1 FROM temp.selected AS s WHERE s.fingerprint = p.fingerprint)"


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


class Reads:
    """Questions to jobs.db. One thread's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.base: Path | None = None
        """The manifest's folder, where it is known: records then name local files as the manifest does."""

    def _rows(self, sql: str, **parameters: object) -> Iterator[sqlite3.Row]:
        return iter(self._connection.execute(sql, parameters))

    def _one(self, sql: str, **parameters: object) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._connection.execute(sql, parameters).fetchone()
        return row

    # What the batch is

    def bound(self) -> BatchRecord | None:
        """What the folder is bound to; None in a store that no batch was made in yet."""
        row = self._one("SELECT * FROM batch")
        return None if row is None else _batch(row)

    def batch(self) -> BatchRecord:
        """What the folder is bound to, in a store of which that is known."""
        record = self.bound()
        assert record is not None
        return record

    def runs(self) -> list[RunRecord]:
        """Every run of the batch, oldest first."""
        return [
            RunRecord(
                started_at=from_iso(row["started_at"]),
                ended_at=instant(row["ended_at"]),
                stop_reason=StopReason(row["stop_reason"]),
                exit_code=row["exit_code"],
                version=row["version"],
            )
            for row in self._rows("SELECT * FROM runs ORDER BY id")
        ]

    # What the lanes ask

    def select(
        self, *, where: Mapping[str, str] | None = None, only: Collection[str] = (), limit: int | None = None
    ) -> int:
        """Narrow what may be submitted, and what the run is judged by, to some jobs; how many there are.

        `where` holds labels that must be equal, `only` key globs of which one must fit; `limit` keeps the first so many
        jobs that are not done yet, besides those that are.
        """
        conditions = ["TRUE"]
        parameters: dict[str, object] = {}
        for number, (label, value) in enumerate((where or {}).items()):
            conditions.append(f"json_extract(j.labels, :label{number}) = :value{number}")
            parameters |= {f"label{number}": f"$.{json.dumps(label)}", f"value{number}": value}
        if only:
            globs = [f"j.key GLOB :only{number}" for number in range(len(only))]
            conditions.append(f"({' OR '.join(globs)})")
            parameters |= {f"only{number}": glob for number, glob in enumerate(only)}
        self._connection.execute("DROP TABLE IF EXISTS temp.selected")
        self._connection.execute("CREATE TEMP TABLE selected (fingerprint TEXT PRIMARY KEY)")
        self._connection.execute(
            f"""
            INSERT OR IGNORE INTO temp.selected
            SELECT fingerprint FROM (
                SELECT j.fingerprint,
                    sum(p.state <> 'done') OVER (ORDER BY j.position) AS unfinished, p.state
                FROM jobs AS j JOIN pairs AS p USING (fingerprint) WHERE {" AND ".join(conditions)}
            ) WHERE :limit IS NULL OR unfinished <= :limit OR state = 'done'
            """,
            {**parameters, "limit": limit},
        )
        row = self._one("SELECT count(*) AS n FROM jobs WHERE fingerprint IN (SELECT fingerprint FROM temp.selected)")
        return int(row["n"]) if row else 0

    def turns(self, limit: int, *, exclude: Collection[str] = ()) -> list[Turn]:
        """The next selected pairs to submit: higher priority first, then manifest order."""
        rows = self._rows(
            f"""
            SELECT {_PAIR}, p.body_cuts, coalesce(p.estimate, 0) AS reserve,
                (SELECT key FROM jobs AS j WHERE j.fingerprint = p.fingerprint ORDER BY position LIMIT 1) AS name,
                (SELECT coalesce(max(attempt), 0) + 1 FROM generations AS g WHERE g.fingerprint = p.fingerprint) AS turn
            FROM pairs AS p
            WHERE p.state = 'pending' AND p.wanted = 1 AND {_SELECTED}
                AND p.fingerprint NOT IN (SELECT value FROM json_each(:exclude))
            ORDER BY p.priority DESC, p.position LIMIT :limit
            """,
            limit=limit,
            exclude=json.dumps(list(exclude)),
        )
        return [
            Turn(
                pair=pair_from_row(row),
                name=row["name"] or row["fingerprint"],
                attempt=row["turn"],
                reserve=row["reserve"],
                body_cuts=row["body_cuts"],
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
        rows = self._rows(
            f"""
            SELECT p.fingerprint, p.link, p.link_bytes, p.sha256, p.bytes, p.link_refreshes, p.speech_seconds,
                p.last_output, g.attempt, g.generation_id
            FROM pairs AS p JOIN generations AS g ON g.fingerprint = p.fingerprint AND g.live = 1
            WHERE p.state = '{State.READY}' AND p.fingerprint NOT IN (SELECT value FROM json_each(:exclude))
            ORDER BY p.ready_at LIMIT :limit
            """,
            limit=limit,
            exclude=json.dumps(list(exclude)),
        )
        return [
            Arrival(
                fingerprint=row["fingerprint"],
                attempt=row["attempt"],
                generation_id=row["generation_id"],
                name=row["last_output"],
                link=row["link"],
                link_bytes=row["link_bytes"],
                sha256=row["sha256"],
                bytes=row["bytes"],
                link_refreshes=row["link_refreshes"],
                speech_seconds=row["speech_seconds"],
                last_output=row["last_output"],
                outputs=tuple(self.wanted_outputs(row["fingerprint"])),
            )
            for row in rows
        ]

    def doubts(self) -> list[Doubt]:
        """Submits that may have been accepted, oldest first."""
        rows = self._rows(
            f"""
            SELECT p.fingerprint, p.last_output, g.client_request_id, g.intended_at
            FROM pairs AS p JOIN generations AS g ON g.fingerprint = p.fingerprint AND g.live = 1
            WHERE p.state = '{State.UNCLEAR}' ORDER BY g.intended_at
            """
        )
        return [
            Doubt(
                fingerprint=row["fingerprint"],
                client_request_id=row["client_request_id"],
                name=row["last_output"],
                intended_at=from_iso(row["intended_at"]),
            )
            for row in rows
        ]

    def any_doubts(self) -> bool:
        """Whether any submit may have been accepted without our knowing its id."""
        return self._one("SELECT 1 FROM pairs WHERE state = :state LIMIT 1", state=State.UNCLEAR) is not None

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

    def spent(self) -> int:
        """Law 5, in micro-USD: over the ledger, what was settled, else the larger of reserve and quote."""
        row = self._one(
            """
            SELECT coalesce(sum(coalesce(settled, max(reserve, coalesce(quote, 0)))), 0) AS spent
            FROM generations WHERE live = 1 OR settled IS NOT NULL OR outcome IN ('unclear', 'finished', 'given_up')
            """
        )
        return int(row["spent"]) if row else 0

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

    # What people ask

    def pair_counts(self, *, selected: bool = False) -> dict[State, int]:
        """How many pairs that a job wants stand where; every state is named."""
        condition = _SELECTED if selected else "TRUE"
        rows = self._rows(
            f"SELECT state, count(*) AS n FROM pairs AS p WHERE wanted = 1 AND {condition} GROUP BY state"
        )
        return _all_states(rows)

    def counts(self, *, selected: bool = False) -> dict[State, int]:
        """How many jobs stand where; every state is named."""
        condition = _SELECTED if selected else "TRUE"
        rows = self._rows(
            f"""
            SELECT p.state, count(*) AS n FROM jobs AS j JOIN pairs AS p USING (fingerprint)
            WHERE {condition} GROUP BY p.state
            """
        )
        return _all_states(rows)

    def retryable(self, keys: Collection[str] = ()) -> list[tuple[str, str, State | None]]:
        """Failed pairs: (fingerprint, name, the state that `retry` would bring; None where only paying again would)."""
        condition = "j.key IN (SELECT value FROM json_each(:keys))" if keys else "TRUE"
        rows = self._rows(
            f"""
            SELECT pairs.fingerprint, min(j.key) AS name,
                CASE WHEN {HAS_LIVE_ID} THEN 'submitted' WHEN {COST_NOTHING} THEN 'pending' END AS new
            FROM pairs JOIN jobs AS j USING (fingerprint)
            WHERE pairs.state = 'failed' AND {condition} GROUP BY pairs.fingerprint ORDER BY min(j.position)
            """,
            keys=json.dumps(list(keys)),
        )
        return [(row["fingerprint"], row["name"], State(row["new"]) if row["new"] else None) for row in rows]

    def missing_keys(self, keys: Collection[str]) -> list[str]:
        """Those of `keys` that no job has."""
        rows = self._rows(
            "SELECT value FROM json_each(:keys) WHERE value NOT IN (SELECT key FROM jobs)", keys=json.dumps(list(keys))
        )
        return [row["value"] for row in rows]

    def keys(self) -> Iterator[str]:
        return (row["key"] for row in self._rows("SELECT key FROM jobs ORDER BY position"))

    def costs(self) -> Costs:
        """What the wanted pairs were estimated at, and what the ledger's generations were quoted and charged."""
        estimate = self._one("SELECT sum(estimate) AS estimated FROM pairs WHERE wanted = 1")
        ledger = self._one(
            """
            SELECT sum(CASE WHEN live = 1 OR outcome = 'finished' THEN quote END) AS quoted, sum(settled) AS settled
            FROM generations
            """
        )
        assert estimate is not None
        assert ledger is not None
        return Costs(estimated=estimate["estimated"], quoted=ledger["quoted"], settled=ledger["settled"])

    def records(self) -> Iterator[JobRecord]:
        """Every job in manifest order, read in pages."""
        after = -1
        while rows := list(self._rows(f"{_RECORD} WHERE j.position > :after {_RECORD_ORDER}", after=after, limit=PAGE)):
            yield from (_record(row, self.base) for row in rows)
            after = rows[-1]["position"]

    def record(self, key: str) -> JobRecord | None:
        row = self._one(f"{_RECORD} WHERE j.key = :key {_RECORD_ORDER}", key=key, limit=1)
        return None if row is None else _record(row, self.base)

    def troubled(self, limit: int) -> list[JobRecord]:
        """The first jobs that a person should look at: failed, then unclear."""
        rows = self._rows(
            f"{_RECORD} WHERE p.state IN ('failed', 'unclear') ORDER BY p.state, j.position LIMIT :limit", limit=limit
        )
        return [_record(row, self.base) for row in rows]

    def error_counts(self) -> list[tuple[State, str, int]]:
        """Why jobs failed or are unclear: (state, error code, how many jobs), the most first."""
        rows = self._rows(
            """
            SELECT p.state, coalesce(p.error_code, '') AS code, count(*) AS n
            FROM jobs AS j JOIN pairs AS p USING (fingerprint)
            WHERE p.state IN ('failed', 'unclear') GROUP BY 1, 2 ORDER BY n DESC, code
            """
        )
        return [(State(row["state"]), row["code"], row["n"]) for row in rows]

    def generations(self, fingerprint: str) -> list[Generation]:
        """The ledger of one pair, first attempt first."""
        return [
            Generation(
                client_request_id=row["client_request_id"],
                fingerprint=row["fingerprint"],
                attempt=row["attempt"],
                generation_id=row["generation_id"],
                live=bool(row["live"]),
                intended_at=instant(row["intended_at"]),
                accepted_at=instant(row["accepted_at"]),
                finished_at=instant(row["finished_at"]),
                reserve=row["reserve"],
                quote=row["quote"],
                settled=row["settled"],
                outcome=row["outcome"],
            )
            for row in self._rows("SELECT * FROM generations WHERE fingerprint = :f ORDER BY attempt", f=fingerprint)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A finished pair: what its file must be."""

    fingerprint: str
    bytes: int | None
    sha256: str | None


_FLIGHT = """
    SELECT p.fingerprint, p.provider_errors, p.link_refreshes, p.last_output,
        g.client_request_id, g.generation_id, g.accepted_at
    FROM pairs AS p JOIN generations AS g ON g.fingerprint = p.fingerprint AND g.live = 1
"""


def _batch(row: sqlite3.Row) -> BatchRecord:
    return BatchRecord(
        batch_id=row["batch_id"],
        provider=row["provider"],
        origin=row["origin"],
        manifest=row["manifest"],
        created_at=from_iso(row["created_at"]),
    )


def _flight(row: sqlite3.Row) -> Flight:
    return Flight(
        fingerprint=row["fingerprint"],
        client_request_id=row["client_request_id"],
        generation_id=row["generation_id"],
        name=row["last_output"],
        accepted_at=from_iso(row["accepted_at"]),
        provider_errors=row["provider_errors"],
        link_refreshes=row["link_refreshes"],
    )


_RECORD = f"""
    SELECT j.key, j.output, j.labels, j.position, p.*, g.generation_id,
        (SELECT count(*) FROM generations AS h WHERE h.fingerprint = p.fingerprint
            AND (h.generation_id IS NOT NULL OR h.outcome = 'unclear')) AS attempts,
        g.client_request_id,
        g.intended_at, g.accepted_at, g.finished_at AS generated_at, g.settled,
        CASE WHEN g.live = 1 THEN g.quote END AS quote
    FROM jobs AS j JOIN pairs AS p USING (fingerprint) {_LAST_GENERATION}
"""
_RECORD_ORDER = "ORDER BY j.position LIMIT :limit"


def _all_states(rows: Iterator[sqlite3.Row]) -> dict[State, int]:
    counts = dict.fromkeys(State, 0)
    counts.update((State(row["state"]), row["n"]) for row in rows)
    return counts


def _described(source: Source, base: Path | None) -> str:
    match source:
        case LocalFile(path=path):
            return str(path.relative_to(base)) if base is not None and path.is_relative_to(base) else str(path)
        case Link(url=url):
            return mask_link(url)
        case DataUri():
            return "data:"


def _record(row: sqlite3.Row, base: Path | None) -> JobRecord:
    speech = speech_from_json(json.loads(row["speech"]))
    accepted, generated = instant(row["accepted_at"]), instant(row["generated_at"])
    done = State(row["state"]) is State.DONE
    return JobRecord(
        key=row["key"],
        output=row["output"],
        labels=json.loads(row["labels"]),
        position=row["position"],
        fingerprint=row["fingerprint"],
        state=State(row["state"]),
        video=_described(source_from_json(json.loads(row["video"])), base),
        speech=speech.text if isinstance(speech, Text) else _described(speech.source, base),
        speaker=speech.speaker if isinstance(speech, Text) else None,
        attempts=row["attempts"],
        generation_id=row["generation_id"],
        client_request_id=row["client_request_id"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        bytes=row["bytes"] if done else None,
        sha256=row["sha256"] if done else None,
        duration_seconds=row["duration_seconds"] if done else None,
        width=row["width"] if done else None,
        height=row["height"] if done else None,
        generation_seconds=(generated - accepted).total_seconds() if accepted and generated else None,
        submitted_at=accepted or instant(row["intended_at"]),
        finished_at=instant(row["updated_at"]) if done else None,
        suspect=row["suspect"] if done else None,
        estimated=row["estimate"],
        quoted=row["quote"],
        settled=row["settled"],
    )
