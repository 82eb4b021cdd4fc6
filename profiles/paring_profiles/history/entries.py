"""Each row beside the one before it: what `paring history` shows."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from paring_profiles.history.rows import Row

_BEFORE = """
SELECT profile, p50_ms, settings, engine FROM results
WHERE name = ? AND machine = ? AND batch_size = ? AND prompt_tokens IS ? AND phase = ?
AND (created_s, id) < (?, ?)
ORDER BY created_s DESC, id DESC LIMIT 1
"""


@dataclass(frozen=True)
class Entry:
    """A row and what changed since the row before of the same name, machine and case.

    Attributes:
        before: that row's profile; None where this is the first.
        change: of the median latency, a share: 0.03 is 3 % slower. None where settings or engine differ.
            A plain figure: whether it is more than chance is for `regressions` to say.
    """

    row: Row
    before: int | None
    change: float | None


def with_changes(connection: sqlite3.Connection, rows: Sequence[Row]) -> list[Entry]:
    """Return each row with the one before it, which need not be among the rows."""
    entries = []
    for row in rows:
        key = (row.name, row.machine, *row.case, row.created_s, row.id)
        found = connection.execute(_BEFORE, key).fetchone()
        if found is None:
            entries.append(Entry(row, None, None))
            continue
        profile, p50_ms, settings, engine = found
        engine_name = None if engine is None else engine.partition(" ")[0]
        alike = settings == row.settings_key and engine_name == row.engine_name
        entries.append(Entry(row, profile, row.p50_ms / p50_ms - 1 if alike else None))
    return entries
