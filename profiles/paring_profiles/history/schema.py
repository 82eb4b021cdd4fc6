"""The store's tables, and how an older store becomes a newer one.

`PRAGMA user_version` counts the migrations that a database has been through; `application_id` tells a
store from other SQLite files.

- `profiles`: one row a run of `paring profile`.
- `contents`: the whole profile (JSON, zlib), so that nothing is lost; apart: queries need not read it.
- `results`: one row a (run, candidate, case): what queries read. NULL means: not measured.
- `documents`: JSON objects that many rows share (recipe, settings, environment), each once.
- `machines`, `labels`: what their names say.
"""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x70617265  # "pare"

_FIRST = """
CREATE TABLE machines (
    fingerprint TEXT PRIMARY KEY,
    cpu TEXT NOT NULL,
    cores_physical INTEGER,
    cores_logical INTEGER,
    memory_gib INTEGER,
    system TEXT NOT NULL,
    virtualised INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
    id INTEGER PRIMARY KEY,
    json TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE profiles (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created_s INTEGER NOT NULL,
    stored_s INTEGER NOT NULL,
    machine TEXT NOT NULL REFERENCES machines (fingerprint),
    settings INTEGER NOT NULL REFERENCES documents (id),
    environment INTEGER NOT NULL REFERENCES documents (id),
    noise TEXT NOT NULL,
    git_commit TEXT,
    git_changed INTEGER,
    digest TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE contents (
    profile INTEGER PRIMARY KEY REFERENCES profiles (id),
    json_zlib BLOB NOT NULL
) STRICT;

CREATE TABLE labels (
    profile INTEGER NOT NULL REFERENCES profiles (id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (profile, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_of_value ON labels (key, value, profile);

CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    profile INTEGER NOT NULL REFERENCES profiles (id),
    created_s INTEGER NOT NULL,
    machine TEXT NOT NULL REFERENCES machines (fingerprint),
    settings INTEGER NOT NULL REFERENCES documents (id),
    name TEXT NOT NULL,
    artifact_digest TEXT,
    format TEXT NOT NULL,
    engine TEXT,
    source TEXT,
    recipe INTEGER NOT NULL REFERENCES documents (id),
    batch_size INTEGER NOT NULL,
    prompt_tokens INTEGER,
    phase TEXT NOT NULL,
    p50_ms REAL NOT NULL,
    p50_low_ms REAL NOT NULL,
    p50_high_ms REAL NOT NULL,
    p90_ms REAL,
    p99_ms REAL,
    throughput_per_s REAL NOT NULL,
    calls INTEGER NOT NULL,
    provenance TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    parameters INTEGER,
    macs INTEGER,
    peak_memory_bytes INTEGER,
    load_ms REAL,
    metric TEXT,
    quality REAL,
    quality_low REAL,
    quality_high REAL,
    quality_samples INTEGER,
    quality_data TEXT,
    energy_measured_mj REAL,
    energy_modelled_mj REAL,
    baseline TEXT,
    baseline_digest TEXT,
    speedup REAL,
    speedup_low REAL,
    speedup_high REAL
) STRICT;
CREATE INDEX results_newest ON results (created_s, id);
CREATE INDEX results_of_series ON results (name, machine, batch_size, prompt_tokens, phase, created_s, id);
CREATE INDEX results_of_profile ON results (profile);
CREATE INDEX results_of_artifact ON results (
    artifact_digest, engine, machine, settings, name, batch_size, prompt_tokens, phase, created_s, id
);
"""

# GPUs of a machine; an index for its newest rows, which its spread is estimated from.
_SECOND = """
ALTER TABLE machines ADD COLUMN gpus TEXT;
CREATE INDEX results_of_machine ON results (machine, created_s, id);
"""

MIGRATIONS = (_FIRST, _SECOND)


def version(connection: sqlite3.Connection) -> int:
    """Return how many migrations a database has been through; 0 for a new one."""
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def is_foreign(connection: sqlite3.Connection) -> bool:
    """Whether it is a database of something else."""
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    if owner == APPLICATION_ID:
        return False
    tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return owner != 0 or tables > 0


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database up to this version's schema, inside the transaction that is open."""
    done = version(connection)
    for number, script in enumerate(MIGRATIONS[done:], done + 1):
        # Not `executescript`, which would commit first.
        for statement in filter(str.strip, script.split(";\n")):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
