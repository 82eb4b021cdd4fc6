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
    independent ones, wider than a paired one. A perplexity gets worse as it rises, and its change is a share
    of what it was; it compares over the same number of chunks only, for other chunks are other contexts.
    """
    newest = series[-1]
    known = [row for row in series if row.quality is not None]
    if newest.quality is None or len(known) < 2:
        return []
    first = next(row for row in known if _of(row) == _of(newest))
    named = ("perplexity" if _is_perplexity(newest) else "quality", newest.metric or "")
    if first is newest:
        before = known[-2]
        reason = f"other data or metric ({_told(before)})"
        return [_change((before, newest), named, (None, newest.quality), None, reason)]
    assert first.quality is not None
    values = (first.quality, newest.quality)
    if first.quality_ci95 is None or newest.quality_ci95 is None:
        return [_change((first, newest), named, values, None, "no interval is stored with it")]
    judged = _rise if _is_perplexity(newest) else _drop
    change, ci95, p_value = judged(values, (first.quality_ci95, newest.quality_ci95))
    unit = "chunks of text" if _is_perplexity(newest) else "samples"
    reason = f"{newest.quality_samples} {unit}, compared as independent ones"
    return [_change((first, newest), named, values, change, reason, ci95=ci95, p_value=p_value)]


def _is_perplexity(row: Row) -> bool:
    return "perplexity" in (row.metric or "")


def _of(row: Row) -> tuple[str | int | None, ...]:
    """What must be equal for two qualities to compare."""
    return row.metric, row.quality_data, *([row.quality_samples] if _is_perplexity(row) else [])


def _told(row: Row) -> str:
    samples = f", {row.quality_samples} chunks" if _is_perplexity(row) else ""
    return f"{row.metric}, {(row.quality_data or 'unknown')[:12]}{samples}"


Ends = tuple[float, float]


def _drop(values: Ends, intervals: tuple[Ends, Ends]) -> tuple[float, Ends, float]:
    """Of a share, the metric's own points: the change, its 95 % interval, and the p-value of no change."""
    drop, half, p_value = _normal(values[0] - values[1], [high - low for low, high in intervals])
    return drop, (drop - half, drop + half), p_value


def _rise(values: Ends, intervals: tuple[Ends, Ends]) -> tuple[float, Ends, float]:
    """Of a perplexity, by its logarithm, which is the mean loss: shares of what it was."""
    widths = [math.log(high / low) for low, high in intervals]
    rise, half, p_value = _normal(math.log(values[1] / values[0]), widths)
    return math.expm1(rise), (math.expm1(rise - half), math.expm1(rise + half)), p_value


def _normal(change: float, widths: Sequence[float]) -> tuple[float, float, float]:
    """The change, half of its 95 % interval, its p-value; `widths` are those of both sides' intervals."""
    error = math.hypot(*widths) / _HALF_WIDTHS
    p_value = math.erfc(abs(change) / error / math.sqrt(2)) if error else float(change == 0)
    return change, error * _HALF_WIDTHS / 2, p_value


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
        noise=(),  # of times
    )
