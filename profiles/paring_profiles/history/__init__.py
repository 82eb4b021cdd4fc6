"""The store of profiles: a local SQLite file, what was measured when, where and with what.

::

    from paring_profiles.history import Selection, add_profile, default_place, query

    add_profile(default_place(), found, labels={"branch": "main"})
    for row in query(default_place(), Selection(since="7d", names=["vit"], case={"batch_size": 1})):
        print(row.created, row.p50_ms, row.p50_ci95_ms)

`regressions` says what got slower, larger or less accurate, and how sure that is.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

from paring_profiles.history import adding
from paring_profiles.history.changes import Change, Limits
from paring_profiles.history.database import reading, writing
from paring_profiles.history.entries import Entry, with_changes
from paring_profiles.history.findings import Findings, find
from paring_profiles.history.place import VARIABLE, default_place
from paring_profiles.history.rows import Row, case_text, utc
from paring_profiles.history.selection import Selection, select
from paring_profiles.history.working_tree import WorkingTree, working_tree
from paring_profiles.result import Profile
from paring_profiles.store import from_json
from paring_runtimes.errors import InputError

__all__ = [
    "VARIABLE",
    "Change",
    "Entry",
    "Findings",
    "Limits",
    "Row",
    "Selection",
    "WorkingTree",
    "add_profile",
    "case_text",
    "check",
    "default_place",
    "history",
    "query",
    "regressions",
    "stored_profile",
    "utc",
    "working_tree",
]


def check(store: Path) -> None:
    """Make the store where there is none, and see that it can be written.

    Raises:
        StoreError: it cannot.
    """
    with writing(store):
        pass


def add_profile(
    store: Path,
    profile: Profile,
    labels: Mapping[str, str] | None = None,
    tree: WorkingTree | None = None,
) -> tuple[int, bool]:
    """Store a profile, whole or not at all; return its number, and whether it is new.

    One that is stored already is left as it is.

    Raises:
        StoreError: the store cannot be written.
        InputError: a label has no name.
    """
    with writing(store) as connection:
        return adding.add(connection, profile, labels or {}, tree)


def query(store: Path, wanted: Selection = Selection()) -> list[Row]:  # noqa: B008  frozen
    """Return the rows that fit, newest first.

    Raises:
        StoreError: the store cannot be read.
        InputError: see `Selection`.
    """
    with reading(store) as connection:
        return select(connection, wanted)


def history(store: Path, wanted: Selection = Selection()) -> list[Entry]:  # noqa: B008  frozen
    """Return the rows that fit, newest first, each with its change since the row before.

    Raises:
        StoreError, InputError: see `query`.
    """
    with reading(store) as connection:
        return with_changes(connection, select(connection, wanted))


def stored_profile(store: Path, number: int) -> Profile:
    """Return a whole profile as it was measured, every sample of it.

    Raises:
        StoreError: the store cannot be read.
        InputError: no profile has that number.
    """
    with reading(store) as connection:
        found = connection.execute("SELECT content FROM profiles WHERE id = ?", (number,)).fetchone()
    if found is None:
        raise InputError(f"{store}: no stored profile has the number {number}; see `paring history`")
    return from_json(zlib.decompress(found[0]), f"{store}, profile {number}")


def regressions(store: Path, wanted: Selection, limits: Limits = Limits()) -> Findings:  # noqa: B008  frozen
    """Judge the newest of every name, machine and case since `wanted.since` against what it was then.

    Raises:
        StoreError: the store cannot be read.
        InputError: no profile fits, or `since` is missing.
        ModuleNotFoundError: scipy is not installed (`paring[report]`).
    """
    with reading(store) as connection:
        return find(connection, wanted, limits)
