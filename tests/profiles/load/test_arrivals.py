"""Arrivals are a Poisson process, the same for the same seed."""

import numpy as np
import pytest

from paring_profiles.load.arrivals import poisson


def test_gaps_are_exponential_and_counts_are_poisson():
    moments = poisson(qps=200.0, seconds=100.0, queries=1, seed=3)
    gaps = np.diff(moments, prepend=0.0) * 200
    assert gaps.mean() == pytest.approx(1, abs=0.02)
    assert gaps.std() == pytest.approx(1, abs=0.03)
    assert np.mean(gaps > 2) == pytest.approx(np.exp(-2), abs=0.01)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.03, "gaps depend on those before"
    counts = np.bincount(moments.astype(int))[:100]
    assert counts.mean() == pytest.approx(200, rel=0.02)
    assert counts.var() == pytest.approx(200, rel=0.4)


def test_it_goes_on_until_both_time_and_queries_are_reached():
    by_time = poisson(qps=50.0, seconds=4.0, queries=10, seed=0)
    assert by_time[-2] < 4.0 <= by_time[-1]
    by_count = poisson(qps=50.0, seconds=0.0, queries=500, seed=0)
    assert len(by_count) == 500
    assert by_count[-1] == pytest.approx(10, rel=0.15)


def test_a_seed_gives_one_pattern_stretched_by_the_rate():
    slow, fast = poisson(10.0, 0.0, 300, seed=7), poisson(40.0, 0.0, 300, seed=7)
    np.testing.assert_allclose(slow, 4 * fast)
    assert not np.allclose(fast, poisson(40.0, 0.0, 300, seed=8))
