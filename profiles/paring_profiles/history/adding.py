"""A profile goes into the store: its rows, and itself whole."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from paring_profiles.history import fingerprint
from paring_profiles.history.fingerprint import as_json
from paring_profiles.history.working_tree import WorkingTree
from paring_profiles.result import Candidate, Latency, Profile
from paring_runtimes.errors import ArtifactError, InputError

_LEVEL = 6  # zlib's


def add(
    connection: sqlite3.Connection, profile: Profile, labels: Mapping[str, str], tree: WorkingTree | None
) -> tuple[int, bool]:
    """Add a profile inside the transaction that is open; return its number, and whether it is new.

    Raises:
        InputError: a label without a name.
        ArtifactError: the profile's `created` is no time.
    """
    if "" in labels:
        raise InputError("labels: a name is missing; KEY=VALUE is needed")
    # In its own order of keys, as its file has it.
    # `vars` and not `asdict`, which would copy every sample.
    text = json.dumps(profile, default=vars, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    whole = text.encode()
    digest = hashlib.sha256(whole).hexdigest()
    known = connection.execute("SELECT id FROM profiles WHERE digest = ?", (digest,)).fetchone()
    if known is not None:
        return int(known[0]), False
    shared = {
        "created_s": _seconds(profile.created),
        "machine": _add_host(connection, profile),
        "settings": _document(connection, fingerprint.settings(profile)),
    }
    number = _insert(
        connection,
        "profiles",
        {
            **shared,
            "stored_s": int(time.time()),
            "environment": _document(connection, fingerprint.environment(profile)),
            "noise": as_json(profile.noise),
            "git_commit": tree.commit if tree else None,
            "git_changed": tree.changed if tree else None,
            "digest": digest,
        },
    )
    _insert(connection, "contents", {"profile": number, "json_zlib": zlib.compress(whole, _LEVEL)})
    for key, value in labels.items():
        _insert(connection, "labels", {"profile": number, "key": key, "value": value})
    for candidate in profile.candidates:
        recipe = _document(connection, candidate.recipe)
        for latency in candidate.latency:
            told = _result(profile, candidate, latency)
            _insert(connection, "results", {**shared, "profile": number, "recipe": recipe, **told})
    return number, True


def _result(profile: Profile, candidate: Candidate, latency: Latency) -> dict[str, Any]:
    """Return the columns of one row that are its own."""
    return {
        "name": candidate.name,
        "artifact_digest": candidate.artifact_digest,
        "format": candidate.format,
        "engine": candidate.engine,
        "source": candidate.source,
        "batch_size": latency.batch_size,
        "prompt_tokens": latency.prompt_tokens,
        "phase": latency.phase,
        "p50_ms": latency.p50_ms,
        "p50_low_ms": latency.p50_ci95_ms[0],
        "p50_high_ms": latency.p50_ci95_ms[1],
        "p90_ms": latency.p90_ms,
        "p99_ms": latency.p99_ms,
        "throughput_per_s": latency.throughput_per_s,
        "calls": len(latency.samples_ms),
        "provenance": latency.provenance,
        "size_bytes": candidate.size_bytes,
        "parameters": candidate.parameters,
        "macs": candidate.macs_of(latency.case),
        "peak_memory_bytes": candidate.peak_memory_bytes,
        "load_ms": candidate.load_ms,
        **_quality(candidate.quality),
        **_against_baseline(profile, candidate, latency),
    }


def _quality(quality: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of a manifest: what the artifact itself reaches, which is called "after".

    A perplexity has the interval of its increase over the source's, chunk by chunk, on that of the source.
    """
    if not quality or quality.get("after") is None:
        return {}
    low, high = quality.get("after_ci95") or (None, None)
    if low is None and quality.get("increase_ci95") and quality.get("before") is not None:
        low, high = (quality["before"] * (1 + end) for end in quality["increase_ci95"])
    return {
        "metric": quality.get("metric"),
        "quality": quality["after"],
        "quality_low": low,
        "quality_high": high,
        "quality_samples": quality.get("samples"),
        "quality_data": quality.get("data_digest"),
    }


def _against_baseline(profile: Profile, candidate: Candidate, latency: Latency) -> dict[str, Any]:
    fitting = (c for c in profile.comparisons if (c.candidate, c.case) == (candidate.name, latency.case))
    found = next(fitting, None)
    if found is None:
        return {}
    return {
        "baseline": found.baseline,
        "baseline_digest": profile.candidates[0].artifact_digest,
        "speedup": found.latency_ratio,
        "speedup_low": found.latency_ratio_ci95[0],
        "speedup_high": found.latency_ratio_ci95[1],
    }


def _seconds(created: str) -> int:
    try:
        when = datetime.fromisoformat(created)
    except ValueError as error:
        raise ArtifactError(f"created: expected a time in ISO 8601, given {created!r}") from error
    return int((when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp())


def _add_host(connection: sqlite3.Connection, profile: Profile) -> str:
    host = fingerprint.host(profile.machine)
    _insert(connection, "machines", {"fingerprint": host.fingerprint, **asdict(host)}, "OR IGNORE ")
    return host.fingerprint


def _document(connection: sqlite3.Connection, value: Mapping[str, Any]) -> int:
    """Return the number of a JSON object, stored once."""
    text = as_json(value)
    connection.execute("INSERT OR IGNORE INTO documents (json) VALUES (?)", (text,))
    found: int = connection.execute("SELECT id FROM documents WHERE json = ?", (text,)).fetchone()[0]
    return found


def _insert(connection: sqlite3.Connection, table: str, values: Mapping[str, Any], how: str = "") -> int:
    """Insert a row; the names are this package's own."""
    places = ", ".join(f":{name}" for name in values)
    statement = f"INSERT {how}INTO {table} ({', '.join(values)}) VALUES ({places})"
    return connection.execute(statement, dict(values)).lastrowid or 0
