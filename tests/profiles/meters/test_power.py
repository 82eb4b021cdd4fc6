"""Joules from samples of power."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from paring_profiles.energy import power
from paring_profiles.energy.counter import Sample
from paring_profiles.energy.meter import Refused

TRACES = Path(__file__).parent / "traces"


def trace(name: str) -> list[Sample]:
    lines = (TRACES / name).read_text().splitlines()
    rows = csv.reader(line for line in lines if not line.startswith(("#", "time_s")))
    return [Sample(float(at_s), float(value)) for at_s, value in rows]


def test_steps_of_power_are_integrated():
    samples = trace("power_steps.csv")
    assert power.joules(samples, 10.0, 15.9, 0.1) == pytest.approx(59, abs=0.3)


def test_a_window_begins_and_ends_between_samples():
    samples = [Sample(0.0, 0.0), Sample(1.0, 10.0), Sample(2.0, 10.0)]
    assert power.joules(samples, 0.5, 1.25, 1.0) == pytest.approx(0.5 * 7.5 + 0.25 * 10)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("power_gap.csv", "no sample of power for 2 s; one every 0.1 s is needed"),
        ("power_charging.csv", "a sample of -12.0 W is no power drawn|a sample of -8.0 W is no power drawn"),
    ],
)
def test_what_cannot_be_integrated_is_refused(name, reason):
    with pytest.raises(Refused, match=reason):
        power.joules(trace(name), 10.0, 16.0, 0.1)


@pytest.mark.parametrize(("begin_s", "end_s"), [(9.0, 12.0), (12.0, 17.0)])
def test_a_window_beyond_the_samples_is_refused(begin_s, end_s):
    with pytest.raises(Refused, match="do not reach over the window"):
        power.joules(trace("power_steps.csv"), begin_s, end_s, 0.1)


def test_a_slow_gauge_shows():
    assert power.longest_standing_s(trace("power_slow.csv")) == pytest.approx(2.5)
    assert power.longest_standing_s([]) == 0
