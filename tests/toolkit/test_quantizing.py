"""Conversions into integers, on the small ViT: what is quantised, what it costs, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import paring
import paring_runtimes
from paring_exporters.onnx_graph.quantize import Scheme, quantise
from paring_runtimes.artifact import read_manifest
from paring_runtimes.errors import ExportError, RecipeError

VERIFY = {"batch_sizes": [1, 2], "seeds": [0]}
PRUNED = [{"token_prune": {"blocks": [1]}}]


@pytest.fixture
def images(tmp_path: Path) -> dict:
    file = tmp_path / "images.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (24, 28, 28), np.uint8)
    np.savez(file, images=pixels, labels=np.zeros(24, np.int64))
    return {"source": f"npz:{file}", "limit": 24}


def converted(factories: Path, folder: Path, precision: str, **more):  # type: ignore[no-untyped-def]
    export = {"precision": precision, "quantize": more.pop("quantize", {})}
    return paring.convert(
        f"py:{factories}:vit", folder, transforms=PRUNED, export=export, verify=VERIFY, **more
    )


@pytest.mark.parametrize(
    ("precision", "node", "least_db"),
    [("int8", "MatMulInteger", 20), ("int8_static", "DequantizeLinear", 15), ("int4", "MatMulNBits", 8)],
)
def test_products_are_integers_and_the_cost_is_told(
    factories: Path, tmp_path: Path, images: dict, precision: str, node: str, least_db: float
) -> None:
    calibration = {"calibration": images} if precision == "int8_static" else {}
    done = converted(factories, tmp_path / "out", precision, **calibration)
    manifest = read_manifest(done.artifact)
    told = manifest.export["quantization"]
    assert manifest.export["precision"] == told["precision"] == precision
    kinds = [one.op_type for one in onnx.load(done.artifact / "model.onnx").graph.node]
    assert told["nodes"][node] == kinds.count(node) > 0
    before, after = told["weights_bytes"]
    assert after < before
    assert told["snr_db"]["median"] > least_db
    assert told["calibration_samples"] == (24 if calibration else 0)
    assert manifest.parity["precision"] == "fp32"
    assert read_manifest(done.baseline).export["precision"] == "fp32"
    with paring_runtimes.load(done.artifact) as ours, paring_runtimes.load(done.baseline) as plain:
        name, shape = ours.inputs[0].name, (3, *ours.inputs[0].shape[1:])
        pixels = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
        (found,), (wanted,) = (side.run({name: pixels}).values() for side in (ours, plain))
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() > 0


def test_names_keep_nodes_in_floats(factories: Path, tmp_path: Path) -> None:
    whole = converted(factories, tmp_path / "whole", "int8")
    graph = onnx.load(whole.baseline / "model.onnx").graph
    weights = {one.name for one in graph.initializer}
    kept = next(n.name for n in graph.node if n.op_type in ("MatMul", "Gemm") and n.input[1] in weights)
    less = converted(factories, tmp_path / "less", "int8", quantize={"exclude": [kept]})
    told = [read_manifest(done.artifact).export["quantization"]["nodes"] for done in (whole, less)]
    assert told[0]["MatMulInteger"] - told[1]["MatMulInteger"] == 1
    with pytest.raises(ExportError, match="exclude: no node 'nothing'; products are"):
        converted(factories, tmp_path / "none", "int8", quantize={"exclude": ["nothing"]})
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_in_integers_is_refused(factories: Path, tmp_path: Path, images: dict) -> None:
    with pytest.raises(RecipeError, match=r"int8_static needs images .* calibration: \{source"):
        converted(factories, tmp_path / "a", "int8_static")
    with pytest.raises(RecipeError, match="no transform of the recipe is fitted"):
        converted(factories, tmp_path / "b", "int8", calibration=images)
    with pytest.raises(RecipeError, match=r"int4 is a form of ONNX; export.format is nir"):
        paring.convert(
            f"py:{factories}:vit",
            tmp_path / "c",
            export={"precision": "int4", "format": "nir"},
            verify=VERIFY,
        )


def test_a_graph_without_products_is_refused_and_left(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 2])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out])
    file = tmp_path / "model.onnx"
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), file)
    before = file.read_bytes()
    for precision in ("int8", "int4"):
        with pytest.raises(ExportError, match="no product with a constant weight"):
            quantise(file, Scheme(precision))
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
