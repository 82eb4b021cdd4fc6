"""Scenarios over instances whose calls take a known time: who waits, and from when a latency counts."""

import time

import numpy as np
import pytest
from sleepers import Sleeper, made

from paring_profiles.load.result import LoadSettings
from paring_profiles.load.scenarios import Plan, find, scenarios
from paring_profiles.load.summary import latencies_ms, probe, summarise, verdict
from paring_runtimes.errors import EngineError, InputError


def test_every_file_is_a_scenario():
    assert list(scenarios()) == ["multi_stream", "offline", "server", "single_stream"]
    for module in scenarios().values():
        assert module.TITLE
        assert module.WHAT
        assert module.OVER >= 1
        assert module.batch(LoadSettings()) >= 1
        assert (module.RANK is None) or 0 < module.RANK < 100
        assert not module.BY_RATE or module.RANK is not None, "a rate has a bound, of a percentile"
    with pytest.raises(InputError, match=r"no 'servr'.*server"):
        find("servr")


def test_single_stream_asks_one_after_another():
    sleeper = Sleeper(0.001)
    timeline = made("single_stream", [sleeper], Plan(queries=50, seconds=0.0, likely=10))
    assert timeline.count == 50, "the arrays grow where more come than was likely"
    assert np.all(timeline.due[1:] >= timeline.done[:-1])
    assert np.all(latencies_ms(timeline) >= 1.0)
    assert [first for first, _ in sleeper.calls] == list(range(50))


def test_a_stream_goes_on_for_its_seconds_and_ends_at_the_limit():
    plan = Plan(queries=1, seconds=0.1, likely=1)
    assert made("single_stream", [Sleeper()], plan).seconds >= 0.1
    long = Plan(queries=10**6, seconds=60.0, likely=1)
    cut = made("single_stream", [Sleeper()], long, max_seconds=0.1, duration_s=0.0)
    assert 0.1 <= cut.seconds < 1


def test_a_multi_stream_query_is_answered_when_all_its_samples_are():
    slow, fast = Sleeper(0.004), Sleeper(0.0005)
    plan = Plan(queries=10, seconds=0.0, likely=10, batch=2)
    timeline = made("multi_stream", [slow, fast], plan, samples_per_query=7)
    assert latencies_ms(timeline).min() >= 8.0  # the slow worker's 3 samples take 2 calls
    assert slow.calls[:2] == [(0, 2), (2, 1)]
    assert fast.calls[:2] == [(3, 2), (5, 2)]
    assert slow.calls[2] == (7, 2), "the second query's samples follow the first's"
    assert timeline.calls == {1: 10, 2: 30}


def test_a_stall_is_charged_to_every_query_that_arrived_in_it():
    stall_s = 0.25
    sleeper = Sleeper(0.0002, stalls_at=20, stall_s=stall_s)
    plan = Plan(queries=1, seconds=0.6, likely=1, qps=200.0)
    timeline = made("server", [sleeper], plan)
    latencies, service = latencies_ms(timeline), (timeline.done - timeline.taken) * 1e3
    end_s = timeline.done[20]
    caught = (timeline.due > timeline.taken[20]) & (timeline.due < end_s)
    assert caught.sum() > 25
    assert np.all(latencies[caught] >= (end_s - timeline.due[caught]) * 1e3)
    assert np.sum(latencies > 100) > 15, "queries that waited for the stall are over"
    assert np.sum(service > 100) == 1, "the calls themselves would hide it"
    assert latencies[:20].max() < 100


def test_arrivals_wait_for_nobody_and_nobody_is_early():
    timeline = made("server", [Sleeper(), Sleeper()], Plan(queries=1, seconds=0.4, likely=1, qps=300.0))
    assert np.all(timeline.taken >= timeline.due)
    assert np.median(timeline.taken - timeline.due) < 0.002, "idle workers take a query when it is due"
    assert timeline.answered() == timeline.count


def test_a_server_puts_waiting_queries_together():
    sleeper = Sleeper(0.02)
    timeline = made("server", [sleeper], Plan(queries=1, seconds=0.2, likely=1, batch=8, qps=300.0))
    sizes = [count for _, count in sleeper.calls]
    assert max(sizes) <= 8
    assert np.mean(sizes[2:-1]) > 3, "20 ms at 300 queries a second are 6 queries"
    assert [first for first, _ in sleeper.calls] == list(np.cumsum([0, *sizes[:-1]]))
    assert sum(size * count for size, count in timeline.calls.items()) == timeline.count
    alone = made("server", [Sleeper(0.02)], Plan(queries=1, seconds=0.2, likely=1, qps=300.0))
    assert latencies_ms(alone).max() > 2 * latencies_ms(timeline).max()


def test_a_server_that_is_too_slow_is_cut_and_its_queue_counts_as_over():
    timeline = made(
        "server",
        [Sleeper(0.01)],
        Plan(queries=1, seconds=1.0, likely=1, qps=1000.0),
        max_seconds=0.2,
        duration_s=0.1,
    )
    told = verdict(timeline, 0.99, 15.0, 1.0)
    assert not told.valid
    assert any("not answered" in reason for reason in told.why_not)
    assert told.over > 100, "those that wait are over too"
    assert summarise(timeline, 0).max_ms == pytest.approx(200, rel=0.3)


def test_a_hopeless_probe_ends_early():
    plan = Plan(queries=1, seconds=5.0, likely=1, qps=400.0, most_over=3)
    timeline = made("server", [Sleeper(0.01)], plan, latency_bound_ms=20.0)
    assert timeline.hopeless
    assert timeline.seconds < 1
    told = probe(timeline, 400.0, verdict(timeline, 0.99, 20.0, 5.0))
    assert (told.passed, told.hopeless) == (False, True)
    assert told.over >= 4


def test_a_verdict_follows_early_stopping():
    timeline = made("server", [Sleeper(0.0)], Plan(queries=459, seconds=0.0, likely=1, qps=5000.0))
    assert verdict(timeline, 0.99, 1e4, 0.0).valid
    few = made("server", [Sleeper(0.0)], Plan(queries=458, seconds=0.0, likely=1, qps=5000.0))
    assert verdict(few, 0.99, 1e4, 0.0).why_not == ["458 queries, 459 needed"]


def test_offline_answers_all_and_shares_them_out():
    one, other = Sleeper(0.001), Sleeper(0.001)
    timeline = made("offline", [one, other], Plan(queries=50, seconds=0.0, likely=1, batch=4))
    answered = sorted(first + i for first, count in one.calls + other.calls for i in range(count))
    assert answered == list(range(50))
    assert timeline.calls == {2: 1, 4: 12}
    assert min(len(one.calls), len(other.calls)) > 2
    assert not one.threads & other.threads, "each worker has a thread of its own"


@pytest.mark.parametrize("name", ["single_stream", "multi_stream", "server", "offline"])
def test_what_a_worker_raises_ends_the_run(name):
    instances = [Sleeper(fails_at=3)] if name == "single_stream" else [Sleeper(), Sleeper(fails_at=3)]
    begin = time.perf_counter()
    with pytest.raises(EngineError, match="the engine failed"):
        made(name, instances, Plan(queries=10**5, seconds=0.0, likely=1, qps=500.0), duration_s=0.0)
    assert time.perf_counter() - begin < 5, "the other workers went on"


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("single_stream", {"workers": 2}, "take 1"),
        ("single_stream", {"batch": 4}, "--batch 1"),
        ("multi_stream", {"samples_per_query": 2, "workers": 3}, "leave some of 3 workers idle"),
        ("server", {}, "--qps"),
        ("server", {"find_qps": True}, "--latency-bound"),
    ],
)
def test_settings_that_do_not_suit_are_refused(name, settings, words):
    assert words in find(name).refuse(LoadSettings(**settings))
    assert find("offline").refuse(LoadSettings(**settings)) is None
