"""Scales of a scatter: where a value lies between 0 and 1, and the ticks. The browser decides neither."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paring_profiles.report import quantities

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_TICKS = 5
_MARGIN = 0.06
_LOGARITHMIC = 30.0  # largest over smallest, from which a linear scale would press most points into a corner


@dataclass(frozen=True)
class Scale:
    """From `low` to `high` (of logarithms where `logarithmic`); ticks are (position, text)."""

    low: float
    high: float
    logarithmic: bool
    ticks: list[tuple[float, str]]

    def at(self, value: float) -> float:
        """Position of a value: 0 at the low end, 1 at the high end, never beyond."""
        place = math.log10(max(value, 1e-300)) if self.logarithmic else value
        return min(1.0, max(0.0, (place - self.low) / (self.high - self.low)))


def scale(values: Sequence[float]) -> Scale:
    """A scale that holds all values, of which there is at least one."""
    smallest, largest = min(values), max(values)
    if smallest > 0 and largest / smallest >= _LOGARITHMIC:
        low, high = _widened(math.log10(smallest), math.log10(largest))
        exponents = range(math.ceil(low), math.floor(high) + 1)
        steps = (1, 3) if len(exponents) < 3 else (1,)
        marks = [s * 10.0**e for e in range(math.floor(low), math.floor(high) + 1) for s in steps]
        inside = [m for m in marks if low <= math.log10(m) <= high]
        ticks = [((math.log10(m) - low) / (high - low), f"{m:,.10g}") for m in inside]
        return Scale(low, high, True, ticks)
    low, high = _widened(smallest, largest)
    step = _step((high - low) / _TICKS)
    places = max(0, -math.floor(math.log10(step) + 1e-9) + (1 if f"{step:e}".startswith("2.5") else 0))
    marks = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    ticks = [((mark - low) / (high - low), quantities.fixed(mark, places)) for mark in marks]
    return Scale(low, high, False, ticks)


def _widened(low: float, high: float) -> tuple[float, float]:
    margin = _MARGIN * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def _step(rough: float) -> float:
    """The round number that is not below `rough`."""
    base = 10.0 ** math.floor(math.log10(rough))
    return next(base * step for step in _STEPS if base * step >= rough * (1 - 1e-9))
