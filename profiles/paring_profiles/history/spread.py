"""How far one run of `paring profile` lies from the next when nothing was changed.

The interval of a run's median holds what varied while it ran. The next day's run of the same artifact
lies elsewhere: clocks, memory layout, neighbours. That between-run spread is estimated from repeats in
the store: runs of one artifact with one engine and one environment on one machine. Runs within an hour
of each other share the hour's drift and are one *occasion*: they say nothing about another day, so days
are compared by the spread between occasions, and runs of one hour by the spread within it.

Without enough repeats the spread is unknown, a change cannot be told apart from drift, and `ASSUMED_SD`
stands in, which hides all but gross changes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

OCCASION_S = 3600
ASSUMED_SD = 0.05  # of a run's log latency
# Repeats beyond the first of each state that an estimate needs: its t quantile is then 4.6, with one 64.
FEWEST_FREEDOM = 4


class Point(NamedTuple):
    """One run's value. A tuple, for tens of thousands of them are made at once.

    Attributes:
        run: the profile's number.
        at_s: when.
        value: the logarithm of what was measured, so that differences are shares.
        error: its standard error within the run.
        series: what is followed over time: name and case.
        state: what of it may change the value: artifact, engine, environment.
    """

    run: int
    at_s: int
    value: float
    error: float
    series: Hashable
    state: Hashable


_WHEN = attrgetter("at_s", "run")


@dataclass(frozen=True)
class Spread:
    """Standard deviation of one value around its state's mean; `freedom` is None where it is assumed."""

    sd: float
    freedom: int | None
    origin: str


def occasions(points: Iterable[Point]) -> list[list[Point]]:
    """Return runs of points, oldest first, between which lies more than an hour."""
    found: list[list[Point]] = []
    for point in sorted(points, key=_WHEN):
        if found and point.at_s - found[-1][-1].at_s <= OCCASION_S:
            found[-1].append(point)
        else:
            found.append([point])
    return found


def merged(points: Sequence[Point]) -> Point:
    """Return an occasion as one point: the mean, with the error of a single run."""
    first, count = points[0], len(points)
    if count == 1:
        return first
    value = sum(p.value for p in points) / count
    error = math.sqrt(sum(p.error**2 for p in points) / count)
    return Point(first.run, first.at_s, value, error, first.series, first.state)


class Spreads:
    """Estimates spreads on one machine, from all points that were measured there."""

    def __init__(self, every: Sequence[Point]) -> None:
        self._every = every
        self._own: dict[Hashable, list[Point]] = {}
        for point in every:
            self._own.setdefault(point.series, []).append(point)
        self._of_all = functools.cache(self._pool)

    def of(self, series: Hashable, near: bool, without: frozenset[int]) -> Spread:
        """Estimate the spread of a series' values.

        Args:
            series: whose; its own repeats are enough, or else those of every series count.
            near: of runs within an occasion, or else between occasions.
            without: runs that are about to be judged, which must not widen what they are judged by.
        """
        own = [p for p in self._own.get(series, ()) if p.run not in without]
        floor = math.sqrt(sum(p.error**2 for p in own) / len(own)) if own else 0.0
        where = "within the hour" if near else "on other occasions"
        variance, freedom = _pooled(_repeats(own, near))
        if freedom >= FEWEST_FREEDOM:
            return Spread(max(math.sqrt(variance), floor), freedom, f"{freedom} repeats of it {where}")
        # Others may be steadier than this one: what little is known of it itself counts where it is more.
        others, known = self._of_all(near, without)
        if known >= FEWEST_FREEDOM:
            sd = math.sqrt(max(variance, others))
            return Spread(max(sd, floor), known, f"{known} repeats on this machine {where}")
        told = f"assumed: {known} of the {FEWEST_FREEDOM} repeats {where} that tell a change from drift"
        return Spread(max(ASSUMED_SD, floor), None, told)

    def _pool(self, near: bool, without: frozenset[int]) -> tuple[float, int]:
        return _pooled(_repeats((p for p in self._every if p.run not in without), near))


def _repeats(points: Iterable[Point], near: bool) -> list[list[Point]]:
    """Return groups of at least two points that differ by nothing but chance."""
    states: dict[Hashable, list[Point]] = {}
    for point in points:
        states.setdefault((point.series, point.state), []).append(point)
    groups: list[list[Point]] = []
    for same in states.values():
        apart = occasions(same)
        groups += apart if near else [[merged(one) for one in apart]]
    return [group for group in groups if len(group) > 1]


def _pooled(groups: Sequence[Sequence[Point]]) -> tuple[float, int]:
    """Return the variance around the groups' own means, and its degrees of freedom.

    All cases of one run drift together. So the freedom counts runs, once each, less one for every set of
    groups that share runs.
    """
    squares, weight = 0.0, 0
    for group in groups:
        mean = sum(p.value for p in group) / len(group)
        squares += sum((p.value - mean) ** 2 for p in group)
        weight += len(group) - 1
    freedom = _runs_less_sets(groups)
    return (squares / weight if weight else 0.0), freedom


def _runs_less_sets(groups: Sequence[Sequence[Point]]) -> int:
    """Return how many runs the groups hold, less how many sets of groups share none with the others."""
    parent: dict[int, int] = {}

    def root(run: int) -> int:
        while parent.setdefault(run, run) != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    for group in groups:
        for point in group:
            parent[root(point.run)] = root(group[0].run)
    return sum(run != up for run, up in parent.items())
