"""The search for the greatest rate, on systems whose limit is known."""

import pytest

from paring_profiles.load.find_rate import MOST_PROBES, PRECISION, find_rate
from paring_profiles.load.result import Probe


def up_to(limit):
    return lambda qps: Probe(qps, 1000, 0 if qps <= limit else 99, 5, 1.0, qps <= limit, False)


@pytest.mark.parametrize("limit", [3.0, 70.0, 99.0, 101.0, 950.0])
def test_it_finds_the_limit_from_any_guess(limit):
    found = find_rate(up_to(limit), 100.0)
    assert found.qps <= limit < found.failed_qps <= found.qps * (1 + PRECISION)
    assert len(found.probes) <= 12


def test_where_no_rate_keeps_the_bound_it_says_so_soon():
    found = find_rate(up_to(0.0), 100.0)
    assert found.qps is None
    assert len(found.probes) < 8


def test_a_system_without_a_limit_ends_the_search():
    found = find_rate(up_to(float("inf")), 100.0)
    assert found.failed_qps is None
    assert len(found.probes) == MOST_PROBES
