"""What an artifact has once and for all: its size, and the quality that its manifest tells."""

from __future__ import annotations

import math
from collections.abc import Sequence

from paring_profiles.history.changes import NOT_COMPARABLE, Change, differences
from paring_profiles.history.rows import Row

_HALF_WIDTHS = 2 * 1.959963984540054  # standard errors in a 95 % interval


def size_change(series: Sequence[Row]) -> list[Change]:
    """Hold the newest size against the first of the period: bytes are counted, nothing is left to chance."""
    first, newest = series[0], series[-1]
    if first is newest:
        return []
    before, after = first.size_bytes, newest.size_bytes
    return [
        _change(
            (first, newest),
            ("size", "bytes"),
            (before, after),
            after / before - 1 if before else None,
            "counted" if before else "it had no size before",
        )
    ]


def quality_change(series: Sequence[Row]) -> list[Change]:
    """Hold the newest quality against the first of the period that was measured on the same data.

    Both were measured on the same samples, whose single answers are not kept: the interval is that of
    independent ones, wider than a paired one. A metric without an interval (perplexity) is told and not
    judged.
    """
    newest = series[-1]
    known = [row for row in series if row.quality is not None]
    if newest.quality is None or len(known) < 2:
        return []
    of = (newest.metric, newest.quality_data)
    first = next(row for row in known if (row.metric, row.quality_data) == of)
    named = ("quality", newest.metric or "")
    if first is newest:
        before = known[-2]
        reason = f"other data or metric ({before.metric}, {(before.quality_data or 'unknown')[:12]})"
        return [_change((before, newest), named, (None, newest.quality), None, reason)]
    assert first.quality is not None
    values = (first.quality, newest.quality)
    if first.quality_ci95 is None or newest.quality_ci95 is None:
        return [_change((first, newest), named, values, None, "no interval is stored with it")]
    drop = first.quality - newest.quality
    widths = [(high - low) / _HALF_WIDTHS for low, high in (first.quality_ci95, newest.quality_ci95)]
    error = math.hypot(*widths)
    half = error * _HALF_WIDTHS / 2
    p_value = math.erfc(abs(drop) / error / math.sqrt(2)) if error else float(drop == 0)
    reason = f"{newest.quality_samples} samples, compared as independent ones"
    return [
        _change(
            (first, newest), named, values, drop, reason, ci95=(drop - half, drop + half), p_value=p_value
        )
    ]


def _change(
    rows: tuple[Row, Row],
    named: tuple[str, str],
    values: tuple[float | None, float | None],
    change: float | None,
    reason: str,
    ci95: tuple[float, float] | None = None,
    p_value: float | None = None,
) -> Change:
    first, newest = rows
    return Change(
        name=newest.name,
        machine=newest.machine,
        case=None,
        figure=named[0],
        unit=named[1],
        before=values[0],
        after=values[1],
        change=change,
        change_ci95=ci95,
        p_value=p_value,
        q_value=None,
        verdict=NOT_COMPARABLE,
        reason=reason,
        changed=differences(first, newest),
        newest=(newest.profile,),
        earlier=(first.profile,),
        noise=newest.noise,
    )
