"""What can be concluded from a series of latencies, and what cannot.

Latencies of calls in a row resemble each other (clock, caches, a neighbour's burst), so resampling
them one by one would give intervals that are too narrow. Every interval here comes from a circular
block bootstrap [1]: blocks of consecutive values are drawn with replacement, as long as the series'
own autocorrelation asks for.

[1] Politis and Romano, A circular block-resampling procedure for stationary data, 1992.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from paring_runtimes.errors import MissingExtraError

Series = NDArray[np.float64]

RESAMPLES = 2000
# MLPerf's early stopping (confidence 0.99) needs this many runs for a percentile.
RUNS_NEEDED = {50: 1, 90: 64, 99: 662}
# Fewer values than this hold no 95 % interval of a median: 1 - 2^(1-n) is below 0.95.
FEWEST_FOR_INTERVAL = 6
_VALUES_AT_ONCE = 4_000_000
_Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


def percentile(samples: Series, rank: int) -> tuple[float | None, str | None]:
    """Return a percentile (50, 90 or 99), or None and the reason why it is refused."""
    needed = RUNS_NEEDED[rank]
    if len(samples) < needed:
        return None, f"{len(samples)} runs, {needed} needed"
    return float(np.percentile(samples, rank)), None


def block_length(series: Series) -> int:
    """Return how many consecutive values a block holds: longer where neighbours are alike.

    The length is τ^(2/3) n^(1/3), at most n/4. τ is the integrated autocorrelation time of the
    signs around the median: a median's variance depends on those, and outliers cannot bend them.
    """
    n = len(series)
    if n < 8:
        return 1
    signs = np.sign(series - np.median(series))
    power = np.abs(np.fft.rfft(signs, 2 * n)) ** 2
    correlation = np.fft.irfft(power)[: n // 2]
    if correlation[0] <= 0:
        return 1
    correlation = correlation / correlation[0]
    below = np.flatnonzero(correlation < 2 / math.sqrt(n))
    end = int(below[0]) if len(below) else len(correlation)
    tau = 1 + 2 * float(correlation[1:end].sum())
    length = math.ceil(math.pow(tau * tau * n, 1 / 3))
    return max(1, min(length, n // 4))


def bootstrap_medians(series: Series, seed: int, resamples: int = RESAMPLES) -> Series:
    """Return the medians of `resamples` block-bootstrap copies of a series, shape (resamples,)."""
    return bootstrap_percentiles(series, 50, seed, resamples)


def bootstrap_percentiles(series: Series, rank: int, seed: int, resamples: int = RESAMPLES) -> Series:
    """Return a percentile of each of `resamples` block-bootstrap copies of a series, shape (resamples,)."""
    n, block = len(series), block_length(series)
    rng = np.random.default_rng(seed)
    blocks = -(-n // block)
    step = max(1, _VALUES_AT_ONCE // (blocks * block))
    found = []
    for done in range(0, resamples, step):
        count = min(step, resamples - done)
        starts = rng.integers(0, n, size=(count, blocks, 1))
        index = (starts + np.arange(block)) % n  # (count, blocks, block)
        copies = series[index.reshape(count, -1)[:, :n]]
        found.append(np.median(copies, axis=1) if rank == 50 else np.percentile(copies, rank, axis=1))
    return np.concatenate(found)


def median_ci95(series: Series, seed: int) -> tuple[float, float]:
    """Return the 95 % interval of the median; the extremes when the values are too few."""
    if len(series) < FEWEST_FOR_INTERVAL:
        return float(series.min()), float(series.max())
    low, high = np.percentile(bootstrap_medians(series, seed), (2.5, 97.5))
    return float(low), float(high)


def paired_ratio(baseline: Series, candidate: Series, seed: int) -> tuple[float, tuple[float, float]]:
    """Return the median over rounds of baseline / candidate, and its 95 % interval."""
    ratios = baseline / candidate
    return float(np.median(ratios)), median_ci95(ratios, seed)


def unpaired_ratio(baseline: Series, candidate: Series, seed: int) -> tuple[float, tuple[float, float]]:
    """Return median / median of two series measured apart, and its 95 % interval.

    The interval holds what varied within each series, not what changed between the two.
    """
    ratio = float(np.median(baseline) / np.median(candidate))
    if min(len(baseline), len(candidate)) < FEWEST_FOR_INTERVAL:
        return ratio, (
            float(baseline.min() / candidate.max()),
            float(baseline.max() / candidate.min()),
        )
    drawn = bootstrap_medians(baseline, seed) / bootstrap_medians(candidate, seed + 1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return ratio, (float(low), float(high))


def verdict(ci95: tuple[float, float], values: int) -> str:
    """Return "faster" or "slower" only when the interval of the ratio excludes 1."""
    if values >= FEWEST_FOR_INTERVAL and ci95[0] > 1:
        return "faster"
    if values >= FEWEST_FOR_INTERVAL and ci95[1] < 1:
        return "slower"
    return "no difference shown"


def student(t: float, freedom: float | None) -> tuple[float, float]:
    """Return the two-sided p-value, and the 97.5 % quantile; the normal distribution's without freedom.

    Raises:
        MissingExtraError: SciPy is missing.
    """
    try:
        from scipy.special import ndtr, ndtri, stdtr, stdtrit
    except ImportError as error:
        raise MissingExtraError("telling a difference from chance", "report") from error
    if freedom is None:
        return float(2 * ndtr(-t)), float(ndtri(0.975))
    return float(2 * stdtr(freedom, -t)), float(stdtrit(freedom, 0.975))


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of `count` (https://doi.org/10.1080/01621459.1927.10502953)."""
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)
