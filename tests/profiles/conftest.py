"""Small real ONNX models, written for one test each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paring.cli import main
from paring_profiles.result import Candidate, Comparison, Latency, Machine, Profile, Settings

_KINDS = {
    "f": TensorProto.FLOAT,
    "h": TensorProto.FLOAT16,
    "i": TensorProto.INT64,
    "b": TensorProto.INT8,
}

Make = Callable[..., Path]


def weight(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Random float32 of a shape."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def onnx_file(tmp_path: Path) -> Make:
    """Return `make(nodes, inputs, outputs, weights)`, which writes a model and returns its path."""

    def make(
        nodes: Sequence[onnx.NodeProto],
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Sequence[str],
        weights: Mapping[str, np.ndarray[Any, Any]] | None = None,
        *,
        name: str = "model.onnx",
        opset: int = 20,
        kinds: Mapping[str, str] | None = None,
    ) -> Path:
        told = kinds or {}
        graph = helper.make_graph(
            list(nodes),
            "g",
            [
                helper.make_tensor_value_info(n, _KINDS[told.get(n, "f")], list(shape))
                for n, shape in inputs.items()
            ],
            [helper.make_tensor_value_info(n, _KINDS[told.get(n, "f")], None) for n in outputs],
            [numpy_helper.from_array(value, n) for n, value in (weights or {}).items()],
        )
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        path = tmp_path / name
        onnx.save(model, str(path))
        return path

    return make


@pytest.fixture
def mlp(onnx_file: Make) -> Callable[..., Path]:
    """Return `make(depth, name)`: `depth` 64 x 64 products, dynamic batch."""

    def make(depth: int, name: str, batch: int | str = "batch") -> Path:
        nodes = [
            helper.make_node("MatMul", [f"y{i}" if i else "x", f"w{i}"], [f"y{i + 1}"]) for i in range(depth)
        ]
        weights = {f"w{i}": weight(64, 64, seed=i) / 8 for i in range(depth)}
        return onnx_file(nodes, {"x": [batch, 64]}, [f"y{depth}"], weights, name=name)

    return make


def _latency(p50_ms: float, seed: int, batch_size: int = 1) -> Latency:
    rng = np.random.default_rng(seed)
    samples = [float(t) for t in p50_ms * rng.normal(1, 0.02, size=100)]
    return Latency(
        batch_size, samples, 10, p50_ms, (p50_ms, p50_ms), p50_ms, None, p50_ms, 0.1, p50_ms,
        batch_size / p50_ms * 1e3, {"p99_ms": "100 runs, 662 needed"},
    )  # fmt: skip


def _candidate(name: str, p50_ms: float, macs: int, seed: int) -> Candidate:
    return Candidate(
        name, f"/models/{name}", "onnx", 10, 5, {"1": macs}, [], None, 100, 1.5,
        [_latency(p50_ms, seed)], {"1": []}, None, [], {}, None, None,
    )  # fmt: skip


@pytest.fixture
def recorded() -> Profile:
    """A profile of two candidates, "base" (10 ms) and "small" (5 ms), without measuring."""
    return Profile(
        created="2026-01-02T03:04:05+00:00",
        machine=Machine("A CPU", 2, 4, 1 << 33, "Linux", "CPython 3.11", 0.1, False),
        settings=Settings(dims={"side": 224}),
        tools={"onnxruntime": "1.32.0", "numpy": "2.4.6"},
        candidates=[_candidate("base", 10.0, 400, 1), _candidate("small", 5.0, 100, 2)],
        comparisons=[Comparison("base", "small", 1, 2.0, (1.9, 2.1), 4.0, 0.5, "faster")],
        noise=[],
    )


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return `run(*arguments)`: what it prints, or its exit code and error."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["paring", *map(str, arguments)])
        try:
            main()
        except SystemExit as stop:
            if stop.code:
                return f"exit {stop.code}: {capsys.readouterr().err}"
        return capsys.readouterr().out

    return run
