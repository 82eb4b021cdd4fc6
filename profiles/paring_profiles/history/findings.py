"""What got slower, larger or less accurate since a time, and how sure that is.

For each name, machine and case the newest occasion stands against the state at the beginning of the
period; `chance` says how. All p-values of one call are adjusted together.
"""

from __future__ import annotations

import dataclasses
import math
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from paring_profiles.history import changes
from paring_profiles.history.chance import LEVEL, Judged, adjusted, judge
from paring_profiles.history.changes import Change, Limits
from paring_profiles.history.figures import AGAINST_BASELINE, LATENCY, MEMORY, Figure, point
from paring_profiles.history.measured import Measured, newest_of
from paring_profiles.history.once import quality_change, size_change
from paring_profiles.history.rows import Row
from paring_profiles.history.selection import Selection, select
from paring_profiles.history.spread import Spreads
from paring_runtimes.errors import InputError

# Of each machine, the newest rows that its spread is estimated from.
_ROWS_FOR_SPREAD = 5000
Some = TypeVar("Some", Row, Measured)


@dataclass(frozen=True)
class Findings:
    """All that was judged.

    Attributes:
        level: of the adjusted p-values: below it, a change is shown.
        profiles: how many stored ones the period holds.
    """

    since: str
    level: float
    limits: Limits
    profiles: int
    changes: list[Change]

    @property
    def regressions(self) -> list[Change]:
        """What got worse."""
        return [one for one in self.changes if one.verdict == changes.REGRESSION]


def find(connection: sqlite3.Connection, wanted: Selection, limits: Limits) -> Findings:
    """Judge the newest of every series in the period against its beginning.

    Raises:
        InputError: no period, or one without profiles.
    """
    if wanted.since is None:
        raise InputError("since: expected the beginning of the period")
    rows = select(connection, wanted)[::-1]  # oldest first
    if not rows:
        raise InputError(f"no stored profile fits since {wanted.since}; see `paring history`")
    machines = sorted({row.machine for row in rows})
    judges = {machine: _Judge(newest_of(connection, machine, _ROWS_FOR_SPREAD)) for machine in machines}
    found: list[Change] = []
    for (_, machine, _), series in _grouped(rows).items():
        found.append(judges[machine].latency(series, rows))
    for series in _grouped(_largest(rows)).values():
        found += judges[series[-1].machine].whole(series)
    return Findings(
        since=wanted.since,
        level=LEVEL,
        limits=limits,
        profiles=len({row.profile for row in rows}),
        changes=_with_verdicts(found, limits),
    )


def _grouped(rows: Iterable[Row]) -> dict[tuple[str, str, Any], list[Row]]:
    groups: dict[tuple[str, str, Any], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.name, row.machine, row.case), []).append(row)
    return groups


def _largest(rows: Iterable[Some]) -> list[Some]:
    """Return one row of each candidate of each run: its largest case, which its peak memory is of."""
    largest: dict[tuple[int, str], tuple[tuple[int, int], Some]] = {}
    for row in rows:
        key = (row.profile, row.name)
        size = (row.batch_size, row.prompt_tokens or 0)
        known = largest.get(key)
        if known is None or size > known[0]:
            largest[key] = (size, row)
    return [row for _, row in largest.values()]


class _Judge:
    """Judges what was measured on one machine."""

    def __init__(self, known: Sequence[Measured]) -> None:
        measured = {LATENCY: known, AGAINST_BASELINE: known, MEMORY: _largest(known)}
        self._spreads = {
            figure: Spreads([point(figure, row) for row in rows if figure.value(row) is not None])
            for figure, rows in measured.items()
        }

    def latency(self, series: Sequence[Row], all_rows: Sequence[Row]) -> Change:
        """Against the baseline's, where both sides have that, or plainly: by what is surer."""
        newest, fitting = series[-1], _fitting(series)
        ways = [way for figure in (AGAINST_BASELINE, LATENCY) if (way := self._judged(figure, fitting))]
        if not ways:
            reason = _why_not(newest, series, all_rows)
            return _change(newest, LATENCY, reason)
        # Chosen by how much is known, never by what comes out.
        figure, judged = min(ways, key=lambda way: (way[1].spread.freedom is None, way[1].error))
        return _from(figure, judged, fitting)

    def whole(self, series: Sequence[Row]) -> list[Change]:
        """Judge what an artifact has once, whatever was timed: peak memory, size, quality."""
        fitting, found = _fitting(series), []
        if way := self._judged(MEMORY, fitting):
            found.append(_from(*way, fitting))
        return [*found, *size_change(series), *quality_change(series)]

    def _judged(self, figure: Figure, rows: Sequence[Row]) -> tuple[Figure, Judged] | None:
        newest = rows[-1]
        if figure.value(newest) is None:
            return None
        alike = [row for row in rows if figure.value(row) is not None and figure.of(row) == figure.of(newest)]
        if len(alike) < 2:
            return None
        return figure, judge([point(figure, row) for row in alike], self._spreads[figure])


def _fitting(series: Sequence[Row]) -> list[Row]:
    """Return the rows that compare with the newest, itself last."""
    return [row for row in series if not changes.obstacles(row, series[-1])]


def _why_not(newest: Row, series: Sequence[Row], all_rows: Sequence[Row]) -> str:
    """Return why there is nothing to hold the newest row against."""
    others = [row for row in series[:-1] if row.profile != newest.profile] or [
        row
        for row in all_rows
        if (row.name, row.case) == (newest.name, newest.case) and row.profile != newest.profile
    ]
    if not others:
        return "nothing earlier of it is stored in the period"
    return "other " + ", ".join(changes.obstacles(others[-1], newest))


def _from(figure: Figure, judged: Judged, rows: Sequence[Row]) -> Change:
    newest = rows[-1]
    before, after = ([row for row in rows if row.profile in runs] for runs in (judged.earlier, judged.newest))
    how = "against its baseline's in the same runs; " if figure is AGAINST_BASELINE else ""
    spread = judged.spread
    low, high = (math.expm1(end) for end in judged.ci95)
    return dataclasses.replace(
        _change(newest, figure, f"{how}run-to-run spread {spread.sd:.2%} ({spread.origin})"),
        before=_median(figure, before),
        after=_median(figure, after),
        change=math.expm1(judged.difference),
        change_ci95=(low, high),
        p_value=judged.p_value,
        changed=changes.differences(before[-1], newest),
        newest=judged.newest,
        earlier=judged.earlier,
    )


def _median(figure: Figure, rows: Sequence[Row]) -> float:
    values = sorted(value for row in rows if (value := figure.value(row)) is not None)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def _change(newest: Row, figure: Figure, reason: str) -> Change:
    """Return what stands before anything was compared."""
    return Change(
        name=newest.name,
        machine=newest.machine,
        case=None if figure is MEMORY else newest.case,
        figure=figure.name,
        unit=figure.unit,
        before=None,
        after=figure.value(newest),
        change=None,
        change_ci95=None,
        p_value=None,
        q_value=None,
        verdict=changes.NOT_COMPARABLE,
        reason=reason,
        changed=(),
        newest=(newest.profile,),
        earlier=(),
        noise=newest.noise,
    )


def _with_verdicts(found: Sequence[Change], limits: Limits) -> list[Change]:
    """Adjust all p-values together, and say what each change is."""
    by_chance = [one.p_value for one in found if one.p_value is not None]
    q_values = iter(adjusted(by_chance))
    told = []
    for one in found:
        q_value = None if one.p_value is None else next(q_values)
        told.append(dataclasses.replace(one, q_value=q_value, verdict=_verdict(one, q_value, limits)))
    return told


def _verdict(one: Change, q_value: float | None, limits: Limits) -> str:
    if one.change is None:
        return changes.NOT_COMPARABLE
    shown = one.change != 0 if q_value is None else q_value <= LEVEL
    if not shown:
        return changes.NOTHING_SHOWN
    limit = {
        "latency": limits.slowdown,
        "peak memory": limits.memory_growth,
        "size": limits.size_growth,
        "quality": limits.quality_drop,
        "perplexity": limits.perplexity_rise,
    }[one.figure]
    if one.change <= 0:
        return changes.IMPROVEMENT
    return changes.REGRESSION if one.change > limit else changes.TOLERATED
