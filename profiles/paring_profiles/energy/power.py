"""Joules from samples of power: the trapezoid rule, and when it may not be used. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from paring_profiles.energy.counter import Sample
from paring_profiles.energy.meter import Refused

LONGEST_GAP_PERIODS = 5.0  # of sampling: longer, and what happened between two samples is not known


def joules(samples: Sequence[Sample], begin_s: float, end_s: float, period_s: float) -> float:
    """Return the energy from `begin_s` to `end_s` of samples of power (W) taken every `period_s`, J.

    At the window's edges power is interpolated between the samples around them.

    Raises:
        Refused: the samples do not reach over the window, some are missing, or one is no power.
    """
    if not samples or samples[0].at_s > begin_s or samples[-1].at_s < end_s:
        raise Refused("the samples of power do not reach over the window")
    total = 0.0
    for before, after in pairwise(_around(samples, begin_s, end_s)):
        for one in (before, after):
            if not math.isfinite(one.value) or one.value < 0:
                raise Refused(f"a sample of {one.value} W is no power drawn")
        gap_s = after.at_s - before.at_s
        if gap_s > LONGEST_GAP_PERIODS * period_s:
            raise Refused(f"no sample of power for {gap_s:.2g} s; one every {period_s:g} s is needed")
        low, high = max(before.at_s, begin_s), min(after.at_s, end_s)
        if high > low:
            edges = _at(before, after, low) + _at(before, after, high)
            total += edges / 2 * (high - low)
    return total


def _around(samples: Sequence[Sample], begin_s: float, end_s: float) -> Sequence[Sample]:
    """Samples within the window, and the nearest one on each side."""
    first = max(i for i, one in enumerate(samples) if one.at_s <= begin_s)
    last = next(i for i, one in enumerate(samples) if one.at_s >= end_s)
    return samples[first : last + 1]


def _at(before: Sample, after: Sample, at_s: float) -> float:
    """Power at a moment between two samples."""
    width = after.at_s - before.at_s
    share = (at_s - before.at_s) / width if width > 0 else 0.0
    return before.value + share * (after.value - before.value)


def longest_standing_s(samples: Sequence[Sample]) -> float:
    """Return the longest time over which samples repeat one value: what a slow sensor does."""
    longest, since_s = 0.0, samples[0].at_s if samples else 0.0
    for before, after in pairwise(samples):
        if after.value != before.value:
            since_s = after.at_s
        longest = max(longest, after.at_s - since_s)
    return longest
