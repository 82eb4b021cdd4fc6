"""Small real ONNX models and artifacts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paring_runtimes import Manifest, TensorSpec
from paring_runtimes.artifact import hash_files, write_manifest

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)
INPUTS = (
    TensorSpec("tokens", "float32", ("batch", "count", 3)),
    TensorSpec("bias", "float32", ("batch", 1, 4)),
)
OUTPUTS = (
    TensorSpec("scores", "float32", ("batch", "count", 4)),
    TensorSpec("doubled", "float32", ("batch", "count", 4)),
)


def save_model(path: Path) -> Path:
    """Write scores = tokens @ WEIGHT + bias and doubled = 2 * scores."""

    def values(specs: tuple[TensorSpec, ...]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(s.name, TensorProto.FLOAT, s.shape) for s in specs]

    nodes = [
        helper.make_node("MatMul", ["tokens", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["scores"]),
        helper.make_node("Add", ["scores", "scores"], ["doubled"]),
    ]
    weights = [numpy_helper.from_array(WEIGHT, "weight")]
    graph = helper.make_graph(nodes, "tiny", values(INPUTS), values(OUTPUTS), weights)
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def feeds_of(batch: int, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return random inputs of the tiny model."""
    draw = np.random.default_rng(seed).standard_normal
    return {
        "tokens": draw((batch, count, 3)).astype(np.float32),
        "bias": draw((batch, 1, 4)).astype(np.float32),
    }


def scores_of(feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Return what the tiny model's `scores` must be."""
    return feeds["tokens"] @ WEIGHT + feeds["bias"]


def fill(folder: Path) -> Manifest:
    """Put the tiny model and its manifest into a folder that exists."""
    save_model(folder / "model.onnx")
    manifest = Manifest("onnx", "model.onnx", INPUTS, OUTPUTS, hash_files(folder))
    write_manifest(folder, manifest)
    return manifest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "tiny.onnx")


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    fill(folder)
    return folder


@pytest.fixture
def filler() -> Callable[[Path], Manifest]:
    return fill


@pytest.fixture
def feeds() -> Callable[..., dict[str, np.ndarray]]:
    return feeds_of


@pytest.fixture
def scores() -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    return scores_of
