from __future__ import annotations

import gc
import itertools
import threading
import time

import numpy as np
import pytest

from paring_profiles import latency
from paring_profiles.result import Settings


def _quick(**changes) -> Settings:
    return Settings(**{"min_runs": 30, "min_seconds": 0.0, "max_seconds": 20.0, **changes})


def _burn(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_every_candidate_has_one_turn_a_round_in_changing_order():
    log: list[str] = []
    calls = [lambda n=n: log.append(n) for n in "abc"]
    turns = latency.interleave(calls, _quick())
    assert [len(t.samples_ms) for t in turns] == [30, 30, 30]
    assert log[::2] == log[1::2]  # an untimed call, then a timed one
    rounds = ["".join(log[i : i + 6 : 2]) for i in range(0, 180, 6)]
    assert {"".join(sorted(r)) for r in rounds} == {"abc"}
    assert len(set(rounds)) == 6  # all orders occur
    log.clear()
    latency.interleave(calls, _quick())
    assert rounds == ["".join(log[i : i + 6 : 2]) for i in range(0, 180, 6)]  # seeded
    log.clear()
    latency.interleave(calls, _quick(seed=1))
    assert rounds != ["".join(log[i : i + 6 : 2]) for i in range(0, 180, 6)]


def test_a_turn_is_timed_by_the_clock():
    turns = latency.interleave([lambda: time.sleep(0.004), lambda: time.sleep(0.001)], _quick(min_runs=15))
    slow, fast = (min(t.samples_ms) for t in turns)
    assert 4.0 <= slow < 6.0
    assert 1.0 <= fast < 3.0


def test_runs_until_min_seconds_are_timed():
    turns = latency.interleave([lambda: time.sleep(0.002)], _quick(min_runs=1, min_seconds=0.2))
    assert sum(turns[0].samples_ms[:-1]) / 1e3 < 0.2 <= sum(turns[0].samples_ms) / 1e3


def test_max_seconds_ends_it_after_at_least_one_round():
    begin = time.perf_counter()
    turns = latency.interleave([lambda: time.sleep(0.01)], _quick(min_runs=10_000, max_seconds=0.1))
    assert time.perf_counter() - begin < 2
    assert 1 <= len(turns[0].samples_ms) <= 11
    assert len(latency.interleave([lambda: None], _quick(max_seconds=1e-9))[0].samples_ms) == 1


class Neighbours:
    """Two candidates on a clock that only their calls move, so that no other load shows.

    A call takes 1 ms; 3 ms while the other's threads still spin, 15 ms long; and each tenth 6 ms more.
    """

    def __init__(self) -> None:
        self.now_ms = 0
        self.ended_ms = {"a": -100, "b": -100}
        self.count = 0

    def perf_counter(self) -> float:
        return self.now_ms / 1e3

    def perf_counter_ns(self) -> int:
        return self.now_ms * 1_000_000

    def call(self, name: str) -> None:
        self.count += 1
        spins = self.now_ms - self.ended_ms["ab".replace(name, "")] < 15
        self.now_ms += (3 if spins else 1) + (6 if self.count % 10 == 0 else 0)
        self.ended_ms[name] = self.now_ms


@pytest.mark.parametrize("settle_s", [0.0, 0.0195])
def test_settling_leaves_a_pause_and_pairs_medians(monkeypatch: pytest.MonkeyPatch, settle_s: float):
    both = Neighbours()
    monkeypatch.setattr(latency, "time", both)
    turns = latency.interleave(
        [lambda n=n: both.call(n) for n in "ab"], _quick(min_runs=40), settle_s=settle_s
    )
    if not settle_s:
        assert all(turn.rounds_ms == turn.samples_ms for turn in turns)
        assert {3.0, 9.0} & {t for turn in turns for t in turn.samples_ms}  # the neighbour is timed too
        return
    for turn in turns:
        assert set(turn.samples_ms) == {1.0, 7.0}  # by then the neighbour is asleep
        assert set(turn.rounds_ms) == {1.0}  # medians: the rare slow calls do not count
        assert 2 <= len(turn.rounds_ms) < len(turn.samples_ms) / 5
    timed = sum(len(turn.samples_ms) for turn in turns)
    assert 1.3 * timed < both.count < 3 * timed  # as long again untimed


def test_the_garbage_collector_is_off_while_timing_and_on_again_after():
    seen: list[bool] = []
    assert gc.isenabled()
    latency.interleave([lambda: seen.append(gc.isenabled())], _quick())
    assert not any(seen)
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        latency.interleave([lambda: 1 / 0], _quick())
    assert gc.isenabled()


def test_warm_up_waits_for_the_times_to_settle():
    pauses = itertools.chain([0.02, 0.016, 0.012, 0.008, 0.006, 0.005], itertools.repeat(0.004))
    done = latency.warm_up(lambda: time.sleep(next(pauses)))
    assert done.settled
    assert done.runs >= 11  # no window of five before holds the slow ones any more


def test_warm_up_that_never_settles_ends_and_says_so():
    pause = itertools.count(1)
    done = latency.warm_up(lambda: time.sleep(next(pause) * 0.001), max_seconds=0.2)
    assert not done.settled
    assert done.runs < 30


def test_threads_that_stay_busy_after_a_call_are_noticed():
    def call() -> None:
        threading.Thread(target=_burn, args=(0.1,)).start()

    def idle() -> float:
        time.sleep(0.1)
        return latency.linger(lambda: None)

    found = [latency.linger(call) for _ in range(3)]  # on a busy machine one may be kept from seeing it
    assert max(found) > 0.05
    assert min(found) < 0.4
    assert min(idle() for _ in range(3)) < 0.02


def test_progress_comes_between_rounds():
    told: list[float] = []
    begin = time.perf_counter()
    latency.interleave([lambda: time.sleep(0.05)], _quick(min_runs=12, max_seconds=5), progress=told.append)
    assert 1 <= len(told) <= 2 * (time.perf_counter() - begin)  # not more than every half second
    assert told == sorted(told)
    assert all(0 < share <= 1 for share in told)


def test_summary_of_known_samples():
    samples = np.arange(1.0, 101.0)  # 1 to 100 ms
    found = latency.summarise(samples, batch_size=4, warmup_runs=12, seed=0, method="a clock")
    assert (found.p50_ms, found.mean_ms, found.min_ms) == (50.5, 50.5, 1.0)
    assert found.p90_ms == pytest.approx(90.1)
    assert found.p99_ms is None
    assert found.refused == {"p99_ms": "100 runs, 662 needed"}
    assert found.std_ms == pytest.approx(np.sqrt(100 * 101 / 12))
    assert found.throughput_per_s == pytest.approx(4 / 0.0505)
    assert found.p50_ci95_ms[0] < 50.5 < found.p50_ci95_ms[1]
    assert found.provenance == "measured"
    assert "block bootstrap" in found.method
