"""What is said of a GPU that is there, and that a bound run waits for it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import paring_runtimes
from paring_profiles.devices import cuda, devices
from paring_profiles.latency import time_call

pytestmark = pytest.mark.gpu
PROVIDER = "CUDAExecutionProvider"
SIDE, PRODUCTS = 4096, 40  # 5.5 TFLOP: tens of milliseconds on the fastest GPU


def test_only_a_missing_provider_keeps_the_gpu_away() -> None:
    ort = pytest.importorskip("onnxruntime")
    assert cuda._no_gpu() is None
    reason = devices()["cuda"]
    if PROVIDER in ort.get_available_providers():
        assert reason is None
    else:
        assert reason is not None
        assert reason.startswith("onnxruntime-gpu is missing")


def test_a_bound_run_is_timed_to_its_end(onnx_file: Callable[..., Path]) -> None:
    reason = cuda.why_not()
    if reason is not None:
        pytest.skip(reason)
    names = ["x", *(f"t{i}" for i in range(PRODUCTS))]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in itertools.pairwise(names)]
    nodes += [helper.make_node("ReduceMean", [names[-1]], ["y"], keepdims=0)]
    rotation = np.roll(np.eye(SIDE, dtype=np.float32), 1, axis=1)
    file = onnx_file(nodes, {"x": (SIDE, SIDE)}, ["y"], {"w": rotation})
    x = np.random.default_rng(0).standard_normal((SIDE, SIDE), dtype=np.float32)
    with paring_runtimes.load(file, providers=[PROVIDER]) as session:
        bound = session.bind({"x": x})
        bound.run()
        whole = min(time_call(lambda: session.run({"x": x})) for _ in range(3))
        timed = min(time_call(bound.run) for _ in range(3))
    assert timed > whole / 2
