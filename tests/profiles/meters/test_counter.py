"""Joules from counters' traces: what can be told is right, what cannot is refused with its reason."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paring_profiles.energy import counter
from paring_profiles.energy.counter import Counter, Sample
from paring_profiles.energy.meter import Refused

TRACES = Path(__file__).parent / "traces"
RAPL = Counter(unit_j=1e-6, range=262143328850, most_watts=2000.0, update_period_s=1e-3)
NVML = Counter(unit_j=1e-3, range=None, most_watts=5000.0, update_period_s=0.1)


def trace(name: str) -> list[Sample]:
    lines = (TRACES / name).read_text().splitlines()
    rows = csv.reader(line for line in lines if not line.startswith(("#", "time_s")))
    return [Sample(float(at_s), float(value)) for at_s, value in rows]


@pytest.mark.parametrize("name", ["rapl_plain.csv", "rapl_wrap.csv"])
def test_a_package_at_25_watts(name):
    samples = trace(name)
    seconds = samples[-1].at_s - samples[0].at_s
    assert counter.joules(samples, RAPL) == pytest.approx(25 * seconds, rel=1e-4)


def test_the_wrap_is_in_the_trace():
    values = [sample.value for sample in trace("rapl_wrap.csv")]
    assert sum(after < before for before, after in pairwise(values)) == 1


def test_a_gpu_at_310_watts():
    samples = trace("nvml_plain.csv")
    seconds = samples[-1].at_s - samples[0].at_s
    assert counter.joules(samples, NVML) == pytest.approx(310 * seconds, rel=0.02)


@pytest.mark.parametrize(
    ("name", "how", "reason"),
    [
        ("rapl_reset.csv", RAPL, "went back and did not wrap .* it was reset"),
        ("rapl_standstill.csv", RAPL, "stood still for 0.2.* s; it should step every 0.001 s"),
        ("rapl_gap.csv", RAPL, "no reading for 300 s, .*may have wrapped more than once"),
        ("rapl_jump.csv", RAPL, r"jumped by 5.01e\+03 J in 0.2\d s, more than can be drawn"),
        ("rapl_beyond.csv", RAPL, "beyond the counter's range of 262143 J"),
        ("nvml_reloaded.csv", NVML, r"went back by 8.8\de\+06 J: it was reset"),
    ],
)
def test_what_cannot_be_told_is_refused(name, how, reason):
    with pytest.raises(Refused, match=reason):
        counter.joules(trace(name), how)


def test_a_part_may_rest_and_a_package_may_not():
    still = [Sample(float(second), 5.0) for second in range(4)]
    assert counter.joules(still, replace(RAPL, may_rest=True)) == 0
    with pytest.raises(Refused, match="stood still"):
        counter.joules(still, RAPL)


def test_one_reading_is_none():
    with pytest.raises(Refused, match="1 readings of the counter, 2 needed"):
        counter.joules([Sample(0.0, 1.0)], RAPL)


def test_how_long_a_counter_may_be_left_alone():
    assert RAPL.safe_gap_s == pytest.approx(131, abs=1)
    assert NVML.safe_gap_s == math.inf


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(0, 65_532_610),
    steps=st.lists(st.tuples(st.floats(0.01, 8.0), st.floats(1.0, 900.0)), min_size=1, max_size=40),
)
def test_any_power_over_any_wraps_is_added_up(start, steps):
    """A small range (65 J) that wraps all the time, read often enough for the bound of 1,000 W or not."""
    how = Counter(1e-6, 65_532_610, most_watts=1000.0, update_period_s=0.0, may_rest=True)
    at_s, energy_j, samples, safe = 0.0, 0.0, [Sample(0.0, start)], True
    for seconds, watts in steps:
        at_s += seconds
        energy_j += seconds * watts
        safe = safe and 2000 * seconds < 65.5  # what moved and one range more cannot both be drawn
        samples.append(Sample(at_s, (start + energy_j * 1e6) % 65_532_610))
    if safe:
        assert counter.joules(samples, how) == pytest.approx(energy_j, rel=1e-6)
        return
    try:
        told = counter.joules(samples, how)
    except Refused:
        return
    assert told == pytest.approx(energy_j, rel=1e-6)  # never a wrong figure
