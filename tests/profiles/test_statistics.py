from __future__ import annotations

import numpy as np
import pytest

from paring_profiles import statistics


def _autoregressive(rng: np.random.Generator, n: int, phi: float) -> np.ndarray:
    noise = rng.standard_normal(n + 50)
    series = np.zeros(n + 50)
    for i in range(1, n + 50):
        series[i] = phi * series[i - 1] + noise[i]
    return series[50:]


def _coverage(phi: float, n: int, trials: int, block: int | None, monkeypatch) -> float:
    if block is not None:
        monkeypatch.setattr(statistics, "block_length", lambda _series: block)
    rng = np.random.default_rng(7)
    hits = 0
    for trial in range(trials):
        series = 10 + _autoregressive(rng, n, phi)
        drawn = statistics.bootstrap_medians(series, trial, resamples=300)
        low, high = np.percentile(drawn, (2.5, 97.5))
        hits += bool(low <= 10 <= high)
    return hits / trials


def test_interval_covers_the_median_of_independent_values(monkeypatch):
    assert 0.92 <= _coverage(0.0, 100, 400, None, monkeypatch) <= 0.99


def test_interval_covers_the_median_of_autocorrelated_values(monkeypatch):
    assert _coverage(0.6, 300, 300, None, monkeypatch) >= 0.89


def test_single_values_instead_of_blocks_would_cover_too_little(monkeypatch):
    assert _coverage(0.6, 300, 300, 1, monkeypatch) < 0.80


def test_blocks_grow_with_autocorrelation():
    rng = np.random.default_rng(3)
    independent = statistics.block_length(rng.standard_normal(1000))
    dependent = statistics.block_length(_autoregressive(rng, 1000, 0.9))
    assert 10 <= independent <= 14  # n^(1/3) is 10
    assert dependent > 2 * independent
    assert statistics.block_length(np.ones(1000)) == 1


def test_outliers_do_not_bend_the_block_length():
    rng = np.random.default_rng(3)
    series = _autoregressive(rng, 1000, 0.8)
    spoilt = series.copy()
    spoilt[[100, 500]] = 1e6
    assert abs(statistics.block_length(spoilt) - statistics.block_length(series)) <= 3


@pytest.mark.parametrize(("rank", "needed"), [(90, 64), (99, 662)])
def test_percentiles_are_refused_below_their_runs(rank, needed):
    refused, reason = statistics.percentile(np.arange(float(needed - 1)), rank)
    assert refused is None
    assert reason == f"{needed - 1} runs, {needed} needed"
    given, nothing = statistics.percentile(np.arange(float(needed)), rank)
    assert given == pytest.approx(rank / 100 * (needed - 1))
    assert nothing is None


def test_paired_ratio_cancels_what_both_share():
    rng = np.random.default_rng(1)
    weather = 1 + 0.5 * np.abs(_autoregressive(rng, 200, 0.9))
    baseline = 10 * weather * rng.normal(1, 0.005, 200)
    candidate = 9 * weather * rng.normal(1, 0.005, 200)
    ratio, (low, high) = statistics.paired_ratio(baseline, candidate, seed=0)
    assert ratio == pytest.approx(10 / 9, rel=0.003)
    assert low < 10 / 9 < high
    assert high - low < 0.006
    apart = statistics.unpaired_ratio(baseline, candidate, seed=0)[1]
    assert apart[1] - apart[0] > 5 * (high - low)


def test_unpaired_ratio_of_known_medians():
    rng = np.random.default_rng(2)
    baseline, candidate = rng.normal(20, 0.2, 500), rng.normal(10, 0.1, 400)
    ratio, (low, high) = statistics.unpaired_ratio(baseline, candidate, seed=0)
    assert low < 2 < high
    assert ratio == pytest.approx(2, abs=0.01)


def test_intervals_repeat_with_the_seed():
    series = np.random.default_rng(0).normal(5, 1, 80)
    assert statistics.median_ci95(series, 4) == statistics.median_ci95(series, 4)
    assert statistics.median_ci95(series, 4) != statistics.median_ci95(series, 5)


def test_too_few_values_give_their_extremes_and_no_verdict():
    ratio, ci = statistics.paired_ratio(np.array([4.0, 6.0, 5.0]), np.ones(3), seed=0)
    assert (ratio, ci) == (5.0, (4.0, 6.0))
    assert statistics.verdict(ci, 3) == "no difference shown"


@pytest.mark.parametrize(
    ("ci", "said"),
    [
        ((1.01, 1.2), "faster"),
        ((0.8, 0.99), "slower"),
        ((0.99, 1.2), "no difference shown"),
        ((1.0, 1.2), "no difference shown"),
    ],
)
def test_verdict_needs_an_interval_without_one(ci, said):
    assert statistics.verdict(ci, 100) == said


def test_two_equal_candidates_are_rarely_told_apart():
    rng = np.random.default_rng(11)
    said = []
    for trial in range(150):
        a, b = (10 + 0.1 * rng.standard_normal(60) for _ in range(2))
        ci = statistics.median_ci95(a / b, trial)
        said.append(statistics.verdict(ci, 60))
    assert said.count("no difference shown") >= 135
