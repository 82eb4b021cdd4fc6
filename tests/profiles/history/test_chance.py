"""Honesty: runs that differ by drift alone are called different in at most 5 of 100 periods."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paring_profiles.history.chance import LEVEL, adjusted, judge
from paring_profiles.history.spread import ASSUMED_SD, Point, Spreads, occasions

DAY = 86400
WITHIN = 0.003  # standard error of a run's log median
PERIODS = 400


def drifting(rng, days, sd, alike, *, runs=1, jitter=0.0, slow=0.0, effect=0.0, change=None, series="s"):
    """Points of one run or several a day.

    The day's drift has the standard deviation `sd` and resembles that of the day before (`alike`, its
    correlation); a run adds `jitter`; a share `slow` of runs is slower by 0 to 20 %. From day `change` on
    it is another artifact, slower by `effect`.
    """
    points, drift = [], rng.normal(0, sd)
    for day in range(days):
        drift = alike * drift + math.sqrt(1 - alike**2) * rng.normal(0, sd) if day else drift
        after = change is not None and day >= change
        for run in range(runs):
            value = drift + rng.normal(0, math.hypot(WITHIN, jitter)) + (effect if after else 0)
            value += abs(rng.normal(0, 0.1)) if rng.random() < slow else 0
            points.append(Point(len(points), day * DAY + run * 300, value, WITHIN, series, after))
    return points


def share_of_calls(seed=0, periods=PERIODS, **told):
    rng = np.random.default_rng(seed)
    windows = (drifting(rng, **told) for _ in range(periods))
    return sum(judge(window, Spreads(window)).p_value <= LEVEL for window in windows) / periods


@pytest.mark.parametrize(
    "told",
    [
        {"days": 6, "sd": 0.02, "alike": 0.0},
        {"days": 10, "sd": 0.02, "alike": 0.8},
        {"days": 20, "sd": 0.03, "alike": 0.95},
        {"days": 10, "sd": 0.02, "alike": 0.8, "change": 5},
        {"days": 15, "sd": 0.02, "alike": 0.8, "change": 10},
        {"days": 8, "sd": 0.02, "alike": 0.5, "runs": 3, "jitter": 0.005},
        {"days": 10, "sd": 0.01, "alike": 0.0, "slow": 0.05},
        {"days": 1, "sd": 0.02, "alike": 0.0, "runs": 10, "jitter": 0.005},
    ],
    ids=str,
)
def test_drift_is_rarely_called_a_difference(told):
    assert share_of_calls(**told) <= 0.05


@pytest.mark.parametrize(
    "told",
    [
        {"days": 12, "sd": 0.003, "alike": 0.5, "change": 10},
        {"days": 12, "sd": 0.003, "alike": 0.0, "change": 11},
        {"days": 1, "sd": 0.05, "alike": 0.0, "runs": 12, "jitter": 0.002, "change": 0},
    ],
    ids=str,
)
def test_three_percent_is_found_where_the_spread_allows(told):
    if told["days"] > 1:
        assert share_of_calls(**told, effect=0.03) >= 0.9
        return
    # Two artifacts in one hour, six runs of each: what the day drifted is in both.
    rng, found = np.random.default_rng(0), 0
    for _ in range(PERIODS):
        points = drifting(rng, **{**told, "change": None})
        points = [
            Point(p.run, p.at_s, p.value + 0.03 * (p.run > 5), p.error, p.series, p.run > 5) for p in points
        ]
        found += judge(points, Spreads(points)).p_value <= LEVEL
    assert found / PERIODS >= 0.9


def test_many_series_together_make_few_false_calls():
    """Ten series a period, all judged together: at most 5 of 100 periods hold a false call."""
    rng, false = np.random.default_rng(1), 0
    for _ in range(100):
        windows = [drifting(rng, 10, 0.02, 0.8, series=name) for name in range(10)]
        spreads = Spreads([point for window in windows for point in window])
        false += min(adjusted([judge(window, spreads).p_value for window in windows])) <= LEVEL
    assert false <= 5


def test_without_repeats_a_change_is_not_told_from_drift():
    points = drifting(np.random.default_rng(0), 3, 0.001, 0.0, change=2, effect=0.08)
    told = judge(points, Spreads(points))
    assert (told.spread.freedom, told.spread.sd) == (None, ASSUMED_SD)
    assert "1 of the 4 repeats" in told.spread.origin
    assert told.p_value > LEVEL
    gross = drifting(np.random.default_rng(0), 3, 0.001, 0.0, change=2, effect=0.4)
    assert judge(gross, Spreads(gross)).p_value <= LEVEL


def test_runs_of_one_hour_say_nothing_of_other_days():
    points = drifting(np.random.default_rng(0), 1, 0.02, 0.0, runs=20, jitter=0.001)
    later = Point(99, 5 * DAY, points[0].value + 0.03, WITHIN, "s", "other")
    told = judge([*points, later], Spreads([*points, later]))
    assert told.spread.freedom is None
    assert told.p_value > LEVEL


def test_the_newest_run_does_not_widen_what_it_is_judged_by():
    points = drifting(np.random.default_rng(0), 8, 0.004, 0.0)
    far = Point(99, 9 * DAY, points[-1].value + 0.1, WITHIN, "s", False)
    assert judge([*points, far], Spreads([*points, far])).spread == Spreads(points).of(
        "s", False, frozenset()
    )


def test_cases_of_one_run_are_no_repeats_of_each_other():
    rng = np.random.default_rng(0)
    many = [point for case in range(5) for point in drifting(rng, 2, 0.01, 0.0, series=case)]
    assert Spreads(many).of("unknown", False, frozenset()).freedom is None
    shared = [point for case in range(5) for point in drifting(rng, 6, 0.01, 0.0, series=case)]
    assert Spreads(shared).of("unknown", False, frozenset()).freedom == 5
    own = Spreads(shared).of(0, False, frozenset())
    assert (own.freedom, own.origin) == (5, "5 repeats of it on other occasions")


def test_repeats_that_agree_leave_nothing_to_chance():
    points = [Point(run, run * DAY, 1.0, 0.0, "s", "a") for run in range(6)]
    assert judge(points, Spreads(points)).p_value == 1
    points.append(Point(9, 9 * DAY, 1.001, 0.0, "s", "b"))
    assert judge(points, Spreads(points)).p_value == 0


def test_an_hour_apart_is_another_occasion():
    points = [Point(run, at, 0.0, 0.0, "s", "a") for run, at in enumerate([0, 3600, 7200, 10801])]
    assert [[p.run for p in one] for one in occasions(points)] == [[0, 1, 2], [3]]


def test_adjusted_p_values_are_those_of_benjamini_and_hochberg():
    given = [0.01, 0.04, 0.03, 0.9, 0.005]
    from scipy.stats import false_discovery_control

    assert adjusted(given) == pytest.approx(list(false_discovery_control(given)))
    assert adjusted([]) == []
