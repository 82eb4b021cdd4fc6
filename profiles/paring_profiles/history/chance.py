"""Whether a change is more than chance.

The newest occasion of a series stands against its state at the beginning of the period. Runs of one
state on neighbouring days resemble each other, so that a mean of n of them is worth fewer: n counts as
n / 6, at least 1. For the same reason the level is 0.01 and not 0.05: with drift whose correlation is
0.8 from one occasion to the next, a variance estimated from a few of them is half of the true one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paring_profiles.history.spread import Point, Spread, Spreads, merged, occasions
from paring_profiles.statistics import student

LEVEL = 0.01
_RUNS_ALIKE = 6
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Judged:
    """Newest against earlier.

    Attributes:
        difference: of the logarithms: newest less earlier.
        error: the standard error of that.
        ci95: the 95 % interval of the difference.
        p_value: two-sided, of no difference.
        spread: that it was judged by.
        newest, earlier: the runs on both sides.
    """

    difference: float
    error: float
    ci95: tuple[float, float]
    p_value: float
    spread: Spread
    newest: tuple[int, ...]
    earlier: tuple[int, ...]


def judge(window: Sequence[Point], spreads: Spreads) -> Judged:
    """Judge the newest point of a series, with repeats of it in the same occasion, against earlier ones.

    Args:
        window: at least two points of one series.
        spreads: of the machine that they were measured on.
    """
    newest, earlier, near = _sides(window)
    runs = tuple(p.run for p in newest)
    alike = newest[0].state == earlier[0].state
    spread = spreads.of(newest[0].series, near, frozenset(runs if alike else ()))
    after, before = (side if near else [merged(one) for one in occasions(side)] for side in (newest, earlier))
    difference = _exact(_mean(after) - _mean(before))
    error = _exact(spread.sd * math.sqrt(1 / _worth(len(after)) + 1 / _worth(len(before))))
    # Repeats that agree to the last bit leave nothing to chance.
    t = abs(difference) / error if error else (math.inf if difference else 0.0)
    p_value, quantile = student(t, spread.freedom)
    half = quantile * error
    return Judged(
        difference=difference,
        error=error,
        ci95=(difference - half, difference + half),
        p_value=p_value,
        spread=spread,
        newest=runs,
        earlier=tuple(p.run for p in earlier),
    )


def _sides(window: Sequence[Point]) -> tuple[list[Point], list[Point], bool]:
    """Return the newest points, the earlier ones, and whether both are of one occasion.

    Where the state of the beginning was measured again within the newest occasion, the two are compared
    there, for they share its drift.
    """
    apart = occasions(window)
    last, newest, reference = apart[-1], apart[-1][-1], apart[0][0].state
    now = [p for p in last if p.state == newest.state]
    beside = [p for p in last if p.state == reference]
    if newest.state != reference and beside:
        return now, beside, True
    if len(apart) == 1:  # one state, one occasion
        return [newest], beside[:-1], True
    return now, [p for one in apart[:-1] for p in one if p.state == reference], False


def _mean(points: Sequence[Point]) -> float:
    return sum(p.value for p in points) / len(points)


def _exact(value: float) -> float:
    """Return 0 for what rounding made of equal logarithms."""
    return value if abs(value) > _ROUNDING else 0.0


def _worth(count: int) -> float:
    return max(1.0, count / _RUNS_ALIKE)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return what Benjamini and Hochberg make of p-values judged together, in their order.

    Calling all of at most q a difference makes a share of at most q of those calls false
    (https://doi.org/10.1111/j.2517-6161.1995.tb02031.x).
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    found = [1.0] * len(order)
    lowest = 1.0
    for rank in range(len(order), 0, -1):
        lowest = min(lowest, p_values[order[rank - 1]] * len(order) / rank)
        found[order[rank - 1]] = lowest
    return found
