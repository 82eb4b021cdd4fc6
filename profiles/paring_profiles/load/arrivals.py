"""When queries arrive: a Poisson process, drawn before the run begins."""

from __future__ import annotations

import numpy as np

from paring_profiles.statistics import Series


def poisson(qps: float, seconds: float, queries: int, seed: int) -> Series:
    """Return moments of arrival, s from the run's begin: until both `seconds` and `queries` are reached.

    Gaps are exponential with mean 1 / qps. The same seed gives the same pattern at every rate, stretched, so
    that two rates differ by the rate alone.
    """
    rng = np.random.default_rng(seed)
    pieces: list[Series] = []
    total, last = 0, 0.0
    while total < queries or last < seconds * qps:
        left = max(queries - total, seconds * qps - last)
        piece = last + np.cumsum(rng.standard_exponential(int(left) + 64))
        pieces.append(piece)
        total, last = total + len(piece), float(piece[-1])
    moments = np.concatenate(pieces) / qps
    return moments[: max(queries, int(np.searchsorted(moments, seconds)) + 1)]
