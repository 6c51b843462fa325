"""The moves of pairs and the ledger of generations: every write of a running batch, one method each.

A move is guarded twice: `MOVES` says whether it is legal, and SQL changes the row only if it is still in the state that
the move starts from. Each method returns when its commit is on disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from lipsync_batch.clock import Clock, iso
from lipsync_batch.jobs import MOVES, FileInfo, Pair, State
from lipsync_batch.providers.base import Charge
from lipsync_batch.store.rows import dumps
from lipsync_batch.store.writer import Statement, Writer


@dataclass(frozen=True, kw_only=True, slots=True)
class FileMove:
    """A finished file on its way to another name, by way of a name that nothing else has. Relative paths."""

    holding: str
    source: str
    target: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Charged:
    """What the account says was taken for a generation, in micro-USD."""

    generation_id: str
    charged_at: str
    """As `iso`; empty where the account does not say."""
    cost: int

    @classmethod
    def of(cls, charge: Charge) -> Charged:
        return cls(
            generation_id=charge.generation_id,
            charged_at=iso(charge.created) if charge.created else "",
            cost=charge.cost,
        )


SPENT = ("unclear", "accepted", "finished", "given_up")
"""Outcomes of generations on which money may have been spent."""
NO_ERROR = {"error_code": None, "error_message": None, "error_raw": None}
FROM_THE_START = {
    **NO_ERROR,
    **dict.fromkeys(("bytes", "sha256", "duration_seconds", "width", "height", "suspect", "link_bytes", "ready_at")),
    "link": None,
    "link_refreshes": 0,
    "provider_errors": 0,
    "body_cuts": 0,
}


class Ledger:
    """The writes of one run."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    def _now(self) -> str:
        return iso(self._clock.utc())

    def _move(self, fingerprint: str, old: State, new: State, **columns: Any) -> Statement:
        assert new in MOVES[old], f"{old} -> {new}"
        return self._set(fingerprint, old, {"state": new, **columns})

    def _set(self, fingerprint: str, state: State, columns: dict[str, Any]) -> Statement:
        columns["updated_at"] = self._now()
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        return Statement(
            f"UPDATE pairs SET {assignments} WHERE fingerprint = :fingerprint_ AND state = :state_",
            {**columns, "fingerprint_": fingerprint, "state_": state},
            expect=1,
        )

    def _generation(self, client_request_id: str, **columns: Any) -> Statement:
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        return Statement(
            f"UPDATE generations SET {assignments} WHERE client_request_id = :id_",
            {**columns, "id_": client_request_id},
            expect=1,
        )

    async def intend(self, fingerprint: str, client_request_id: str, attempt: int, *, reserve: int) -> None:
        """Write down, before the paid call, that it is about to go out. The same line is in run.log by then."""
        now = self._now()
        line = dumps(
            {
                "at": now,
                "event": "intent",
                "client_request_id": client_request_id,
                "pair": fingerprint,
                "attempt": attempt,
                "reserve": reserve,
            }
        )
        await self._writer.put(
            self._move(fingerprint, State.PENDING, State.SUBMITTING, **NO_ERROR),
            Statement(
                """
                INSERT INTO generations (client_request_id, fingerprint, attempt, live, intended_at, reserve)
                VALUES (:client_request_id, :fingerprint, :attempt, 1, :now, :reserve)
                """,
                {
                    "client_request_id": client_request_id,
                    "fingerprint": fingerprint,
                    "attempt": attempt,
                    "now": now,
                    "reserve": reserve,
                },
            ),
            lines=[line],
        )

    async def accepted(
        self,
        fingerprint: str,
        client_request_id: str,
        generation_id: str,
        *,
        quote: int | None,
        old: State = State.SUBMITTING,
        at: datetime | None = None,
    ) -> None:
        """The provider has the generation, since `at` or now: from here on it is polled, whatever happens."""
        accepted_at = iso(at) if at is not None else self._now()
        await self._writer.put(
            self._move(fingerprint, old, State.SUBMITTED, link=None, link_refreshes=0, **NO_ERROR),
            self._generation(
                client_request_id, generation_id=generation_id, quote=quote, accepted_at=accepted_at, outcome="accepted"
            ),
            lines=[_accepted_line(client_request_id, generation_id, quote=quote, at=accepted_at)],
        )

    async def not_taken(
        self,
        fingerprint: str,
        client_request_id: str,
        new: State,
        *,
        outcome: str,
        message: str,
        raw: str = "",
        body_cut: bool = False,
    ) -> None:
        """Nothing runs at the provider: the pair waits for another turn, or has failed. Its attempt number is used."""
        error = {"error_code": outcome, "error_message": message, "error_raw": raw or None}
        if outcome in SPENT:
            outcome = f"refused: {outcome}"  # the provider's word for it is one of ours, for something else
        cut = [_count_up(fingerprint, "body_cuts")] if body_cut else []
        await self._writer.put(
            self._move(fingerprint, State.SUBMITTING, new, **error),
            self._generation(client_request_id, live=0, outcome=outcome, raw=raw or None),
            *cut,
        )

    async def unclear(self, fingerprint: str, client_request_id: str, *, code: str, message: str, raw: str) -> None:
        """The answer never came, or said nothing: the generation counts as alive until it is resolved."""
        await self._writer.put(
            self._move(
                fingerprint,
                State.SUBMITTING,
                State.UNCLEAR,
                error_code=code,
                error_message=message,
                error_raw=raw or None,
            ),
            self._generation(client_request_id, outcome="unclear", raw=raw or None),
        )

    async def interrupted_submits(self) -> None:
        """What a dead run left in `submitting`: it may or may not have been accepted."""
        message = "the program ended while the submit was on its way; it may have been accepted"
        await self._writer.put(
            Statement(
                """
                UPDATE generations SET outcome = 'unclear'
                WHERE live = 1 AND fingerprint IN (SELECT fingerprint FROM pairs WHERE state = :old)
                """,
                {"old": State.SUBMITTING},
            ),
            Statement(
                """
                UPDATE pairs SET state = :new, error_code = 'interrupted', error_message = :message, updated_at = :now
                WHERE state = :old
                """,
                {"new": State.UNCLEAR, "old": State.SUBMITTING, "message": message, "now": self._now()},
            ),
        )

    async def ready(
        self, fingerprint: str, client_request_id: str, *, link: str, link_bytes: int | None, usage: int | None
    ) -> None:
        """The provider finished and said where the video is."""
        now = self._now()
        await self._writer.put(
            self._move(
                fingerprint, State.SUBMITTED, State.READY, link=link, link_bytes=link_bytes, ready_at=now, **NO_ERROR
            ),
            Statement(
                # A link that was refreshed must not move the time at which the generation was seen to end.
                """
                UPDATE generations
                SET outcome = 'finished', quote = coalesce(:usage, quote), finished_at = coalesce(finished_at, :now)
                WHERE client_request_id = :id
                """,
                {"usage": usage, "now": now, "id": client_request_id},
                expect=1,
            ),
        )

    async def provider_error(
        self, fingerprint: str, client_request_id: str, new: State, *, code: str, message: str, raw: str
    ) -> None:
        """The provider gave the generation up, and does not charge it."""
        await self._writer.put(
            self._move(
                fingerprint, State.SUBMITTED, new, error_code=code, error_message=message, error_raw=raw or None
            ),
            self._generation(
                client_request_id, live=0, outcome="provider_error", raw=raw or None, finished_at=self._now()
            ),
            _count_up(fingerprint, "provider_errors"),
        )

    async def fail(self, fingerprint: str, old: State, *, code: str, message: str, raw: str = "") -> None:
        """Stop a pair whose generation id stays: `retry` polls it again."""
        await self._writer.put(
            self._move(fingerprint, old, State.FAILED, error_code=code, error_message=message, error_raw=raw or None)
        )

    async def refresh_link(self, fingerprint: str) -> None:
        """The link is dead: ask the provider for a fresh one."""
        await self._writer.put(
            self._move(fingerprint, State.READY, State.SUBMITTED, link=None), _count_up(fingerprint, "link_refreshes")
        )

    async def keep_file(self, fingerprint: str, file: FileInfo, suspect: str | None) -> None:
        """Commit what the checked file is, before it gets its final name."""
        media = file.media
        await self._writer.put(
            self._set(
                fingerprint,
                State.READY,
                {
                    "bytes": file.bytes,
                    "sha256": file.sha256,
                    "duration_seconds": media.duration if media else None,
                    "width": media.width if media else None,
                    "height": media.height if media else None,
                    "suspect": suspect,
                },
            )
        )

    async def outputs_moved(self, moves: Sequence[tuple[str, str, bool]]) -> None:
        """Files of ours that were renamed: (old path, new path, whether the new one is in superseded/)."""
        await self._writer.put(
            *(
                Statement(
                    "UPDATE OR REPLACE outputs SET path = :new, superseded = :superseded WHERE path = :old",
                    {"old": old, "new": new, "superseded": int(superseded)},
                )
                for old, new, superseded in moves
            )
        )

    async def done(
        self,
        fingerprint: str,
        paths: Collection[str],
        *,
        superseded: bool = False,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """The file is in place for every job that wants it. `tags`: what a store knows it by, by path."""
        await self._writer.put(
            self._move(fingerprint, State.READY, State.DONE, **NO_ERROR),
            *(_output(path, fingerprint, superseded=superseded) for path in paths),
            *(_tagged(path, fingerprint, tag) for path, tag in tags.items()),
        )

    async def outputs_tagged(self, found: Iterable[tuple[str, str, str]]) -> None:
        """What a store knows finished files by: (path, fingerprint, tag), of those that were seen to be right."""
        await self._writer.put(*(_tagged(path, fingerprint, tag) for path, fingerprint, tag in found))

    async def outputs_added(self, fingerprint: str, paths: Collection[str]) -> None:
        """More places where a finished pair's file now stands."""
        await self._writer.put(*(_output(path, fingerprint, superseded=False) for path in paths))

    async def output_missing(self, fingerprint: str, paths: Collection[str]) -> None:
        """A finished file is gone or damaged: fetch it again, for nothing."""
        await self._writer.put(
            self._move(fingerprint, State.DONE, State.READY, ready_at=self._now(), link_refreshes=0),
            *(_gone(path) for path in paths),
        )

    async def outputs_gone(self, paths: Collection[str]) -> None:
        """Files of ours that are no longer where they were."""
        await self._writer.put(*(_gone(path) for path in paths))

    async def plan_file_moves(self, moves: Collection[FileMove]) -> None:
        """Write down renames before the first of them is made."""
        await self._writer.put(
            *(
                Statement(
                    """
                    INSERT INTO file_moves (holding, source, target, fingerprint, held)
                    VALUES (:holding, :source, :target, :fingerprint, 0)
                    """,
                    asdict(move),
                )
                for move in moves
            )
        )

    async def file_moves_held(self) -> None:
        """Every file of the plan has left its old name."""
        await self._writer.put(Statement("UPDATE file_moves SET held = 1", {}))

    async def file_moved(self, move: FileMove, *, landed: bool) -> None:
        """A file of the plan stands under its new name, or is not to be found."""
        output = [_output(move.target, move.fingerprint, superseded=False)] if landed else []
        await self._writer.put(
            # Only this pair's row: in a swap, another file has taken the old name by now.
            Statement(
                "DELETE FROM outputs WHERE path = :path AND fingerprint = :fingerprint",
                {"path": move.source, "fingerprint": move.fingerprint},
            ),
            *output,
            Statement("DELETE FROM file_moves WHERE holding = :holding", {"holding": move.holding}),
        )

    async def retry(self, fingerprint: str) -> None:
        """A failed pair once more: its id is polled again; only one that surely cost nothing may be submitted again.

        A pair on which money may have been spent, and whose id is not known or is given up, stays failed.
        """
        columns = {
            "fingerprint": fingerprint,
            "failed": State.FAILED,
            "submitted": State.SUBMITTED,
            "pending": State.PENDING,
            "now": self._now(),
        }
        await self._writer.put(
            Statement(f"{_AGAIN} :submitted WHERE {_FAILED} AND {HAS_LIVE_ID}", columns),
            Statement(f"{_AGAIN} :pending WHERE {_FAILED} AND {COST_NOTHING}", columns),
        )

    async def pay_again(self, fingerprint: str) -> None:
        """A failed pair is paid for once more, whatever became of the generation before: a person has said so."""
        await self._writer.put(
            Statement("UPDATE generations SET live = 0 WHERE fingerprint = :fingerprint", {"fingerprint": fingerprint}),
            self._move(fingerprint, State.FAILED, State.PENDING, **FROM_THE_START),
        )

    async def resubmit(self, fingerprint: str) -> None:
        """An unclear pair is sent again, by a person's order. What the first submit may have cost stays counted."""
        await self._writer.put(
            Statement("UPDATE generations SET live = 0 WHERE fingerprint = :fingerprint", {"fingerprint": fingerprint}),
            self._move(fingerprint, State.UNCLEAR, State.PENDING, **FROM_THE_START),
        )

    async def give_up(self, fingerprint: str) -> None:
        """An unclear pair is looked for no more, by a person's order. It is submitted again by `pay_again` alone."""
        await self._writer.put(
            Statement(
                "UPDATE generations SET live = 0, outcome = 'given_up' WHERE fingerprint = :fingerprint AND live = 1",
                {"fingerprint": fingerprint},
            ),
            self._move(
                fingerprint,
                State.UNCLEAR,
                State.FAILED,
                error_code="given_up",
                error_message="the answer to the submit never came, and a person gave it up",
            ),
        )

    async def found_late(self, fingerprint: str, client_request_id: str, generation_id: str) -> None:
        """A submit that a person had written off was accepted after all: its id, so that its charge is known as ours.

        Where nothing else was tried since, nothing is paid a second time: a pair that was to be sent again is polled
        instead, and one that was given up is polled after a `retry`.
        """
        now = self._now()
        columns = {
            "id": client_request_id,
            "generation_id": generation_id,
            "fingerprint": fingerprint,
            "failed": State.FAILED,
            "pending": State.PENDING,
            "submitted": State.SUBMITTED,
            "now": now,
        }
        await self._writer.put(
            Statement(
                "UPDATE generations SET generation_id = :generation_id, accepted_at = :now, outcome = 'accepted' "
                "WHERE client_request_id = :id AND live = 0 AND generation_id IS NULL",
                columns,
                expect=1,
            ),
            Statement(
                """
                UPDATE generations SET live = 1 WHERE client_request_id = :id
                    AND attempt = (SELECT max(attempt) FROM generations WHERE fingerprint = :fingerprint)
                    AND EXISTS (
                        SELECT 1 FROM pairs WHERE fingerprint = :fingerprint AND state IN (:failed, :pending)
                    )
                """,
                columns,
            ),
            Statement(
                """
                UPDATE pairs SET state = :submitted, updated_at = :now
                WHERE fingerprint = :fingerprint AND state = :pending
                    AND EXISTS (SELECT 1 FROM generations WHERE client_request_id = :id AND live = 1)
                """,
                columns,
            ),
            lines=[_accepted_line(client_request_id, generation_id, quote=None, at=now)],
        )

    async def redo(self, old: str, new: Pair, *, reason: str) -> None:
        """Another take of a finished pair takes its place: for its jobs now, and wherever a manifest names the old one.

        The old video stays where it is until the new one lands.
        """
        columns = {"old": old, "new": new.fingerprint, "take": new.take, "reason": reason, "now": self._now()}
        await self._writer.put(
            Statement(_ANOTHER_TAKE, {**columns, "state": State.PENDING, "done": State.DONE}, expect=1),
            Statement("INSERT INTO redos VALUES (:old, :new, :take, :reason, :now)", columns),
            Statement("UPDATE jobs SET fingerprint = :new WHERE fingerprint = :old", columns),
            Statement("UPDATE pairs SET wanted = 0 WHERE fingerprint = :old", columns),
        )

    async def charged(self, charges: Sequence[Charged]) -> None:
        """What the account says was taken for generations; those of other batches are left out.

        Reading the same charge again changes nothing; several charges of one generation add up.
        """
        rows = dumps([asdict(charge) for charge in charges])
        await self._writer.put(
            Statement(
                """
                INSERT OR IGNORE INTO charges (generation_id, charged_at, cost)
                SELECT value ->> 'generation_id', value ->> 'charged_at', value ->> 'cost' FROM json_each(:rows)
                WHERE value ->> 'generation_id' IN (SELECT generation_id FROM generations)
                """,
                {"rows": rows},
            ),
            Statement(
                """
                UPDATE generations SET settled = (
                    SELECT sum(cost) FROM charges AS c WHERE c.generation_id = generations.generation_id
                )
                WHERE generation_id IN (
                    SELECT c.generation_id FROM charges AS c, json_each(:rows) AS r
                    WHERE c.generation_id = r.value ->> 'generation_id'
                )
                """,
                {"rows": rows},
            ),
        )


HAS_LIVE_ID = """EXISTS (
    SELECT 1 FROM generations AS g
    WHERE g.fingerprint = pairs.fingerprint AND g.live = 1 AND g.generation_id IS NOT NULL
)"""
# Only the newest attempt: over any earlier one that may have cost something, a person has decided.
COST_NOTHING = f"""NOT EXISTS (
    SELECT 1 FROM generations AS g
    WHERE g.fingerprint = pairs.fingerprint
      AND g.attempt = (SELECT max(attempt) FROM generations AS h WHERE h.fingerprint = pairs.fingerprint)
      AND (g.live = 1 OR g.settled > 0 OR g.outcome IN {SPENT})
)"""
_ANOTHER_TAKE = """
INSERT INTO pairs (
    fingerprint, state, model, take, video, speech, video_sha256, audio_sha256, speech_seconds, billable_seconds,
    upload_bytes, wanted, position, priority, last_output, estimate, updated_at
)
SELECT :new, :state, model, :take, video, speech, video_sha256, audio_sha256, speech_seconds, billable_seconds,
    upload_bytes, wanted, position, priority, last_output, estimate, :now
FROM pairs WHERE fingerprint = :old AND state = :done
"""
_FAILED = "fingerprint = :fingerprint AND state = :failed"
_AGAIN = """
UPDATE pairs SET error_code = NULL, error_message = NULL, error_raw = NULL, updated_at = :now,
    link = NULL, link_refreshes = 0, provider_errors = 0, body_cuts = 0, state ="""


def _accepted_line(client_request_id: str, generation_id: str, *, quote: int | None, at: str) -> str:
    """What run.log says of an answer; `RunLog.accepted` and `rebuild` read it."""
    ours = {"client_request_id": client_request_id}
    return dumps({"at": at, "event": "accepted", **ours, "id": generation_id, "quote": quote})


def _gone(path: str) -> Statement:
    return Statement("DELETE FROM outputs WHERE path = :path", {"path": path})


def _output(path: str, fingerprint: str, *, superseded: bool) -> Statement:
    return Statement(
        "INSERT OR REPLACE INTO outputs (path, fingerprint, superseded) VALUES (:path, :fingerprint, :superseded)",
        {"path": path, "fingerprint": fingerprint, "superseded": int(superseded)},
    )


def _tagged(path: str, fingerprint: str, tag: str) -> Statement:
    return Statement(
        "INSERT OR REPLACE INTO output_tags (path, fingerprint, tag) VALUES (:path, :fingerprint, :tag)",
        {"path": path, "fingerprint": fingerprint, "tag": tag},
    )


def _count_up(fingerprint: str, column: str) -> Statement:
    return Statement(
        f"UPDATE pairs SET {column} = {column} + 1 WHERE fingerprint = :fingerprint", {"fingerprint": fingerprint}
    )
