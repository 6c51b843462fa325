"""What to say to someone who asks for jobs that there are not: which labels there are, and which values."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from difflib import get_close_matches

from lipsync_batch.errors import UsageError
from lipsync_batch.jobs import Selection
from lipsync_batch.store.query import labelled
from lipsync_batch.store.rows import dumps

SHOWN = 12
"""Names or values that are listed."""
COMPARED = 1_000
"""Names or values among which one is looked for that may have been meant."""


def no_such_jobs(connection: sqlite3.Connection, table: str, selection: Selection) -> UsageError:
    """Why no job fits a selection. `table` holds them, with `key` and `labels`."""
    for label, value in selection.where.items():
        if not _any(connection, table, {label: None}):
            return no_such_label(connection, table, label)
        if not _any(connection, table, {label: value}):
            values = _values(connection, table, label)
            return UsageError(f'no job has {label} "{value}"; {_listed(values)}', hint=_meant(value, values))
    if len(selection.where) > 1 and not _any(connection, table, dict(selection.where)):
        together = " and ".join(f'{label} "{value}"' for label, value in selection.where.items())
        return UsageError(f"no job has {together} at once", hint="Each of them alone has jobs.")
    globs = " or ".join(selection.only)
    return UsageError(
        f"no job's key fits --only {globs}" + (f" among those with {selection}" if selection.where else ""),
        hint="A glob must fit the whole key: 'intro*', and in quotes, or the shell takes it for file names.",
    )


def no_such_label(connection: sqlite3.Connection, table: str, label: str) -> UsageError:
    """No job has a label of that name."""
    names = [
        row["key"]
        for row in connection.execute(
            f"SELECT DISTINCT l.key FROM {table} AS j, json_each(j.labels) AS l LIMIT {COMPARED}"
        )
    ]
    if not names:
        return UsageError(f'no job has a label "{label}"; there are no labels', hint="A column of its own makes one.")
    return UsageError(f'no job has a label "{label}"; {_listed(names)}', hint=_meant(label, names))


def _any(connection: sqlite3.Connection, table: str, where: dict[str, str | None]) -> bool:
    given = {label: value for label, value in where.items() if value is not None}
    condition, parameters = labelled(given, "j")
    for number, label in enumerate(where.keys() - given.keys()):
        condition += f" AND json_type(j.labels, :name{number}) NOT NULL"
        parameters[f"name{number}"] = f"$.{dumps(label)}"
    return (
        connection.execute(f"SELECT 1 FROM {table} AS j WHERE {condition} LIMIT 1", parameters).fetchone() is not None
    )


def _values(connection: sqlite3.Connection, table: str, label: str) -> list[str]:
    rows = connection.execute(
        f"""
        SELECT DISTINCT json_extract(j.labels, :path) AS value FROM {table} AS j
        WHERE value NOT NULL ORDER BY 1 LIMIT {COMPARED}
        """,
        {"path": f"$.{dumps(label)}"},
    )
    return [row["value"] for row in rows]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' if not name or " " in name else name for name in names[:SHOWN])
    more = len(names) - SHOWN
    at_least = " or" if len(names) == COMPARED else ""
    return f"there {'is' if len(names) == 1 else 'are'} {shown}" + (f" and {more:,}{at_least} more" if more > 0 else "")


def _meant(name: str, names: Sequence[str]) -> str:
    close = get_close_matches(name, names, 1)
    return f'Did you mean "{close[0]}"?' if close else "`lipsync-batch plan BATCH --by LABEL` counts the jobs of each."
