"""Bounds of percentiles: MLPerf's numbers, and that they hold what they say."""

import numpy as np
import pytest

from paring_profiles import statistics
from paring_profiles.load.early_stopping import bound, over_allowed, queries_needed

# MLPerf's loadgen, confidence 0.99: with one query over, and with none.
PUBLISHED = {0.90: (64, 44), 0.95: (130, 90), 0.99: (662, 459)}


@pytest.mark.parametrize("share", PUBLISHED)
def test_queries_needed_are_those_of_mlperf(share):
    one, none = PUBLISHED[share]
    assert queries_needed(share) == one
    assert queries_needed(share, 0) == none
    assert [over_allowed(share, n) for n in (none - 1, none, one - 1, one)] == [-1, 0, 0, 1]


# The same of MLPerf's own program (loadgen/early_stopping.cc): percentile, queries over, queries needed.
@pytest.mark.parametrize(
    ("share", "over", "needed"),
    [(0.9, 2, 81), (0.9, 3, 97), (0.9, 60, 796), (0.95, 7, 316), (0.97, 1, 219), (0.99, 10, 2010),
     (0.99, 60, 8053), (0.999, 1, 6636)],
)  # fmt: skip
def test_more_over_need_more_queries(share, over, needed):
    assert queries_needed(share, over) == needed


def test_a_profile_refuses_percentiles_by_the_same_numbers():
    for rank in (90, 99):
        assert statistics.RUNS_NEEDED[rank] == queries_needed(rank / 100)


def test_more_queries_allow_more_of_them_over():
    for over in (2, 10, 100):
        assert over_allowed(0.99, queries_needed(0.99, over)) == over
        assert over_allowed(0.99, queries_needed(0.99, over) - 1) == over - 1
    assert (
        over_allowed(0.90, 24_576) == 2348
    )  # fewer than the tenth that a sample of that size has on average


def test_the_bound_is_the_largest_latency_that_may_be_over():
    ordered = np.arange(1.0, 663.0)
    assert bound(ordered, 0.99) == 662.0
    assert bound(ordered, 0.90) == 662.0 - over_allowed(0.90, 662) + 1
    assert bound(ordered[:661], 0.99) is None


def test_a_bound_is_kept_as_often_as_it_says():
    rng = np.random.default_rng(0)
    true_p90 = -np.log(0.1)
    runs = np.sort(rng.standard_exponential((4000, 100)), axis=1)
    broken = sum(bound(run, 0.90) < true_p90 for run in runs)
    assert broken / len(runs) < 0.01, "the 90th percentile lies above more than 1 % of the bounds"
