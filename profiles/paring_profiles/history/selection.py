"""Rows out of the store: what `paring history`, reports and sweeps read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import itemgetter
from typing import Any

from paring_profiles.history.fingerprint import Host
from paring_profiles.history.period import since_seconds
from paring_profiles.history.rows import Row
from paring_runtimes.errors import InputError

CASE_KEYS = {"batch": "batch_size", "tokens": "prompt_tokens", "phase": "phase"}
# What makes two rows measurements of the same thing with the same engine and settings.
_SAME = "artifact_digest, engine, machine, settings, name, batch_size, prompt_tokens, phase"
_PLAIN = (
    "id", "profile", "created_s", "machine", "name", "artifact_digest", "format", "engine", "source",
    "batch_size", "prompt_tokens", "phase", "p50_ms", "p90_ms", "p99_ms", "throughput_per_s", "calls",
    "provenance", "size_bytes", "parameters", "macs", "peak_memory_bytes", "load_ms", "metric", "quality",
    "quality_samples", "quality_data", "energy_measured_mj", "energy_modelled_mj", "baseline",
    "baseline_digest", "speedup",
)  # fmt: skip
_SHARED = ("r.recipe", "r.settings", "p.environment", "p.noise", "p.git_commit", "p.git_changed")
_BOUNDS = ("p50_low_ms", "p50_high_ms", "quality_low", "quality_high", "speedup_low", "speedup_high")
_COLUMNS = ", ".join([*(f"r.{name}" for name in _PLAIN), *_SHARED, *(f"r.{name}" for name in _BOUNDS)])

_JOINED = "results r JOIN profiles p ON p.id = r.profile"
_ORDER = itemgetter(_PLAIN.index("created_s"), _PLAIN.index("id"))


@dataclass(frozen=True)
class Selection:
    """Which rows. Every condition that is given must hold.

    Attributes:
        since: an age, a day, a time or a profile's number, see `period`.
        names: of candidates.
        artifact: the beginning of an artifact's digest.
        machine: the beginning of a machine's fingerprint.
        case: some of `batch_size`, `prompt_tokens`, `phase`.
        labels: that the run has.
        profiles: numbers of runs.
        latest: only the newest row of each artifact, engine, machine, settings and case: what a scatter of
            all that was tried shows.
        limit: how many, the newest.
    """

    since: str | None = None
    names: Sequence[str] = ()
    artifact: str | None = None
    machine: str | None = None
    case: Mapping[str, int | str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    profiles: Sequence[int] = ()
    latest: bool = False
    limit: int | None = None


def select(connection: sqlite3.Connection, wanted: Selection) -> list[Row]:
    """Return the rows that fit, newest first.

    Raises:
        InputError: `since` is no time, or `case` has another key.
    """
    conditions, values = _conditions(connection, wanted)
    where = " AND ".join(conditions) or "1"
    ordered = "ORDER BY r.created_s DESC, r.id DESC LIMIT ?"
    limited = [*values, -1 if wanted.limit is None else wanted.limit]
    if not wanted.latest:
        statement = f"SELECT {_COLUMNS} FROM {_JOINED} WHERE {where} {ordered}"
        return list(_rows(connection, connection.execute(statement, limited).fetchall()))
    # SQLite takes the other columns from the row that holds the maximum. An index has all that this needs, so
    # that no row is read that the limit leaves out; and what is read is put in order here, for SQLite would
    # write every column of it into a sorter.
    newest = f"SELECT id, max(created_s) AS created_s FROM results r WHERE {where} GROUP BY {_SAME}"
    statement = f"SELECT {_COLUMNS} FROM {_JOINED} WHERE r.id IN (SELECT id FROM ({newest}) r {ordered})"
    found = connection.execute(statement, limited).fetchall()
    found.sort(key=_ORDER, reverse=True)
    return list(_rows(connection, found))


def _conditions(connection: sqlite3.Connection, wanted: Selection) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []

    def hold(condition: str, *of: Any) -> None:
        conditions.append(condition)
        values.extend(of)

    if wanted.since is not None:
        hold("r.created_s >= ?", since_seconds(connection, wanted.since))
    if wanted.names:
        hold(f"r.name IN ({', '.join('?' * len(wanted.names))})", *wanted.names)
    if wanted.profiles:
        hold(f"r.profile IN ({', '.join('?' * len(wanted.profiles))})", *wanted.profiles)
    for column, begin in (("artifact_digest", wanted.artifact), ("machine", wanted.machine)):
        if begin is not None:
            hold(f"r.{column} >= ? AND r.{column} < ?", begin, begin + "\uffff")
    for column, value in wanted.case.items():
        if column not in CASE_KEYS.values():
            raise InputError(f"case: expected some of {', '.join(CASE_KEYS.values())}, given {column}")
        hold(f"r.{column} = ?", value)
    for key, label in wanted.labels.items():
        hold("r.profile IN (SELECT profile FROM labels WHERE key = ? AND value = ?)", key, label)
    return conditions, values


def _rows(connection: sqlite3.Connection, found: Sequence[tuple[Any, ...]]) -> Iterator[Row]:
    if not found:
        return
    hosts, labels = _hosts(connection), _labels(connection, [values[1] for values in found])
    documents: dict[int, Mapping[str, Any]] = {}
    noises: dict[str, tuple[str, ...]] = {}
    bare: Mapping[str, str] = {}

    def document(number: int) -> Mapping[str, Any]:
        if number not in documents:
            one = connection.execute("SELECT json FROM documents WHERE id = ?", (number,)).fetchone()
            documents[number] = json.loads(one[0])
        return documents[number]

    plain, shared = len(_PLAIN), len(_PLAIN) + len(_SHARED)
    for values in found:
        recipe, settings, environment, noise, commit, changed = values[plain:shared]
        if noise not in noises:
            noises[noise] = tuple(json.loads(noise))
        told = dict(zip(_PLAIN, values, strict=False))
        told["host"] = hosts[values[3]]
        told["recipe"] = document(recipe)
        told["settings"] = document(settings)
        told["settings_key"] = settings
        told["environment"] = document(environment)
        told["environment_key"] = environment
        told["p50_ci95_ms"] = _interval(values[shared], values[shared + 1])
        told["quality_ci95"] = _interval(values[shared + 2], values[shared + 3])
        told["speedup_ci95"] = _interval(values[shared + 4], values[shared + 5])
        told["noise"] = noises[noise]
        told["labels"] = labels.get(values[1], bare)
        told["git_commit"] = commit
        told["git_changed"] = None if changed is None else bool(changed)
        # Not by `Row(...)`, which sets its many fields one by one, each past the guard of a frozen class:
        # with tens of thousands of rows that is most of a query's time.
        row = object.__new__(Row)
        object.__setattr__(row, "__dict__", told)
        yield row


def _interval(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _hosts(connection: sqlite3.Connection) -> dict[str, Host]:
    names = [one.name for one in fields(Host)]
    found = connection.execute(f"SELECT fingerprint, {', '.join(names)} FROM machines")
    hosts = {}
    for fingerprint, *values in found:
        told = dict(zip(names, values, strict=True))
        virtualised = told.pop("virtualised")
        hosts[fingerprint] = Host(**told, virtualised=None if virtualised is None else bool(virtualised))
    return hosts


def _labels(connection: sqlite3.Connection, profiles: Sequence[int]) -> dict[int, dict[str, str]]:
    labels: dict[int, dict[str, str]] = {}
    statement = "SELECT profile, key, value FROM labels WHERE profile IN (SELECT value FROM json_each(?))"
    for profile, key, value in connection.execute(statement, (json.dumps(profiles),)):
        labels.setdefault(profile, {})[key] = value
    return labels
