from __future__ import annotations

import numpy as np

from paring_profiles.sweep import Baseline, Measure, Objective, Trial, front, pack_answers, unpack_answers

LATENCY = Objective("latency", "latency_relative", True, "latency", "x baseline", "measured")
DROP = Objective("accuracy", "drop", True, "drop", "share", "measured")
RATE = Objective("throughput", "throughput_per_s", False, "throughput", "1/s", "measured")


def measure(value: float, half: float = 0.0) -> Measure:
    return Measure(value, value - half, value + half, "", "measured", "given")


def trial(number: int, latency: Measure, drop: Measure, right: np.ndarray | None = None, **more) -> Trial:
    measures = {"latency_relative": latency, "drop": drop}
    packed = None if right is None else pack_answers(right)
    fields = {"state": "complete", "device": "cpu", **more}
    return Trial(number, {}, [], None, None, "e", measures=measures, right=packed, **fields)


def places(trials, objectives=(LATENCY, DROP), baselines=()):
    return {one.trial: one for one in front(trials, baselines, objectives, 0)}


def test_a_trial_is_dominated_only_where_intervals_say_so() -> None:
    found = places(
        [
            trial(0, measure(0.5, 0.01), measure(0.01)),
            trial(1, measure(0.7, 0.01), measure(0.02)),  # worse in both, far apart
            trial(2, measure(0.505, 0.01), measure(0.01)),  # within the interval of 0
            trial(3, measure(0.9, 0.01), measure(0.0)),  # loses less than all
        ]
    )
    assert [found[n].place for n in range(4)] == ["maybe", "dominated", "maybe", "on"]
    assert found[1].dominated_by[0] in (0, 2)
    assert not found[2].point
    assert found[0].point
    assert 0.05 < found[2].probability < 0.5 < found[0].probability


def test_what_is_large_is_good_is_turned() -> None:
    one, other = (
        Trial(n, {}, [], None, None, "e", "cpu", "complete", measures={"throughput_per_s": measure(v)})
        for n, v in enumerate((100.0, 200.0))
    )
    found = places([one, other], [RATE])
    assert found[1].place == "on"
    assert found[0].dominated_by == [1]


def test_trials_that_share_their_answers_lose_exactly_the_same() -> None:
    rng = np.random.default_rng(0)
    before = rng.random(500) < 0.9
    after = before & (rng.random(500) < 0.95)
    wide = measure(0.05, 0.03)  # the interval alone would leave it open
    trials = [trial(0, measure(0.5), wide, after), trial(1, measure(0.6), wide, after)]
    base = Baseline("b", "e", "cpu", {}, right=pack_answers(before))
    assert places(trials, baselines=[base])[1].place == "dominated"
    unpaired = [trial(0, measure(0.5), wide), trial(1, measure(0.6), wide)]
    assert places(unpaired, baselines=[base])[1].place == "maybe"


def test_devices_do_not_compete_and_incomplete_trials_do_not_stand() -> None:
    trials = [
        trial(0, measure(0.5), measure(0.0)),
        trial(1, measure(0.9), measure(0.1), device="gpu"),
        trial(2, measure(0.1), measure(0.0), state="gate"),
    ]
    found = places(trials)
    assert set(found) == {0, 1}
    assert found[1].place == "on"


def test_the_final_round_judges_its_own() -> None:
    fast, slow = {"latency_relative": measure(0.4)}, {"latency_relative": measure(0.8)}
    trials = [
        trial(0, measure(0.5), measure(0.0), final=slow),
        trial(1, measure(0.6), measure(0.0), final=fast),
        trial(2, measure(0.7), measure(0.0)),
    ]
    found = places(trials)
    assert [found[n].place for n in range(3)] == ["dominated", "on", "dominated"]


def test_answers_are_packed_whole() -> None:
    right = np.random.default_rng(1).random(13) < 0.5
    assert (unpack_answers(pack_answers(right)) == right).all()
