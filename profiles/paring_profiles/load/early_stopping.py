"""How many queries a bound on a percentile takes, and which bound a number of queries allows.

MLPerf's early stopping [1] (loadgen, confidence 0.99, tolerance 0). Let each query be over a latency L with
probability 1 - p when L is the percentile p. Of n queries at most t are then over L with probability

    P(Bin(n, 1 - p) <= t),

and where that is below 1 - 0.99, seeing no more than t over L shows that p of all queries are within L.
`queries_needed` is the smallest such n. The bound that a run allows is its t-th largest latency for the
greatest t that n allows, at least 1: one rank more cautious than the binomial interval asks, as MLPerf's is.

[1] https://github.com/mlcommons/inference_policies, inference_rules.adoc, appendix "Early stopping"
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from paring_profiles.statistics import Series
from paring_runtimes.errors import MissingExtraError

CONFIDENCE = 0.99


def queries_needed(share: float, over: int = 1) -> int:
    """Return the fewest queries, `over` of which may be over a latency, that show that `share` are within.

    Args:
        share: 0.9 for the 90th percentile.
        over: queries over it; of streams, whose bound is one of their own latencies, at least 1.
    """
    low, high = over, 2 * (over + 1)
    while not _shown(share, over, high):
        low, high = high, 2 * high
    while high - low > 1:  # shown at `high`, not at `low`
        middle = (low + high) // 2
        low, high = (low, middle) if _shown(share, over, middle) else (middle, high)
    return high


def over_allowed(share: float, queries: int) -> int:
    """Return how many of so many queries may be over a latency; -1 where even none would show nothing."""
    most = math.ceil(queries * (1 - share)) + 1
    chances = _at_most(np.arange(most + 1), queries, 1 - share)
    return int(np.searchsorted(chances, 1 - CONFIDENCE)) - 1


def bound(ordered: Series, share: float) -> float | None:
    """Return a latency that `share` of all queries stay within, with confidence 0.99; None of too few.

    Args:
        ordered: latencies in ascending order.
        share: 0.9 for the 90th percentile.
    """
    largest = over_allowed(share, len(ordered))
    return float(ordered[len(ordered) - largest]) if largest >= 1 else None


def _shown(share: float, over: int, queries: int) -> bool:
    return bool(_at_most(np.array([over]), queries, 1 - share)[0] < 1 - CONFIDENCE)


def _at_most(over: NDArray[np.int64], queries: int, chance: float) -> Series:
    """Return P(Bin(queries, chance) <= over), elementwise."""
    try:
        from scipy.special import betainc
    except ImportError as error:
        raise MissingExtraError("bounding a percentile", "report") from error
    rest = np.maximum(queries - over, 0)
    found = np.ones(len(over))
    inside = rest > 0
    found[inside] = betainc(rest[inside], over[inside] + 1.0, 1 - chance)
    return found
