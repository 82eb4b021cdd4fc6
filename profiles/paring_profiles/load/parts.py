"""A run in parts with as many queries each, and what their spread says."""

from __future__ import annotations

import numpy as np

from paring_profiles.statistics import Series
from paring_runtimes.errors import MissingExtraError

PARTS = 20


def rate_ci95(done_s: Series, samples_per_query: int) -> tuple[float, float] | None:
    """Return the 95 % interval of the samples answered a second; None of fewer than 20 queries.

    Args:
        done_s: when queries were answered, s from the run's begin, in any order.
        samples_per_query: each of them.
    """
    if len(done_s) < PARTS:
        return None
    done = np.sort(done_s)
    places = np.linspace(0, len(done), PARTS + 1).astype(int)[1:] - 1
    ends = np.concatenate([[0.0], done[places]])
    counts = np.diff(np.concatenate([[-1], places]))
    seconds = np.diff(ends) / counts  # a query, in each part
    half = student(PARTS - 1) * float(seconds.std(ddof=1)) / np.sqrt(PARTS)
    mean = float(ends[-1]) / len(done)
    if half >= mean:
        return None
    return float(samples_per_query / (mean + half)), float(samples_per_query / (mean - half))


def student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's distribution."""
    try:
        from scipy.special import stdtrit
    except ImportError as error:
        raise MissingExtraError("an interval of a mean", "report") from error
    return float(stdtrit(freedom, 0.975))
