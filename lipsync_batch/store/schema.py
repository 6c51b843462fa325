"""The tables of jobs.db, as numbered migrations. A released migration is never edited.

Instants are ISO 8601 in UTC with milliseconds, money is integer micro-USD, sources and labels are JSON. The file is
made to be read with any SQLite tool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Migrations

from lipsync_batch.jobs import State

if TYPE_CHECKING:
    from sqlite_utils import Database

migrations = Migrations("lipsync-batch")

_STATES = ", ".join(f"'{state}'" for state in State)


@migrations()
def m001_tables(db: Database) -> None:
    """Pairs, the jobs that name them, the ledger of generations, runs, files in place and what inputs were."""
    for statement in _M001:
        db.execute(statement)


_M001 = (
    """
    CREATE TABLE batch (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        batch_id TEXT NOT NULL,
        provider TEXT NOT NULL,
        origin TEXT NOT NULL,
        manifest TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) STRICT
    """,
    f"""
    CREATE TABLE pairs (
        fingerprint TEXT PRIMARY KEY,
        state TEXT NOT NULL CHECK (state IN ({_STATES})),
        model TEXT NOT NULL,
        take INTEGER NOT NULL,
        video TEXT NOT NULL,
        speech TEXT NOT NULL,
        video_sha256 TEXT,
        audio_sha256 TEXT,
        speech_seconds REAL,
        billable_seconds REAL NOT NULL,
        upload_bytes INTEGER NOT NULL,
        wanted INTEGER NOT NULL,
        position INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        last_output TEXT NOT NULL,
        estimate INTEGER,
        link TEXT,
        link_bytes INTEGER,
        ready_at TEXT,
        link_refreshes INTEGER NOT NULL DEFAULT 0,
        provider_errors INTEGER NOT NULL DEFAULT 0,
        body_cuts INTEGER NOT NULL DEFAULT 0,
        bytes INTEGER,
        sha256 TEXT,
        duration_seconds REAL,
        width INTEGER,
        height INTEGER,
        suspect TEXT,
        error_code TEXT,
        error_message TEXT,
        error_raw TEXT,
        updated_at TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX pairs_by_turn ON pairs (state, wanted, priority DESC, position)",
    "CREATE INDEX pairs_by_readiness ON pairs (ready_at) WHERE state = 'ready'",
    """
    CREATE TABLE jobs (
        key TEXT PRIMARY KEY,
        output TEXT NOT NULL UNIQUE,
        labels TEXT NOT NULL,
        position INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        fingerprint TEXT NOT NULL REFERENCES pairs (fingerprint)
    ) STRICT
    """,
    "CREATE INDEX jobs_by_position ON jobs (position)",
    "CREATE INDEX jobs_by_pair ON jobs (fingerprint)",
    """
    CREATE TABLE generations (
        client_request_id TEXT PRIMARY KEY,
        fingerprint TEXT NOT NULL REFERENCES pairs (fingerprint),
        attempt INTEGER NOT NULL,
        generation_id TEXT,
        live INTEGER NOT NULL,
        intended_at TEXT NOT NULL,
        accepted_at TEXT,
        finished_at TEXT,
        reserve INTEGER NOT NULL,
        quote INTEGER,
        settled INTEGER,
        outcome TEXT,
        raw TEXT,
        UNIQUE (fingerprint, attempt)
    ) STRICT
    """,
    # Law 1, said by the database itself: at most one live generation a pair.
    "CREATE UNIQUE INDEX one_live_generation ON generations (fingerprint) WHERE live = 1",
    "CREATE INDEX generations_by_id ON generations (generation_id)",
    """
    CREATE TABLE outputs (
        path TEXT PRIMARY KEY,
        fingerprint TEXT NOT NULL REFERENCES pairs (fingerprint),
        superseded INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    "CREATE INDEX outputs_by_pair ON outputs (fingerprint)",
    """
    CREATE TABLE file_moves (
        holding TEXT PRIMARY KEY,
        source TEXT NOT NULL,
        target TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        held INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE inputs (
        path TEXT NOT NULL,
        kind TEXT NOT NULL,
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        media TEXT,
        problem TEXT,
        cacheable INTEGER NOT NULL,
        PRIMARY KEY (path, kind)
    ) STRICT
    """,
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        started_at TEXT NOT NULL,
        ended_at TEXT,
        pid INTEGER NOT NULL,
        version TEXT NOT NULL,
        stop_reason TEXT NOT NULL,
        exit_code INTEGER
    ) STRICT
    """,
)


@migrations()
def m002_redos_and_charges(db: Database) -> None:
    """Finished pairs of which another take was asked for, and what the account says was taken for generations."""
    for statement in _M002:
        db.execute(statement)


_M002 = (
    # What the manifest still calls `fingerprint` is made as `successor` now, the same pair with another take.
    """
    CREATE TABLE redos (
        fingerprint TEXT PRIMARY KEY REFERENCES pairs (fingerprint),
        successor TEXT NOT NULL UNIQUE REFERENCES pairs (fingerprint),
        take INTEGER NOT NULL,
        reason TEXT NOT NULL,
        asked_at TEXT NOT NULL
    ) STRICT
    """,
    # The account names no id of a charge: these three together are one, so that reading a page twice adds nothing.
    """
    CREATE TABLE charges (
        generation_id TEXT NOT NULL,
        charged_at TEXT NOT NULL,
        cost INTEGER NOT NULL,
        PRIMARY KEY (generation_id, charged_at, cost)
    ) STRICT
    """,
)


@migrations()
def m003_large_batches(db: Database) -> None:
    """What lets a run of a million jobs begin at once: what the last reading of the manifest found, and indices."""
    for statement in _M003:
        db.execute(statement)


_M003 = (
    # The last manifest that was taken in with nothing wrong; `digest` stands for all that its jobs depend on.
    """
    CREATE TABLE intake (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        digest TEXT NOT NULL,
        jobs INTEGER NOT NULL,
        warnings TEXT NOT NULL,
        warning_count INTEGER NOT NULL
    ) STRICT
    """,
    # The local files that its jobs name; what they were is in `inputs`.
    """
    CREATE TABLE intake_inputs (
        path TEXT NOT NULL,
        kind TEXT NOT NULL,
        PRIMARY KEY (path, kind)
    ) STRICT
    """,
    # A row says that every finished file was put where the jobs want it, and that they want it nowhere else since.
    "CREATE TABLE placed (id INTEGER PRIMARY KEY CHECK (id = 1), at TEXT NOT NULL) STRICT",
    # Each holds all that is asked of it at the start of a run, so that no row has to be looked at.
    "CREATE INDEX pairs_to_pay ON pairs (wanted, billable_seconds, upload_bytes, estimate) WHERE state = 'pending'",
    "CREATE INDEX pairs_without_estimate ON pairs (state) WHERE estimate IS NULL",
    "CREATE INDEX pairs_done ON pairs (state) WHERE state = 'done'",
    "CREATE INDEX generations_by_end ON generations (finished_at, accepted_at) WHERE outcome = 'finished'",
    "CREATE INDEX generations_unsettled ON generations (accepted_at) WHERE settled IS NULL",
    "CREATE INDEX generations_dearer ON generations (fingerprint) WHERE settled > reserve",
)


@migrations()
def m004_objects(db: Database) -> None:
    """What the objects were that the jobs name, in S3 and its like."""
    db.execute("CREATE TABLE objects (url TEXT PRIMARY KEY, identity TEXT NOT NULL, size INTEGER NOT NULL) STRICT")


@migrations()
def m005_output_store(db: Database) -> None:
    """Where the finished videos of a batch go, if that is not its folder."""
    db.execute("CREATE TABLE output_store (id INTEGER PRIMARY KEY CHECK (id = 1), url TEXT NOT NULL) STRICT")


@migrations()
def m006_output_tags(db: Database) -> None:
    """What a store knows the videos by that stand there, so that a listing of it says whether they still do."""
    db.execute(
        """
        CREATE TABLE output_tags (
            path TEXT PRIMARY KEY,
            fingerprint TEXT NOT NULL REFERENCES pairs (fingerprint),
            tag TEXT NOT NULL
        ) STRICT
        """
    )
