"""What the sandbox has accepted, in SQLite: durable before the answer leaves, and the same after a restart.

A `generation` is a submit that was accepted; a `render` is the video of a pair, made once for all generations of it.
Instants are seconds since 1970, money is in micro-USD. One connection, on the thread of the event loop.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipsync_batch.sandbox.contract import Order

SCHEMA = """
CREATE TABLE IF NOT EXISTS renders (
    pair TEXT PRIMARY KEY,
    wish TEXT NOT NULL,      -- the order, as JSON
    made REAL,               -- when it was done; NULL: still to do
    etag TEXT,               -- SHA-256 of the file
    problem TEXT             -- why there is no file
) STRICT;
CREATE TABLE IF NOT EXISTS generations (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,   -- of the result file
    pair TEXT NOT NULL REFERENCES renders (pair),
    take INTEGER NOT NULL,       -- counts the generations of a pair, from 1
    request_id TEXT NOT NULL,
    client_request_id TEXT,
    accepted REAL NOT NULL,
    due REAL NOT NULL,           -- its drawn time is over then, whatever restarts come between
    price INTEGER NOT NULL,
    finished REAL,               -- NULL: it runs
    error TEXT                   -- as JSON, in one of the API's shapes; never charged then
) STRICT;
CREATE INDEX IF NOT EXISTS running ON generations (due) WHERE finished IS NULL;
CREATE INDEX IF NOT EXISTS by_acceptance ON generations (accepted);
CREATE INDEX IF NOT EXISTS by_end ON generations (finished);
CREATE INDEX IF NOT EXISTS by_pair ON generations (pair);
CREATE INDEX IF NOT EXISTS to_make ON renders (made) WHERE made IS NULL;
CREATE TABLE IF NOT EXISTS account (opened REAL NOT NULL) STRICT;
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """A submit that was accepted."""

    n: int = 0
    id: str
    name: str
    pair: str
    take: int
    request_id: str
    client_request_id: str | None
    accepted: float
    due: float
    price: int
    finished: float | None = None
    error: str | None = None

    @property
    def fate(self) -> tuple[str, int]:
        """What its dice are rolled for: independent of ids, ports and the order of arrival."""
        return self.pair, self.take


@dataclass(kw_only=True, slots=True)
class Sums:
    """The account in numbers, kept up to date: every submit asks for them."""

    spent: int
    held: int
    """Prices of the generations that run."""
    running: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Which rows of the log are asked for."""

    start: float
    end: float
    failed: bool | None = None
    """None for both."""


class Records:
    """The sandbox's memory."""

    def __init__(self, path: Path, *, now: float) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(SCHEMA)
        self._db.execute("INSERT INTO account SELECT ? WHERE NOT EXISTS (SELECT 1 FROM account)", (now,))

        self.sums = self._add_up()

    def _add_up(self) -> Sums:
        row = self._one(
            """
            SELECT coalesce(sum(price) FILTER (WHERE finished IS NOT NULL AND error IS NULL), 0) AS spent,
                   coalesce(sum(price) FILTER (WHERE finished IS NULL), 0) AS held,
                   count(*) FILTER (WHERE finished IS NULL) AS running
            FROM generations
            """
        )
        return Sums(**dict(row))

    def close(self) -> None:
        self._db.close()

    def opened(self) -> float:
        """When the account was opened: when this folder was first used."""
        return float(self._one("SELECT opened FROM account")["opened"])

    # -- generations

    def next_take(self, pair: str) -> int:
        return int(self._one("SELECT count(*) + 1 AS take FROM generations WHERE pair = ?", pair)["take"])

    def accept(self, generation: Generation, order: Order, *, etag: str | None = None) -> None:
        """Write down a generation and, where there is no `etag` to take, the render it waits for. Durable on return."""
        made = None if etag is None else generation.accepted
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            # A render that failed is tried again: its link may lead to something by now.
            self._db.execute(
                """
                INSERT INTO renders (pair, wish, made, etag) VALUES (?, ?, ?, ?)
                ON CONFLICT (pair) DO UPDATE SET made = NULL, problem = NULL WHERE problem IS NOT NULL
                """,
                (generation.pair, order.as_json(), made, etag),
            )
            self._db.execute(
                """
                INSERT INTO generations (id, name, pair, take, request_id, client_request_id, accepted, due, price)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
                (
                    *(generation.id, generation.name, generation.pair, generation.take, generation.request_id),
                    *(generation.client_request_id, generation.accepted, generation.due, generation.price),
                ),
            )
        self.sums.held += generation.price
        self.sums.running += 1

    def by_id(self, generation_id: str) -> Generation | None:
        return self._generation("SELECT * FROM generations WHERE id = ?", generation_id)

    def by_name(self, name: str) -> Generation | None:
        return self._generation("SELECT * FROM generations WHERE name = ?", name)

    def ending(self, now: float) -> list[tuple[Generation, float, str | None]]:
        """Generations that run although their time is over and their render is done: when that was, and its problem."""
        rows = self._db.execute(
            """
            SELECT generations.*, made, problem FROM generations JOIN renders USING (pair)
            WHERE finished IS NULL AND due <= ? AND made IS NOT NULL
            """,
            (now,),
        )
        return [(_generation(row), row["made"], row["problem"]) for row in rows]

    def end(self, endings: Collection[tuple[Generation, float, object | None]]) -> None:
        """Note that generations ended at an instant, with the API's error or, charged, without one."""
        if not endings:
            return
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            self._db.executemany(
                "UPDATE generations SET finished = ?, error = ? WHERE n = ? AND finished IS NULL",
                [(at, None if error is None else json.dumps(error), ended.n) for ended, at, error in endings],
            )
        for ended, _, error in endings:
            self.sums.held -= ended.price
            self.sums.running -= 1
            self.sums.spent += ended.price if error is None else 0

    # -- renders

    def next_render(self, busy: Collection[str]) -> Order | None:
        """The render to do next, oldest first, that is not one of the `busy` pairs."""
        marks = ", ".join("?" * len(busy))
        row = self._db.execute(
            f"SELECT wish FROM renders WHERE made IS NULL AND pair NOT IN ({marks}) ORDER BY rowid LIMIT 1",
            tuple(busy),
        ).fetchone()
        return None if row is None else Order.from_json(row["wish"])

    def rendered(self, pair: str, *, at: float, etag: str | None = None, problem: str | None = None) -> None:
        self._db.execute("UPDATE renders SET made = ?, etag = ?, problem = ? WHERE pair = ?", (at, etag, problem, pair))

    def etag(self, pair: str) -> str | None:
        """SHA-256 of a pair's video; None where there is none."""
        row = self._db.execute("SELECT etag FROM renders WHERE pair = ?", (pair,)).fetchone()
        return None if row is None else row["etag"]

    # -- the account

    def logged(self, window: Window, *, until: float, limit: int, offset: int) -> tuple[list[Generation], int]:
        """A page of the generations that ended by `until`, the newest request first, and how many there are in all."""
        where = """
            WHERE finished <= :until AND accepted BETWEEN :start AND :end
              AND (:failed IS NULL OR (error IS NOT NULL) = :failed)
        """
        facts = {"until": until, "start": window.start, "end": window.end, "failed": window.failed}
        total = self._db.execute(f"SELECT count(*) FROM generations {where}", facts).fetchone()[0]
        rows = self._db.execute(
            f"SELECT * FROM generations {where} ORDER BY accepted DESC, n DESC LIMIT :limit OFFSET :offset",
            {**facts, "limit": limit, "offset": offset},
        )
        return [_generation(row) for row in rows], total

    def charges(self, window: Window, *, before: tuple[float, int] | None, limit: int) -> list[Generation]:
        """Charged generations, the newest charge first, going on after the one at `before` (its end, its n)."""
        at, n = before or (window.end, 2**62)
        rows = self._db.execute(
            """
            SELECT * FROM generations
            WHERE finished >= ? AND finished < ? AND error IS NULL AND (finished, n) < (?, ?)
            ORDER BY finished DESC, n DESC LIMIT ?
            """,
            (window.start, window.end, at, n, limit),
        )
        return [_generation(row) for row in rows]

    def durations(self, *, since: float) -> list[float]:
        """How long the generations took that succeeded since an instant, in seconds, shortest first."""
        rows = self._db.execute(
            "SELECT finished - accepted AS took FROM generations WHERE finished >= ? AND error IS NULL ORDER BY took",
            (since,),
        )
        return [row["took"] for row in rows]

    def tally(self) -> dict[str, Any]:
        """What tests ask: how much was accepted and charged, and whether anything was charged twice.

        The attempt is the last part of a client request id, after its last dot: without it, ids of the same work agree.
        """
        counts = self._one(
            """
            SELECT count(*) AS accepted, count(DISTINCT pair) AS pairs_accepted,
                   count(*) FILTER (WHERE finished IS NULL) AS running,
                   count(*) FILTER (WHERE error IS NOT NULL) AS failed,
                   count(*) FILTER (WHERE finished IS NOT NULL AND error IS NULL) AS charges,
                   count(DISTINCT pair) FILTER (WHERE finished IS NOT NULL AND error IS NULL) AS pairs_charged,
                   total(finished - accepted) AS generation_seconds
            FROM generations
            """
        )
        return {
            **dict(counts),
            "pairs_charged_twice": self._repeated("pair"),
            "works_charged_twice": self._repeated(
                "rtrim(client_request_id, '0123456789')",
                where="client_request_id GLOB '*.*[0-9]' AND rtrim(client_request_id, '0123456789') GLOB '*.'",
            ),
        }

    def _repeated(self, what: str, where: str = "1") -> int:
        return int(
            self._one(
                f"""
                SELECT count(*) AS repeated FROM (
                    SELECT 1 FROM generations WHERE finished IS NOT NULL AND error IS NULL AND {where}
                    GROUP BY {what} HAVING count(*) > 1
                )
                """
            )["repeated"]
        )

    def _one(self, sql: str, *values: object) -> sqlite3.Row:
        row: sqlite3.Row = self._db.execute(sql, values).fetchone()
        return row

    def _generation(self, sql: str, *values: object) -> Generation | None:
        row = self._db.execute(sql, values).fetchone()
        return None if row is None else _generation(row)


def _generation(row: sqlite3.Row) -> Generation:
    return Generation(**{name: row[name] for name in Generation.__dataclass_fields__})
