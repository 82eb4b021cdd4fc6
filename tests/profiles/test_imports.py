"""Other tools' files: small ones in the formats that their sources document; a real one of ONNX Runtime."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paring_profiles.imports import import_results, peers, read_results, write_results
from paring_runtimes.errors import ArtifactError, InputError

SECONDS = [0.010, 0.012, 0.011, 0.030, 0.010, 0.011, 0.012, 0.010, 0.011, 0.011, 0.012]


def latency(values):
    series = np.array(values)
    return {
        "unit": "s", "values": values, "count": len(values), "total": series.sum(), "mean": series.mean(),
        "p50": float(np.median(series)), "p90": 0.0, "p95": 0.0, "p99": 0.0, "stdev": 0.0, "stdev_": 0.0,
    }  # fmt: skip


FORWARD = {
    "memory": {"unit": "MB", "max_ram": 900.5, "max_global_vram": None, "max_process_vram": None,
               "max_reserved": None, "max_allocated": None},
    "latency": latency(SECONDS),
    "throughput": {"unit": "samples/s", "value": 78.5},
    "energy": {"unit": "kWh", "cpu": 1e-6, "ram": 1e-7, "gpu": 0.0, "total": 1.1e-6},
    "efficiency": {"unit": "samples/kWh", "value": 1e6},
}  # fmt: skip
LOADED = {"memory": None, "latency": latency([0.5]), "throughput": None, "energy": None, "efficiency": None}
CONFIG = {
    "name": "onnxruntime_bert",
    "backend": {"name": "onnxruntime", "model": "bert-base-uncased", "device": "cpu"},
    "scenario": {"name": "inference", "input_shapes": {"batch_size": 2}},
    "environment": {"cpu": " A CPU", "cpu_count": 8},
}


@pytest.fixture
def written(tmp_path):
    def write(told):
        path = tmp_path / "file.json"
        path.write_text(told if isinstance(told, str) else json.dumps(told))
        return path

    return write


def by_quantity(results):
    return {row.quantity: row for row in results.rows}


def test_optimum_benchmark_with_its_configuration(written):
    report = {"load_model": LOADED, "forward": FORWARD}
    found = import_results(written({"config": CONFIG, "report": report}), "optimum-benchmark")
    first, *forward = found.rows
    assert (first.name, first.value, first.interval95) == ("load_model", 500.0, None)
    rows = {row.quantity: row for row in forward}
    assert rows["latency"].value == pytest.approx(11.0)
    low, high = rows["latency"].interval95
    assert low <= 11.0 <= high
    assert rows["latency"].context["batch size"] == "2"
    assert rows["latency"].unknown == ["warm-up"]
    assert (rows["peak RAM"].value, rows["peak RAM"].unit) == (900.5, "MB")
    assert "not told apart" in rows["energy"].provenance
    assert found.source == "optimum-benchmark, file.json: not measured by paring"


def test_optimum_benchmark_that_keeps_a_summary_only(written):
    bare = {**FORWARD, "latency": {**latency(SECONDS), "values": None}}
    row = by_quantity(import_results(written({"forward": bare}), "optimum-benchmark"))["latency"]
    assert (row.value, row.interval95, row.runs) == (pytest.approx(11.0), None, 11)
    assert "machine" in row.unknown


def test_trtexec(written):
    queries = [
        {"startEnqMs": 0.1, "endEnqMs": 0.2, "startH2dMs": 0.0, "endH2dMs": 0.5, "startComputeMs": 0.5,
         "endComputeMs": 0.5 + ms, "startD2hMs": 0.5 + ms, "endD2hMs": 0.75 + ms, "h2dMs": 0.5,
         "computeMs": ms, "d2hMs": 0.25, "latencyMs": ms + 0.75}
        for ms in (2.0, 1.0, 3.0)
    ]  # fmt: skip
    found = import_results(written(queries), "trtexec")
    values = {row.name.partition(":")[0]: row.value for row in found.rows}
    assert values == {"latency": 2.75, "computing on the GPU": 2.0, "to the GPU": 0.5, "from the GPU": 0.25}
    assert all(row.interval95 is None and "GPU" in row.unknown for row in found.rows)


def test_a_real_profile_of_onnx_runtime(mlp, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "p")
    session = ort.InferenceSession(str(mlp(2, "m.onnx")), options, providers=["CPUExecutionProvider"])
    for _ in range(5):
        session.run(None, {"x": np.zeros((1, 64), np.float32)})
    found = import_results(session.end_profiling(), "onnxruntime-profile")
    whole, *operators = found.rows
    assert (whole.name, whole.runs) == ("whole call", 4)
    assert [row.name for row in operators] == ["MatMul"]
    assert operators[0].value > 0
    assert whole.context["providers"] == "CPUExecutionProvider"


def test_tuning_records_of_tvm(written):
    shapes = [["TENSOR", "float32", [1, 64]], ["TENSOR", "float32", [64, 8]]]
    lines = [
        [0, [[[], []], [0.002, 0.004], {"kind": "llvm"}, shapes]],
        [0, [[[], []], [0.001, 0.001], {"kind": "llvm"}, shapes]],
        [0, [[[], []], [1e10], {"kind": "llvm"}, shapes]],
        [1, [[[], []], None, None, None]],
    ]
    found = import_results(written("\n".join(map(json.dumps, lines))), "tvm-records")
    (row,) = found.rows
    assert (row.name, row.value) == ("workload 0", pytest.approx(1.0))
    assert row.statistic == "smallest mean of 2 measured candidates"
    assert row.context["arguments"] == "float32[1, 64], float32[64, 8]"


def test_neurobench(written):
    """The figures of its own README's spiking example."""
    told = {
        "Footprint": 583900, "ConnectionSparsity": 0.0, "ClassificationAccuracy": 0.85633802969095,
        "ActivationSparsity": 0.9668664144456199,
        "SynapticOperations": {"Effective_MACs": 0.0, "Effective_ACs": 3289834.32, "Dense": 29030400.0},
        "Own": 3,
    }  # fmt: skip
    rows = by_quantity(import_results(written(told), "neurobench"))
    assert rows["accumulates without zeros"].value == 3289834.32
    assert rows["memory of parameters and buffers"].unit == "bytes"
    assert rows["Own"].unit == "not told"


@pytest.mark.parametrize("name", peers())
@pytest.mark.parametrize("told", ["{", "[]", '{"a": 1}', '{"a": {"latency": 3}}', "[1]", '[{"b": 2}]', '"x"'])
def test_other_files_are_told_what_is_expected(name, told, written):
    with pytest.raises(ArtifactError, match="expected"):
        import_results(written(told), name)


def test_numbers_that_are_none(written):
    report = {"forward": {**FORWARD, "throughput": {"unit": "samples/s", "value": None}}}
    with pytest.raises(ArtifactError, match=r"forward\.throughput\.value: expected a finite number"):
        import_results(written(report), "optimum-benchmark")


def test_a_name_that_is_near(written):
    with pytest.raises(InputError, match="did you mean 'trtexec'"):
        import_results(written([]), "trtexe")


def test_a_file_and_back(written, tmp_path):
    found = import_results(written({"forward": FORWARD}), "optimum-benchmark")
    assert read_results(write_results(found, tmp_path / "kept.json")) == found
    with pytest.raises(ArtifactError, match="paring import"):
        read_results(written({"forward": FORWARD}))
