"""Throughput's interval holds the rate, and asks for enough queries."""

import numpy as np
import pytest

from paring_profiles.load.parts import rate_ci95


def test_the_interval_holds_the_rate():
    held = 0
    for seed in range(200):
        done = np.cumsum(np.random.default_rng(seed).gamma(4, 0.0025, 500))  # 100 a second
        low, high = rate_ci95(done, 8)
        assert low < 8 * len(done) / done[-1] < high
        held += low < 800 < high
    assert 180 <= held <= 200


def test_too_few_or_too_unlike_queries_have_none():
    assert rate_ci95(np.arange(1.0, 20.0), 1) is None
    stalled = np.concatenate([np.full(39, 0.001), [100.0]])
    assert rate_ci95(stalled, 1) is None
    assert rate_ci95(np.arange(1.0, 21.0), 1) == pytest.approx((1.0, 1.0))
