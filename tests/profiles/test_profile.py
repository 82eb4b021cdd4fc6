"""The whole of `profile` on small real models."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import paring_runtimes
from paring_profiles import Settings, compare, memory, operators, profile, read, write
from paring_runtimes.errors import ArtifactError, EngineError, InputError

QUICK = Settings(batch_sizes=(1, 4), threads=1, openings=4, min_runs=70, min_seconds=0.05, max_seconds=10.0)


@pytest.fixture
def measured(mlp):
    told: list[tuple[str, float]] = []
    paths = [mlp(40, "deep.onnx"), mlp(4, "shallow.onnx")]
    return profile(paths, QUICK, progress=lambda what, share: told.append((what, share))), told


def test_the_line_from_files_to_ratios(measured, tmp_path):
    found, told = measured
    deep, shallow = found.candidates
    assert (deep.name, shallow.name) == ("deep", "shallow")
    assert deep.macs == {"1": 40 * 4096, "4": 4 * 40 * 4096}
    assert (deep.parameters, shallow.parameters) == (40 * 4096, 4 * 4096)
    assert deep.size_bytes > shallow.size_bytes > 4 * 4096 * 4
    assert deep.macs_unknown == []
    assert [at.batch_size for at in deep.latency] == [1, 4]
    for at in deep.latency + shallow.latency:
        assert len(at.samples_ms) >= 70
        assert at.p50_ci95_ms[0] <= at.p50_ms <= at.p50_ci95_ms[1]
        assert at.p90_ms >= at.p50_ms >= at.min_ms > 0
        assert at.p99_ms is not None or "662 needed" in at.refused["p99_ms"]
        assert "CPUExecutionProvider, 1 threads" in at.method
    for ratio in found.comparisons:
        assert ratio.mac_ratio == 10
        assert ratio.latency_ratio_ci95[0] > 1
        assert ratio.verdict == "faster"
        assert ratio.realised == pytest.approx(ratio.latency_ratio / 10)
    assert deep.load_ms > 0
    assert {op.op_type for op in deep.operators["4"]} == {"MatMul"}
    assert deep.operators["4"][0].calls == 40
    assert deep.energy == "not measured"
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert told[-1] == ("done", 1.0)
    assert read(write(found, tmp_path / "p.json")) == found
    assert len(compare([found]).comparisons) == 2


def test_machine_and_tools(measured):
    found, _ = measured
    assert found.machine.cpu
    assert found.machine.cores_logical >= found.machine.cores_physical >= 1
    assert found.machine.memory_bytes > 1 << 28
    assert {"onnxruntime", "numpy", "onnx"} <= found.tools.keys()
    assert found.created.endswith("+00:00")


def test_a_model_against_itself_shows_no_difference(mlp):
    """Intervals exclude 1 by chance now and then, so only their distance from it is held."""
    path = mlp(20, "m.onnx")
    found = profile([path, path], dataclasses.replace(QUICK, batch_sizes=(1,), min_runs=200))
    assert [c.name for c in found.candidates] == ["m", "m-2"]
    (ratio,) = found.comparisons
    assert ratio.mac_ratio == 1
    assert 0.9 < ratio.latency_ratio < 1.1


def test_an_artifact_tells_what_it_is(mlp, tmp_path):
    folder = tmp_path / "vit"
    folder.mkdir()
    model = mlp(2, "m.onnx").rename(folder / "model.onnx")
    spec = {"dtype": "float32", "shape": ["batch", 64]}
    (folder / "manifest.json").write_text(
        json.dumps(
            {
                "schema_version": 1,
                "format": "onnx",
                "entry": "model.onnx",
                "inputs": [{"name": "x", **spec}],
                "outputs": [{"name": "y2", "dtype": "float32", "shape": ["batch", 64]}],
                "files": {"model.onnx": _sha256(model)},
                "source": {"spec": "timm:x"},
                "transforms": [{"name": "token_prune", "config": {"keep": 0.7}}],
                "graph": {"parameters": 123, "tokens_per_layer": [5, 3]},
                "quality": {"before": 0.9},
            }
        )
    )
    found = profile([folder], dataclasses.replace(QUICK, batch_sizes=(2,)), names=["ours"])
    (candidate,) = found.candidates
    assert (candidate.name, candidate.source, candidate.parameters) == ("ours", "timm:x", 123)
    assert candidate.tokens_per_layer == [5, 3]
    assert candidate.size_bytes == model.stat().st_size
    assert candidate.transforms[0]["name"] == "token_prune"
    assert candidate.quality == {"before": 0.9}
    assert candidate.macs == {"2": 2 * 2 * 4096}
    assert found.comparisons == []


def _sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_wrong_requests_are_refused_before_anything_is_measured(mlp, tmp_path):
    dynamic, fixed = mlp(1, "a.onnx"), mlp(1, "b.onnx", batch=4)
    with pytest.raises(InputError, match=r"b\.onnx: its batch is fixed at 4"):
        profile([dynamic, fixed], QUICK)
    with pytest.raises(InputError, match="at least one path"):
        profile([], QUICK)
    with pytest.raises(InputError, match="expected a list"):
        profile(str(dynamic), QUICK)
    with pytest.raises(InputError, match="2 paths and 1 names"):
        profile([dynamic, dynamic], QUICK, names=["a"])
    with pytest.raises(InputError, match="names must differ"):
        profile([dynamic, dynamic], QUICK, names=["a", "a"])
    with pytest.raises(InputError, match="batch_sizes"):
        profile([dynamic], dataclasses.replace(QUICK, batch_sizes=(1, 1)))
    with pytest.raises(ArtifactError, match=r"gone\.onnx"):
        profile([tmp_path / "gone.onnx"], QUICK)


def test_memory_grows_with_the_weights(onnx_file):
    from onnx import helper

    def use(megabytes: int) -> int:
        rows = megabytes * (1 << 20) // 4 // 1024
        weights = {"w": np.ones((1024, rows), np.float32)}
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        path = onnx_file([node], {"x": ["n", 1024]}, ["y"], weights, name=f"{megabytes}.onnx")
        return memory.measure(path, batch_size=1, threads=1).peak_bytes

    small, big = use(8), use(64)
    assert 56 << 20 <= big - small <= 6 * (56 << 20)  # at least once, and what loading takes


def test_a_failing_child_says_why(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(EngineError, match=r"broken\.onnx: measuring its memory failed: .*EngineError"):
        memory.measure(broken, batch_size=1, threads=1)


def test_operator_times_add_up(mlp):
    path = mlp(5, "m.onnx")
    times = operators.measure(path, {"x": np.zeros((1, 64), np.float32)}, threads=1, runs=4)
    assert sum(op.share for op in times) == pytest.approx(1)
    assert (times[0].op_type, times[0].calls) == ("MatMul", 5)


def test_operator_times_of_a_known_profile():
    def event(name, ts, dur, op=None):
        return {"name": name, "ts": ts, "dur": dur, "args": {"op_name": op} if op else {}}

    events = [
        event("model_loading_uri", 0, 900),
        event("model_run", 10, 500),
        event("a_kernel_time", 20, 400, "Add"),  # the first run is skipped
        event("model_run", 1000, 400),
        event("a_kernel_time", 1010, 100, "Add"),
        event("m_kernel_time", 1110, 100, "MatMul"),
        event("n_kernel_time", 1210, 100, "MatMul"),
        event("m_fence_before", 1100, 5, "MatMul"),
        event("model_run", 2000, 400),
        event("a_kernel_time", 2010, 100, "Add"),
        event("m_kernel_time", 2110, 300, "MatMul"),
        event("n_kernel_time", 2410, 100, "MatMul"),
    ]
    matmul, add = operators.aggregate(events, skip=1)
    assert (matmul.op_type, matmul.calls, matmul.time_ms, matmul.share) == ("MatMul", 2, 0.3, 0.75)
    assert (add.op_type, add.calls, add.time_ms, add.share) == ("Add", 1, 0.1, 0.25)


def test_timing_leaves_the_results_alone(mlp):
    path = mlp(3, "m.onnx")
    x = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)
    with paring_runtimes.load(path) as session:
        before = session.run({"x": x})["y3"]
        profile([path], dataclasses.replace(QUICK, batch_sizes=(1,)))
        assert np.array_equal(session.run({"x": x})["y3"], before)


def test_one_artifact_on_two_engines(mlp):
    pytest.importorskip("openvino")
    path = mlp(4, "shallow.onnx")
    found = profile([path, path], QUICK, engines=["onnxruntime", "openvino"])
    ours, theirs = found.candidates
    assert (ours.name, theirs.name) == ("shallow on onnxruntime", "shallow on openvino")
    assert ours.latency[0].method.startswith("onnxruntime ")
    assert theirs.latency[0].method.startswith("openvino ")
    assert ours.macs == theirs.macs
    assert ours.operators
    assert not theirs.operators
    assert theirs.peak_memory_bytes
    with pytest.raises(InputError, match="2 paths and 1 engines"):
        profile([path, path], QUICK, engines=["openvino"])
