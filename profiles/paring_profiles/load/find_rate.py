"""The greatest rate of arrivals that keeps a bound, by bisection."""

from __future__ import annotations

import math
from collections.abc import Callable

from paring_profiles.load.result import Probe, Search

PRECISION = 0.03  # of the rate: where the search ends
MOST_PROBES = 20
_WIDEN = 1.5
_LEAST = 1 / 64  # of the guess: below, no rate keeps the bound


def find_rate(probe: Callable[[float], Probe], guess_qps: float) -> Search:
    """Look for the greatest rate whose run passes.

    From 0.7 times the guess it doubles back, or goes on by half as much again, until one rate passes and one
    above does not; then it halves what is between, until that is 3 %.

    Args:
        probe: makes a run at a rate.
        guess_qps: about what the system can answer at all.
    """
    low: float | None = None
    high: float | None = None
    rate = 0.7 * guess_qps
    probes: list[Probe] = []
    while len(probes) < MOST_PROBES:
        probes.append(probe(rate))
        if probes[-1].passed:
            low = rate
        else:
            high = rate
        if low is None:
            rate /= 2
            if rate < _LEAST * guess_qps:
                break
        elif high is None:
            rate *= _WIDEN
        elif high / low <= 1 + PRECISION:
            break
        else:
            rate = math.sqrt(low * high)
    return Search(low, high, probes)
