"""Whole load tests of real models: every scenario, starts, energy, what is refused."""

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from paring_profiles.load import LoadSettings, drive, find_rate, load_test, page_cache
from paring_profiles.load.result import LoadResult
from paring_profiles.records import decode
from paring_runtimes.errors import InputError

QUICK = LoadSettings(duration_s=0.0, queries=70, threads=1, starts=0, energy="none")
ALL = ("single_stream", "multi_stream", "server", "offline")


@pytest.fixture(scope="module")
def found(convnet_artifact):
    """An artifact through all scenarios."""
    settings = replace(QUICK, scenarios=ALL, qps=100.0, latency_bound_ms=10.0, samples_per_query=3)
    return load_test([convnet_artifact], settings)


def test_an_artifact_runs_in_every_scenario(found):
    single, multi, server, offline = found.runs
    assert [run.scenario for run in found.runs] == list(ALL)
    for run in (single, multi, server):
        assert run.queries >= 70
        assert run.latency.at(90.0).bound_ms >= run.latency.at(90.0).value_ms > 0
        p99 = run.latency.at(99.0)
        assert (p99.value_ms, p99.bound_ms, p99.queries_needed) == (None, None, 662)
        assert run.latency.min_ms <= run.latency.mean_ms <= run.latency.max_ms
        assert len(run.latency.points) == run.latency.queries
    assert (single.judged, multi.judged, server.judged, offline.judged) == (90.0, 99.0, 99.0, None)
    assert (multi.samples, multi.calls) == (3 * multi.queries, {"3": multi.queries})
    assert server.qps == 100.0
    assert f"{server.queries} queries, 459 needed" in server.verdict.why_not
    assert (offline.latency, offline.queries) == (None, 1)
    assert offline.calls == {"1": offline.samples}
    if offline.throughput_ci95_per_s is not None:  # 70 short calls on a busy machine may differ too much
        low, high = offline.throughput_ci95_per_s
        assert low < offline.throughput_per_s < high


def test_every_figure_says_that_it_is_measured_and_how(found):
    for run in found.runs:
        assert run.provenance == "measured"
        for words in ("onnxruntime", "CPUExecutionProvider", "1 worker of 1 thread", "perf_counter"):
            assert words in run.method
        assert run.memory.points[0].rss_bytes > 10**6
        assert run.placement.cpus == []
    assert "from the scheduled arrival" in found.runs[2].method
    assert found.machine.cpu
    assert found.artifacts[0].starts is None


def test_a_result_is_read_back_as_it_was_written(found):
    assert decode(LoadResult, json.loads(json.dumps(asdict(found), allow_nan=False))) == found


def test_batches_and_workers_answer_everything(mlp):
    settings = replace(
        QUICK, scenarios=("offline", "server"), queries=203, duration_s=0.0, batch=8, workers=2
    )
    offline, server = load_test([mlp(2, "m.onnx")], replace(settings, qps=20_000.0)).runs
    assert offline.samples == server.samples == 203
    assert max(map(int, offline.calls)) == 8
    assert sum(int(size) * count for size, count in server.calls.items()) == 203
    assert "2 workers" in offline.method


@pytest.mark.skipif(sys.platform != "linux", reason="pinning is Linux's")
def test_workers_and_their_engines_run_where_they_are_told(mlp):
    usable = os.sched_getaffinity(0)
    cpus = tuple(sorted(usable)[:2])
    settings = replace(QUICK, scenarios=("offline",), cpus=cpus, workers=len(cpus), threads=2)
    (run,) = load_test([mlp(2, "m.onnx")], settings).runs
    assert run.placement.cpus == list(cpus)
    assert run.placement.workers == [[cpu] for cpu in cpus]
    assert run.placement.threads >= 1 + 2 * len(cpus), "the engines' threads are looked at too"
    assert run.placement.astray == 0
    assert os.sched_getaffinity(0) == usable


def test_the_greatest_rate_is_found_and_confirmed(mlp, monkeypatch):
    monkeypatch.setattr(drive, "FEWEST_BOUNDS", 4.0)
    monkeypatch.setattr(find_rate, "PRECISION", 0.5)
    settings = replace(QUICK, scenarios=("server",), find_qps=True, latency_bound_ms=30.0, queries=459)
    (run,) = load_test([mlp(60, "m.onnx", batch=1)], settings).runs
    assert run.search.qps == run.qps
    assert run.verdict.valid
    assert run.latency.queries >= 459
    assert run.verdict.over <= run.verdict.over_allowed
    assert any(not probe.passed for probe in run.search.probes)
    assert run.search.probes[-1].passed


def test_no_rate_keeps_a_bound_below_the_model(mlp, monkeypatch):
    monkeypatch.setattr(drive, "TRIES", 1)
    settings = replace(QUICK, scenarios=("server",), find_qps=True, latency_bound_ms=1e-4)
    (run,) = load_test([mlp(4, "m.onnx")], settings).runs
    assert run.search.qps is None
    assert not run.verdict.valid


def test_energy_is_measured_while_the_load_runs(cpu_time_counter, mlp):
    settings = replace(QUICK, energy="auto", duration_s=1.0)
    (run,) = load_test([mlp(200, "m.onnx")], settings).runs
    (energy,) = run.energies
    assert energy.meter == "rapl"
    assert 0 < energy.mj < energy.gross_mj
    assert energy.calls <= run.samples
    sample_ms = run.seconds / run.samples * 1e3
    idle_mj = 5.0 * sample_ms  # by the meter's idle 5 W; windows differ on a busy machine
    assert idle_mj / 3 < energy.gross_mj - energy.mj < 3 * idle_mj
    assert energy.mj < 3 * 20.0 * sample_ms  # 20 W for a core that is busy at most all the time
    assert "while the load ran" in energy.method
    assert [(state.name, state.why_not) for state in run.meters] == [("rapl", None)]


def test_too_short_a_run_measures_no_energy_and_says_so(cpu_time_counter, mlp):
    (run,) = load_test([mlp(4, "m.onnx")], replace(QUICK, energy="auto")).runs
    assert run.energies == []
    assert "windows of 0.06 s lie within the run, 6 needed" in run.meters[0].why_not


def test_starts_are_split_and_cold_where_pages_can_be_dropped(mlp):
    model = mlp(60, "m.onnx")
    (artifact,) = load_test([model], replace(QUICK, starts=2)).artifacts
    told = artifact.starts
    assert len(told.warm) == 2
    for start in told.warm + told.cold:
        assert start.imports_ms > 20
        assert start.load_ms > 0
        assert start.first_ms > 0
    if told.not_cold is None:
        assert len(told.cold) == 2
        assert told.cached_share <= 0.02
    else:
        assert told.cold == []


@pytest.mark.skipif(page_cache.why_not() is not None, reason="no posix_fadvise")
def test_what_stays_in_memory_is_no_cold_start(mlp, monkeypatch):
    monkeypatch.setattr(page_cache, "drop", lambda _files: None)
    model = mlp(4, "m.onnx")
    Path(model).read_bytes()
    (artifact,) = load_test([model], replace(QUICK, starts=1)).artifacts
    assert artifact.starts.cold == []
    assert "100% of the artifact's pages stay in memory" in artifact.starts.not_cold


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scenarios": ("sever",)}, r"no 'sever' \(did you mean 'server'\?\)"),
        ({"scenarios": ()}, "at least one"),
        ({"qps": -1.0}, "qps: expected a number above 0"),
        ({"latency_bound_ms": float("nan")}, "latency_bound_ms: expected"),
        ({"workers": 0}, "workers: expected a whole number of at least 1"),
        ({"queries": 0}, "queries: expected"),
        ({"duration_s": 9.0, "max_seconds": 5.0}, "duration_s: expected 0 to max_seconds"),
        ({"cpus": (4095,)}, "no CPU 4095 here"),
        ({"energy": "rapl9"}, "energy: expected auto, none or a meter"),
        ({"scenarios": ("server",)}, "give the rate of arrivals"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(settings, words, mlp):
    with pytest.raises(InputError, match=words):
        load_test([mlp(1, "m.onnx")], replace(QUICK, **settings))


def test_fixed_batches_are_told_what_would_do(mlp):
    with pytest.raises(InputError, match=r"its batch is fixed .*x.*\[4, 64\].*single samples"):
        load_test([mlp(1, "four.onnx", batch=4)], QUICK)
    with pytest.raises(InputError, match="fixed at 1"):
        load_test([mlp(1, "one.onnx", batch=1)], replace(QUICK, scenarios=("offline",), batch=4))


def test_a_run_that_is_over_before_an_answer_is_refused(mlp):
    slow = replace(QUICK, scenarios=("server",), qps=1e-3, max_seconds=0.05)
    with pytest.raises(InputError, match=r"nothing was answered within 0.05 s"):
        load_test([mlp(1, "m.onnx")], slow)
    long = replace(QUICK, scenarios=("server",), find_qps=True, latency_bound_ms=50.0, max_seconds=1e-3)
    with pytest.raises(InputError, match=r"459 queries take some .* --max-duration"):
        load_test([mlp(300, "m.onnx")], long)


def test_names_must_fit(mlp):
    model = mlp(1, "m.onnx")
    with pytest.raises(InputError, match="at least one path"):
        load_test([], QUICK)
    with pytest.raises(InputError, match="names must differ"):
        load_test([model, model], QUICK, names=["a", "a"])
    with pytest.raises(InputError, match="2 paths and 1 engines"):
        load_test([model, model], QUICK, engines=["onnxruntime"])
