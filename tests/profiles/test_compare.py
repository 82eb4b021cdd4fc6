from __future__ import annotations

import dataclasses
import re

import pytest

from paring_profiles import compare, write
from paring_runtimes.errors import InputError


def test_one_profile_keeps_its_recorded_ratio(recorded):
    found = compare([recorded])
    assert [row.label for row in found.rows] == ["base in profile 1", "small in profile 1"]
    (ratio,) = found.comparisons
    assert ratio.interleaved
    assert (ratio.latency_ratio, ratio.latency_ratio_ci95) == (2.0, (1.9, 2.1))
    assert (ratio.mac_ratio, ratio.realised, ratio.verdict) == (4.0, 0.5, "faster")


def test_profiles_measured_apart_are_marked_so(recorded, tmp_path):
    paths = [write(recorded, tmp_path / name) for name in ("monday.json", "tuesday.json")]
    found = compare(paths)
    assert [c.interleaved for c in found.comparisons] == [True, False, False]
    _, same, small = found.comparisons
    assert same.candidate == "base in tuesday"
    assert same.verdict == "no difference shown"
    assert small.latency_ratio == pytest.approx(2.0, abs=0.02)
    assert small.latency_ratio_ci95[0] < small.latency_ratio < small.latency_ratio_ci95[1]
    assert small.latency_ratio_ci95 != (1.9, 2.1)
    assert small.realised == pytest.approx(small.latency_ratio / 4)


@pytest.mark.parametrize(
    ("part", "name", "value", "said"),
    [
        ("machine", "cpu", "Another CPU", r"machine\.cpu \('A CPU' and 'Another CPU'\)"),
        ("settings", "threads", 1, r"settings\.threads \(2 and 1\)"),
        ("settings", "dims", {"side": 112}, r"settings\.dims"),
    ],
)
def test_what_differs_refuses_the_ratio(recorded, part, name, value, said):
    changed = dataclasses.replace(getattr(recorded, part), **{name: value})
    other = dataclasses.replace(recorded, **{part: changed})
    for ratio in compare([recorded, other]).comparisons[1:]:
        assert ratio.latency_ratio is None
        assert ratio.realised is None
        assert re.search(said, ratio.refused)


def test_another_engine_refuses_and_how_long_was_measured_does_not(recorded):
    engine = dataclasses.replace(recorded, tools={"onnxruntime": "1.23.0"})
    (_, refused, _) = compare([recorded, engine]).comparisons
    assert "tools.onnxruntime ('1.32.0' and '1.23.0')" in refused.refused
    longer = dataclasses.replace(recorded.settings, min_runs=5000, min_seconds=60.0)
    (_, given, _) = compare([recorded, dataclasses.replace(recorded, settings=longer)]).comparisons
    assert given.refused is None


def test_unknown_operators_leave_no_mac_ratio(recorded):
    base, small = recorded.candidates
    hidden = dataclasses.replace(small, macs_unknown=["DFT"])
    (ratio,) = compare([dataclasses.replace(recorded, candidates=[base, hidden])]).comparisons
    assert (ratio.mac_ratio, ratio.realised) == (None, None)


def test_nothing_to_compare():
    with pytest.raises(InputError, match="at least one profile"):
        compare([])
