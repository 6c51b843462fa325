"""What people ask of jobs.db: how many jobs stand where, what they cost, each with its history."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from lipsync_batch.jobs import (
    Costs,
    DataUri,
    Generation,
    JobRecord,
    Link,
    LocalFile,
    Source,
    State,
    StoredObject,
    Text,
)
from lipsync_batch.masking import mask_link
from lipsync_batch.store.query import PAGE, SELECTED, Query, labelled
from lipsync_batch.store.rows import instant, source_from_json, speech_from_json

_LAST_GENERATION = """
    LEFT JOIN generations AS g ON g.fingerprint = p.fingerprint
        AND g.attempt = (SELECT max(attempt) FROM generations AS h WHERE h.fingerprint = p.fingerprint)
"""
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


class RecordReads(Query):
    """People's questions."""

    base: Path | None = None
    """The manifest's folder, where it is known: records then name local files as the manifest does."""

    def pair_counts(self, *, selected: bool = False) -> dict[State, int]:
        """How many pairs that a job wants stand where; every state is named."""
        condition = SELECTED if selected else "TRUE"
        rows = self._rows(
            f"SELECT state, count(*) AS n FROM pairs AS p WHERE wanted = 1 AND {condition} GROUP BY state"
        )
        return _all_states(rows)

    def to_come(self, most: int) -> int:
        """How many pairs have a video to come, counted up to `most`: a million need not all be counted for that."""
        row = self._one(
            """
            SELECT count(*) AS n FROM (
                SELECT 1 FROM pairs WHERE state IN ('pending', 'submitting', 'submitted', 'ready') AND wanted = 1
                LIMIT :most
            )
            """,
            most=most,
        )
        assert row is not None
        return int(row["n"])

    def counts(self, *, selected: bool = False, where: Mapping[str, str] | None = None) -> dict[State, int]:
        """How many jobs stand where, of those with some labels; every state is named."""
        if not selected and not where and sum((pairs := self.pair_counts()).values()) == self._job_count():
            return pairs  # each job has a pair of its own: a million rows need not be joined to count them
        condition, parameters = labelled(where or {}, "j")
        condition += f" AND {SELECTED}" if selected else ""
        rows = self._rows(
            f"""
            SELECT p.state, count(*) AS n FROM jobs AS j JOIN pairs AS p USING (fingerprint)
            WHERE {condition} GROUP BY p.state
            """,
            **parameters,
        )
        return _all_states(rows)

    def _job_count(self) -> int:
        row = self._one("SELECT count(*) AS n FROM jobs")
        return int(row["n"]) if row else 0

    def left_behind(self) -> dict[State, int]:
        """Pairs that no job wants any more, and that are not settled yet although they may have been paid for."""
        rows = self._rows(
            """
            SELECT state, count(*) AS n FROM pairs
            WHERE wanted = 0 AND state IN ('submitting', 'submitted', 'ready', 'unclear') GROUP BY state
            """
        )
        return {State(row["state"]): row["n"] for row in rows}

    def costs(self, *, where: Mapping[str, str] | None = None) -> Costs:
        """What the wanted pairs were estimated at, and what the ledger's generations were quoted and charged.

        With labels, of the pairs that a job with these wants.
        """
        condition, parameters = labelled(where or {}, "j")
        pairs = f"fingerprint IN (SELECT j.fingerprint FROM jobs AS j WHERE {condition})" if where else "TRUE"
        estimate = self._one(f"SELECT sum(estimate) AS estimated FROM pairs WHERE wanted = 1 AND {pairs}", **parameters)
        ledger = self._one(
            f"""
            SELECT sum(CASE WHEN live = 1 OR outcome = 'finished' THEN quote END) AS quoted, sum(settled) AS settled
            FROM generations WHERE {pairs}
            """,
            **parameters,
        )
        assert estimate is not None
        assert ledger is not None
        return Costs(estimated=estimate["estimated"], quoted=ledger["quoted"], settled=ledger["settled"])

    def label_names(self) -> list[str]:
        """The names of all labels, in order of their first appearance in the manifest."""
        rows = self._rows(
            """
            SELECT label.key AS name FROM jobs AS j, json_each(j.labels) AS label
            GROUP BY label.key ORDER BY min(j.position), min(label.id)
            """
        )
        return [row["name"] for row in rows]

    def records(self, *, where: Mapping[str, str] | None = None) -> Iterator[JobRecord]:
        """Every job in manifest order, or those with some labels, read in pages."""
        after = -1
        condition, parameters = labelled(where or {}, "j")
        page = f"{_RECORD} WHERE j.position > :after AND {condition} {_RECORD_ORDER}"
        while rows := list(self._rows(page, after=after, limit=PAGE, **parameters)):
            yield from (_record(row, self.base) for row in rows)
            after = rows[-1]["position"]

    def videos(self) -> Iterator[tuple[str, str]]:
        """Output and checksum of every finished video, in manifest order, read in pages."""
        after = -1
        page = """
            SELECT j.position, j.output, p.sha256 FROM jobs AS j JOIN pairs AS p USING (fingerprint)
            WHERE p.state = 'done' AND p.sha256 IS NOT NULL AND j.position > :after ORDER BY j.position LIMIT :limit
        """
        while rows := list(self._rows(page, after=after, limit=PAGE)):
            yield from ((row["output"], row["sha256"]) for row in rows)
            after = rows[-1]["position"]

    def record(self, key: str) -> JobRecord | None:
        row = self._one(f"{_RECORD} WHERE j.key = :key {_RECORD_ORDER}", key=key, limit=1)
        return None if row is None else _record(row, self.base)

    def troubled(self, limit: int, *, selected: bool = False) -> list[JobRecord]:
        """The first jobs that a person should look at: failed, then unclear."""
        condition = SELECTED if selected else "TRUE"
        rows = self._rows(
            f"""
            {_RECORD} WHERE p.state IN ('failed', 'unclear') AND {condition}
            ORDER BY p.state, j.position LIMIT :limit
            """,
            limit=limit,
        )
        return [_record(row, self.base) for row in rows]

    def error_counts(self, *, selected: bool = False) -> list[tuple[State, str, int]]:
        """Why jobs failed or are unclear: (state, error code, how many jobs), the most first."""
        condition = SELECTED if selected else "TRUE"
        rows = self._rows(
            f"""
            SELECT p.state, coalesce(p.error_code, '') AS code, count(*) AS n
            FROM jobs AS j JOIN pairs AS p USING (fingerprint)
            WHERE p.state IN ('failed', 'unclear') AND {condition} GROUP BY 1, 2 ORDER BY n DESC, code
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
        case StoredObject(url=url):
            return url
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
