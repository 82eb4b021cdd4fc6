"""The figures of a stored row that vary from run to run, as points to be judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from paring_profiles.history.measured import Timed
from paring_profiles.history.spread import Point

_HALF_WIDTHS = 2 * 1.959963984540054  # standard errors in a 95 % interval


@dataclass(frozen=True)
class Figure:
    """Something measured anew in each run.

    Attributes:
        name: what it is called in verdicts.
        unit: of `value`.
        value: its plain value; None where a row has none.
        log: its logarithm's value and standard error; larger is worse.
        of: what must be equal in two rows, beside name, machine, case and settings, for a direct comparison.
    """

    name: str
    unit: str
    value: Callable[[Timed], float | None]
    log: Callable[[Timed], tuple[float, float]]
    of: Callable[[Timed], Hashable] = lambda row: None


def _latency(row: Timed) -> tuple[float, float]:
    low, high = row.p50_ci95_ms
    return math.log(row.p50_ms), math.log(high / low) / _HALF_WIDTHS


def _against_baseline(row: Timed) -> tuple[float, float]:
    """Latency as a share of the baseline's, of rounds in which both were timed in turns."""
    assert row.speedup is not None
    assert row.speedup_ci95 is not None
    low, high = row.speedup_ci95
    return -math.log(row.speedup), math.log(high / low) / _HALF_WIDTHS


def _memory(row: Timed) -> tuple[float, float]:
    assert row.peak_memory_bytes is not None
    return math.log(row.peak_memory_bytes), 0.0


LATENCY = Figure("latency", "ms", lambda row: row.p50_ms, _latency)
# The machine's drift is in both and cancels. A change of the engine may move both alike, so that it must
# be the same one: what the baseline's own row says is then judged plainly.
AGAINST_BASELINE = Figure(
    "latency",
    "ms",
    lambda row: row.p50_ms if row.speedup and row.baseline_digest else None,
    _against_baseline,
    lambda row: (row.baseline_digest, row.engine, row.environment_key),
)
MEMORY = Figure("peak memory", "bytes", lambda row: row.peak_memory_bytes or None, _memory)


def point(figure: Figure, row: Timed) -> Point:
    """Return a row's figure as a point."""
    value, error = figure.log(row)
    artifact: Hashable = row.artifact_digest or ("unknown", row.profile)
    return Point(
        run=row.profile,
        at_s=row.created_s,
        value=value,
        error=error,
        series=(row.name, row.case, row.settings_key, row.engine_name),
        state=(artifact, row.engine, row.environment_key, figure.of(row)),
    )
