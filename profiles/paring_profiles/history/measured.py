"""The part of a row that says how far runs lie from each other: read by the thousand, without the rest."""

from __future__ import annotations

import functools
import sqlite3
from typing import NamedTuple

from paring_profiles.history.rows import Row
from paring_profiles.result import Case

_STATEMENT = """
SELECT r.profile, r.created_s, r.name, r.batch_size, r.prompt_tokens, r.phase, r.artifact_digest, r.engine,
    r.settings, p.environment, r.p50_ms, r.p50_low_ms, r.p50_high_ms, r.peak_memory_bytes, r.baseline_digest,
    r.speedup, r.speedup_low, r.speedup_high
FROM results r JOIN profiles p ON p.id = r.profile
WHERE r.machine = ? ORDER BY r.created_s DESC, r.id DESC LIMIT ?
"""


class Measured(NamedTuple):
    """A row's figures that vary from run to run, and what they are of. Names and units as in `Row`."""

    profile: int
    created_s: int
    name: str
    batch_size: int
    prompt_tokens: int | None
    phase: str
    artifact_digest: str | None
    engine: str | None
    settings_key: int
    environment_key: int
    p50_ms: float
    p50_low_ms: float
    p50_high_ms: float
    peak_memory_bytes: int | None
    baseline_digest: str | None
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None

    @property
    def case(self) -> Case:
        """What was timed."""
        return self.batch_size, self.prompt_tokens, self.phase

    @property
    def engine_name(self) -> str | None:
        """The engine without its version."""
        return None if self.engine is None else _first_word(self.engine)

    @property
    def p50_ci95_ms(self) -> tuple[float, float]:
        """The median's 95 % interval."""
        return self.p50_low_ms, self.p50_high_ms

    @property
    def speedup_ci95(self) -> tuple[float, float] | None:
        """The speed-up's 95 % interval."""
        if self.speedup_low is None or self.speedup_high is None:
            return None
        return self.speedup_low, self.speedup_high


_first_word = functools.cache(lambda engine: engine.partition(" ")[0])  # a store names few engines
Timed = Row | Measured


def newest_of(connection: sqlite3.Connection, machine: str, count: int) -> list[Measured]:
    """Return the newest `count` of a machine, by its whole fingerprint, newest first."""
    return list(map(Measured._make, connection.execute(_STATEMENT, (machine, count))))
