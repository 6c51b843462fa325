"""What the verbs ask of jobs.db that people mend things with: which pairs, and what may be done with each."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from lipsync_batch.clock import from_iso
from lipsync_batch.jobs import ALL, Pair, Selection, State
from lipsync_batch.store.lane_reads import PAIR, Doubt
from lipsync_batch.store.ledger import COST_NOTHING, HAS_LIVE_ID
from lipsync_batch.store.query import SELECTED, Query, chosen, labelled
from lipsync_batch.store.rows import pair_from_row


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A pair, and the jobs that want it."""

    pair: Pair
    state: State
    keys: tuple[str, ...]
    """In manifest order."""
    estimate: int | None
    """Of another one like it, in micro-USD."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What something would cost that a person may order."""

    pairs: int = 0
    estimated: int | None = 0
    """In micro-USD, by the estimates that stand in the store; None where one of the pairs has none."""
    upload_bytes: int = 0

    def __add__(self, other: Price) -> Price:
        unknown = self.estimated is None or other.estimated is None
        return Price(
            pairs=self.pairs + other.pairs,
            estimated=None if unknown else (self.estimated or 0) + (other.estimated or 0),
            upload_bytes=self.upload_bytes + other.upload_bytes,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPrice:
    """What taking failed pairs up again would cost."""

    polled: int = 0
    """For nothing: their generation may still be there."""
    submitted: Price = Price()
    """What was never charged."""
    held: Price = Price()
    """Only `--pay-again` would take these up; money may have been spent on them."""


class RemedyReads(Query):
    """Questions about what stopped, and about what shall be made once more."""

    def retryable(self, keys: Collection[str] = (), *, selected: bool = False) -> list[tuple[str, str, State | None]]:
        """Failed pairs: (fingerprint, name, the state that `retry` would bring; None where only paying again would).

        All, those of some keys, or those that the run is for; see `LaneReads.select`.
        """
        condition = "j.key IN (SELECT value FROM json_each(:keys))" if keys else "TRUE"
        if selected:
            condition += f" AND pairs.fingerprint IN (SELECT p.fingerprint FROM pairs AS p WHERE {SELECTED})"
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

    def retry_price(self, selection: Selection = ALL) -> RetryPrice:
        """What `retry` would cost for the failed pairs of some jobs; the limit of the selection counts for nothing."""
        condition, parameters = chosen(selection, "j")
        rows = self._rows(
            f"""
            SELECT CASE WHEN {HAS_LIVE_ID} THEN 'polled' WHEN {COST_NOTHING} THEN 'submitted' ELSE 'held' END AS way,
                {_PRICE} FROM pairs WHERE state = 'failed'
                AND EXISTS (SELECT 1 FROM jobs AS j WHERE j.fingerprint = pairs.fingerprint AND {condition})
            GROUP BY way
            """,
            **parameters,
        )
        prices = {row["way"]: _price(row) for row in rows}
        return RetryPrice(
            polled=prices.get("polled", Price()).pairs,
            submitted=prices.get("submitted", Price()),
            held=prices.get("held", Price()),
        )

    def price_of(self, state: State, selection: Selection = ALL) -> Price:
        """What another submit of each pair in a state would cost, of those that some jobs want."""
        condition, parameters = chosen(selection, "j")
        wanted = f"fingerprint IN (SELECT fingerprint FROM jobs AS j WHERE {condition})"
        # The state as a literal: only so is the index of pending pairs known to hold them all.
        row = self._one(
            f"SELECT {_PRICE} FROM pairs WHERE state = '{state}' AND {'wanted = 1' if selection.is_all else wanted}",
            **parameters,
        )
        assert row is not None
        return _price(row)

    def unclear(self, names: Collection[str] = ()) -> list[Doubt]:
        """Submits that may have been accepted, oldest first: all, or those of some keys or client request ids."""
        condition = f"({_NAMED} OR g.client_request_id IN (SELECT value FROM json_each(:names)))" if names else "TRUE"
        rows = self._rows(
            f"""
            SELECT {_DOUBT} FROM pairs AS p JOIN generations AS g ON g.fingerprint = p.fingerprint AND g.live = 1
            WHERE p.state = '{State.UNCLEAR}' AND {condition} ORDER BY g.intended_at
            """,
            names=json.dumps(list(names)),
        )
        return list(map(_doubt, rows))

    def written_off(self) -> list[Doubt]:
        """Submits that a person gave up, or sent again, without knowing whether they were accepted; oldest first."""
        rows = self._rows(
            f"""
            SELECT {_DOUBT} FROM pairs AS p JOIN generations AS g ON g.fingerprint = p.fingerprint
            WHERE g.live = 0 AND g.generation_id IS NULL AND g.outcome IN ('unclear', 'given_up') ORDER BY g.intended_at
            """
        )
        return list(map(_doubt, rows))

    def is_written_off(self, client_request_id: str) -> bool:
        """Whether it is still unknown what became of a submit that a person gave up, or sent again."""
        return any(doubt.client_request_id == client_request_id for doubt in self.written_off())

    def wanted_by(self, keys: Collection[str]) -> list[Wanted]:
        """The pairs that jobs want, in manifest order, each once."""
        rows = self._rows(
            f"""
            SELECT {PAIR}, p.state, p.estimate, (
                SELECT json_group_array(key)
                FROM (SELECT key FROM jobs AS j WHERE j.fingerprint = p.fingerprint ORDER BY j.position)
            ) AS keys
            FROM pairs AS p WHERE {_NAMED} ORDER BY p.position
            """,
            names=json.dumps(list(keys)),
        )
        return [
            Wanted(
                pair=pair_from_row(row),
                state=State(row["state"]),
                keys=tuple(json.loads(row["keys"])),
                estimate=row["estimate"],
            )
            for row in rows
        ]

    def has_pair(self, fingerprint: str) -> bool:
        """Whether a pair was ever seen."""
        return self._one("SELECT 1 FROM pairs WHERE fingerprint = :f", f=fingerprint) is not None

    def redone(self) -> dict[str, int]:
        """What a person had made once more: fingerprints as the manifest names them, and the take that is wanted."""
        return {row["fingerprint"]: row["take"] for row in self._rows("SELECT fingerprint, take FROM redos")}

    def redone_for(self, fingerprint: str) -> str | None:
        """Why a pair was asked for in the place of one that was finished."""
        row = self._one("SELECT reason FROM redos WHERE successor = :f", f=fingerprint)
        return None if row is None else str(row["reason"])

    def owner(self, generation_id: str) -> str | None:
        """Whose a generation of the ledger is: a job's key, or the client request id where no job wants it any more."""
        row = self._one(
            """
            SELECT coalesce(
                (SELECT j.key FROM jobs AS j WHERE j.fingerprint = g.fingerprint ORDER BY position LIMIT 1),
                g.client_request_id
            ) AS name FROM generations AS g WHERE g.generation_id = :id
            """,
            id=generation_id,
        )
        return None if row is None else str(row["name"])

    def missing_keys(self, keys: Collection[str]) -> list[str]:
        """Those of `keys` that no job has."""
        rows = self._rows(
            "SELECT value FROM json_each(:keys) WHERE value NOT IN (SELECT key FROM jobs)", keys=json.dumps(list(keys))
        )
        return [row["value"] for row in rows]

    def is_request(self, client_request_id: str) -> bool:
        """Whether a submit of this batch had this id."""
        return self._one("SELECT 1 FROM generations WHERE client_request_id = :id", id=client_request_id) is not None

    def keys(self) -> Iterator[str]:
        return (row["key"] for row in self._rows("SELECT key FROM jobs ORDER BY position"))

    def keys_like(self, begun: str, limit: int) -> list[str]:
        """The first keys that begin so, in their own order."""
        rows = self._rows(
            "SELECT key FROM jobs WHERE substr(key, 1, length(:begun)) = :begun ORDER BY key LIMIT :limit",
            begun=begun,
            limit=limit,
        )
        return [row["key"] for row in rows]

    def labels_like(self, begun: str, limit: int) -> list[str]:
        """What `--where` may say that begins so, `language=de`, by the labels of the first jobs."""
        rows = self._rows(
            """
            SELECT DISTINCT label.key || '=' || label.value AS said
            FROM (SELECT labels FROM jobs ORDER BY position LIMIT 10000), json_each(labels) AS label
            WHERE substr(said, 1, length(:begun)) = :begun ORDER BY said LIMIT :limit
            """,
            begun=begun,
            limit=limit,
        )
        return [row["said"] for row in rows]

    def keys_with(self, where: Mapping[str, str], *, state: State | None = None) -> list[str]:
        """Keys of the jobs that have these labels, in manifest order; with `state`, of those whose pair is in it."""
        condition, parameters = labelled(where, "j")
        rows = self._rows(
            f"""
            SELECT j.key FROM jobs AS j JOIN pairs AS p USING (fingerprint)
            WHERE {condition} AND (:state IS NULL OR p.state = :state) ORDER BY j.position
            """,
            state=state,
            **parameters,
        )
        return [row["key"] for row in rows]


_PRICE = """count(*) AS pairs, sum(estimate) AS estimated, count(*) = count(estimate) AS is_known,
    total(upload_bytes) AS upload_bytes"""


def _price(row: sqlite3.Row) -> Price:
    return Price(
        pairs=row["pairs"],
        estimated=(row["estimated"] or 0) if row["is_known"] else None,
        upload_bytes=int(row["upload_bytes"]),
    )


_DOUBT = """p.fingerprint, g.client_request_id, g.intended_at, g.reserve, coalesce(
    (SELECT j.key FROM jobs AS j WHERE j.fingerprint = p.fingerprint ORDER BY position LIMIT 1), g.client_request_id
) AS name"""


def _doubt(row: sqlite3.Row) -> Doubt:
    return Doubt(
        fingerprint=row["fingerprint"],
        client_request_id=row["client_request_id"],
        name=row["name"],
        intended_at=from_iso(row["intended_at"]),
        reserve=row["reserve"],
    )


_NAMED = """EXISTS (
    SELECT 1 FROM jobs AS n WHERE n.fingerprint = p.fingerprint AND n.key IN (SELECT value FROM json_each(:names))
)"""
