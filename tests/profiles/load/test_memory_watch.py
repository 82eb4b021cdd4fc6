"""Memory over a run: a leak is shown, a step or a pool that fills is none."""

import time

import numpy as np
import pytest
from sleepers import Sleeper, made

from paring_profiles.load import memory_watch
from paring_profiles.load.memory_watch import MemoryWatch, summarise
from paring_profiles.load.result import MemoryPoint
from paring_profiles.load.scenarios import Plan

LEAK = 60_000  # bytes a query


def told(rss_of):
    """Of 1,000 queries in 10 s, read every 50 ms."""
    at_s = np.arange(0, 10, 0.05)
    points = [MemoryPoint(float(t), int(1e8 + rss_of(100 * t)), None) for t in at_s]
    return summarise(points, np.arange(1, 1001) / 100)


def test_a_leak_is_shown_by_the_query():
    noise = np.random.default_rng(0).normal(0, 20_000, 2000)
    found = told(lambda queries: 5000 * queries + noise[int(queries)])
    assert found.grows
    low, high = found.growth_ci95_bytes
    assert low < 5000 < high
    assert found.growth_bytes == pytest.approx(5000, rel=0.05)


@pytest.mark.parametrize(
    "rss_of",
    [
        lambda queries: 0.0,
        lambda queries: 2e7 * (queries > 600),  # a buffer that grew once
        lambda queries: 5e7 * (1 - np.exp(-queries / 60)),  # pools that fill up
        lambda queries: np.random.default_rng(int(queries)).normal(0, 1e6),
        lambda queries: 60.0 * queries,  # no more than watching takes
    ],
)
def test_what_does_not_go_on_is_no_growth(rss_of):
    found = told(rss_of)
    assert not found.grows


def test_too_short_a_run_tells_nothing():
    points = [MemoryPoint(t / 10, 10**8, None) for t in range(10)]
    found = summarise(points, np.arange(100) / 100)
    assert (found.growth_bytes, found.growth_ci95_bytes, found.grows) == (None, None, False)


class Leaking(Sleeper):
    """Keeps memory of every call."""

    kept = None

    def call(self, first, count):
        super().call(first, count)
        self.kept = [*(self.kept or []), np.ones(LEAK // 8)]


def test_a_session_that_leaks_is_found_out(monkeypatch):
    monkeypatch.setattr(memory_watch, "_PERIOD_S", 0.005)
    monkeypatch.setattr(memory_watch, "_COST_SHARE", 0.1)
    instance = Leaking(0.001)
    with MemoryWatch() as watch:
        timeline = made("single_stream", [instance], Plan(queries=300, seconds=0.8, likely=1))
    found = summarise(watch.points(timeline.begin_s), timeline.done)
    assert found.grows
    assert found.growth_bytes == pytest.approx(LEAK, rel=0.4)
    assert all(point.rss_bytes > 10**6 for point in found.points)
    assert found.points[0].pss_bytes, "Linux tells PSS"
    assert found.points[-1].pss_bytes - found.points[0].pss_bytes > 0.5 * LEAK * timeline.count


def test_reading_takes_little_time():
    with MemoryWatch() as watch:
        begin, used = time.perf_counter(), time.process_time()
        time.sleep(0.6)
        share = (time.process_time() - used) / (time.perf_counter() - begin)
    assert len(watch.points(0.0)) >= 5
    assert share < 0.1
