"""Models opened anew: balanced orders, intervals made of openings, and what `profile` does of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import paring_runtimes
from paring_profiles import openings, profile
from paring_profiles.result import Settings
from paring_runtimes.errors import InputError

QUICK = Settings(threads=1, openings=4, min_runs=8, min_seconds=0.0, max_seconds=5.0)


def series(rng: np.random.Generator, effects: list[float], spread: float = 0.02) -> list[np.ndarray]:
    """Of each opening twenty rounds."""
    return [np.exp(effect + rng.normal(0, spread, 20)) for effect in effects]


def test_every_order_is_followed_by_its_reverse() -> None:
    found = openings.orders(3, 8, seed=1)
    assert all(found[i + 1] == found[i][::-1] for i in range(0, 8, 2))
    assert len({tuple(one) for one in found}) > 2
    assert found == openings.orders(3, 12, seed=1)[:8] != openings.orders(3, 8, seed=2)


@pytest.mark.parametrize(
    ("wanted", "seconds", "count"), [(10, 0.1, 10), (10, 1.0, 10), (10, 7.0, 8), (10, 11.0, 4), (4, 500.0, 4)]
)
def test_what_opens_slowly_is_opened_less_often(wanted: int, seconds: float, count: int) -> None:
    assert openings.how_many(Settings(openings=wanted, max_seconds=120.0), seconds) == count


@pytest.mark.parametrize("count", [2, 5])
def test_other_numbers_are_refused(mlp: Callable[..., Path], count: int) -> None:
    with pytest.raises(InputError, match=f"openings: expected an even number of at least 4, given {count}"):
        profile([mlp(4, "one.onnx")], Settings(openings=count))


def test_its_p_value_is_that_of_the_t_test_of_both_orders_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openings, "SMALLEST", 0.0)
    rng = np.random.default_rng(0)
    luck = [0.01, -0.02, 0.0, 0.02, -0.01, 0.03]
    baseline, candidate = series(rng, luck), series(rng, [0.0] * 6)
    logs = [float(np.log(np.median(a / b))) for a, b in zip(baseline, candidate, strict=True)]
    first = [one.index(0) < one.index(1) for one in openings.orders(2, 6, seed=3)]
    sides = [np.array(logs)[np.array(first) == side] for side in (True, False)]
    pooled = scipy.stats.ttest_ind(sides[0], -sides[1])  # the means add up to nothing
    found = openings.against([baseline, candidate], 1, seed=3)
    assert found.ratio == pytest.approx(np.exp(np.mean(logs)))
    assert found.p_value == pytest.approx(pooled.pvalue)
    assert found.ci95[0] < found.ratio < found.ci95[1]


def test_apart_is_welchs_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openings, "SMALLEST", 0.0)
    one, other = [1.0, 1.02, 0.99, 1.01], [1.1, 1.15, 1.08, 1.3, 1.11, 1.12]
    expected = scipy.stats.ttest_ind(np.log(one), np.log(other), equal_var=False)
    found = openings.apart(one, other)
    interval = np.exp(expected.confidence_interval())
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.ci95 == pytest.approx(tuple(interval))
    assert found.verdict == "slower"


def test_what_one_process_can_make_of_nothing_is_no_difference() -> None:
    luck = [0.0001, -0.0001] * 5
    ones = [np.ones(9)] * 10
    for effect, said in ((0.004, "no difference shown"), (0.006, "faster"), (-0.006, "slower")):
        slowed = [np.full(9, np.exp(effect + one)) for one in luck]
        assert openings.against([slowed, ones], 1, 0).verdict == said


def test_a_difference_is_told_where_there_is_one_and_nowhere_else() -> None:
    """Openings differ by 0.6 %, the second opened is 1 % faster, and rounds spread by 2 %."""
    rng = np.random.default_rng(5)
    said: dict[float, list[str]] = {0.0: [], 0.03: []}
    for trial in range(150):
        order = openings.orders(2, 10, seed=trial)
        for slower, verdicts in said.items():
            effects = [[rng.normal(0, 0.006) for _ in order] for _ in range(2)]
            for number, one in enumerate(order):
                effects[one[1]][number] -= 0.01
            effects[1] = [effect + slower for effect in effects[1]]
            verdicts.append(openings.against([series(rng, own) for own in effects], 1, trial).verdict)
    assert sum(one != "no difference shown" for one in said[0.0]) <= 5
    assert said[0.03].count("slower") >= 148


def test_openings_that_are_equal_leave_nothing_to_chance() -> None:
    same = [np.ones(5)] * 4
    assert openings.against([same, same], 1, 0).verdict == "no difference shown"
    assert openings.against([[2 * one for one in same], same], 1, 0).verdict == "faster"
    assert openings.median_interval(2.0, [2.0] * 4) == (2.0, 2.0)


def test_profile_opens_its_models_anew_in_turn(
    mlp: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    load = paring_runtimes.load

    def noted(path: Path, **more: object) -> object:
        opened.append(Path(path).stem)
        return load(path, **more)

    monkeypatch.setattr(paring_runtimes, "load", noted)
    found = profile([mlp(4, "one.onnx"), mlp(8, "two.onnx")], QUICK)
    order = [name for one in openings.orders(2, 4, QUICK.seed) for name in (["one", "two"][i] for i in one)]
    assert opened[:10] == ["one", "two", *order]
    for candidate in found.candidates:
        [latency] = candidate.latency
        assert len(latency.openings_ms) == 4
        low, high = latency.p50_ci95_ms
        assert low < latency.p50_ms < high
        assert "medians of 4 openings" in latency.method
    assert found.comparisons[0].p_value is not None
