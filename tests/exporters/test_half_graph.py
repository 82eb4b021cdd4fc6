"""Graphs in fp16 and bf16: what is kept in fp32, found by measurement, and what is computed."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from paring_exporters.formats.onnx import export
from paring_exporters.onnx_graph.half_graph import narrowed, simulated
from paring_exporters.onnx_graph.half_ranges import sensitivities
from paring_exporters.onnx_graph.quantize import Scheme, quantise
from paring_exporters.parity import signal_to_noise_db
from paring_exporters.request import Request
from paring_exporters.tensorrt.lint import lint_file
from paring_runtimes.errors import ExportError

KINDS = {"fp16": (TensorProto.FLOAT16, np.float16), "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16)}


class Residual(nn.Module):
    """Blocks on a residual stream whose last channel grows to `size` in the second of three blocks."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(3))
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.head = nn.Linear(16, 4)
        with torch.no_grad():
            self.layers[1].bias[-1] = size
            self.layers[2].bias[-1] = -size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 1, 4, 16] -> [B, 4]"""
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x))
        return self.head(x).mean((1, 2))


def exported(size: float, folder: Path) -> Path:
    torch.manual_seed(0)
    return export(Residual(size), Request(torch.randn(2, 1, 4, 16)), folder).entry


def inputs(count: int = 8) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 1, 4, 16)).astype(np.float32)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    return found


def test_a_residual_stream_that_overflows_fp16_is_kept(tmp_path: Path) -> None:
    entry, x = exported(1e5, tmp_path), inputs()
    plain = onnx.load(entry)
    exact = run(plain, x)
    assert not np.isfinite(run(simulated(narrowed(plain, "fp16", ())), x)).all()
    told = quantise(entry, Scheme("fp16"), [x])
    kept = {(one["operator"], one["why"].split(" up to")[0]) for one in told["kept"]}
    assert ("Add", "values") in kept
    assert ("LayerNormalization", "values") in kept
    assert all("fp16 ends at 65504" in one["why"] or "dB" in one["why"] for one in told["kept"])
    assert told["nodes"]["fp16"] > 0
    found = run(simulated(onnx.load(entry)), x)
    assert np.isfinite(found).all()
    assert signal_to_noise_db(exact, found) > 40
    assert lint_file(entry).clean
    # The same in bf16 has fp32's range, and nothing overflows.
    bf16 = sensitivities(plain, "bf16", [x])
    assert not [one for one in bf16 if "values" in one.why]


def test_squares_of_layer_norm_are_kept_and_small_values_are_not(tmp_path: Path) -> None:
    why = {
        one.operator: one.why for one in sensitivities(onnx.load(exported(500, tmp_path)), "fp16", [inputs()])
    }
    assert why["LayerNormalization"].startswith("squares up to")
    small = sensitivities(onnx.load(exported(1, tmp_path)), "fp16", [inputs()])
    assert not [one for one in small if one.why]
    assert all(one.snr_db > 50 for one in small)


def test_a_node_that_loses_bits_is_kept(tmp_path: Path) -> None:
    """exp(x - 16) in fp16's subnormals: the range fits, the bits do not."""
    value, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", 4]) for n in "xy")
    shift = onnx.numpy_helper.from_array(np.float32(16), "shift")
    nodes = [
        helper.make_node("Sub", ["x", "shift"], ["lower"]),
        helper.make_node("Exp", ["lower"], ["tiny"], "tiny"),
        helper.make_node("Relu", ["x"], ["harmless"]),
        helper.make_node("Add", ["tiny", "harmless"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [value], [out], [shift])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    x = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    found = {one.node: one for one in sensitivities(model, "fp16", [x])}
    assert "signal-to-noise ratio" in found["tiny"].why
    assert found["harmless"].why == ""
    true = np.exp(x.astype(np.float32) - 16).astype(np.float64)
    own = np.exp((x - 16).astype(np.float16).astype(np.float32)).astype(np.float16).astype(np.float64)
    assert found["tiny"].snr_db == pytest.approx(signal_to_noise_db(true, own), abs=0.01)


@pytest.mark.parametrize("precision", KINDS)
def test_edges_are_fp32_and_every_value_inside_is_rounded(precision: str) -> None:
    """A value that is an output and read again, a weight and an input read in both types, nodes kept."""
    kind, dtype = KINDS[precision]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 4])
    outs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", 4]) for n in ("h", "y", "z")]
    weight = np.random.default_rng(1).standard_normal((4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("MatMul", ["h", "w"], ["y"], "second"),
        helper.make_node("Sqrt", ["x"], ["z"], "third"),
    ]
    graph = helper.make_graph(nodes, "g", [value], outs, [onnx.numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    made = narrowed(model, precision, {"y", "z"})
    assert [one.type.tensor_type.elem_type for one in (*made.graph.input, *made.graph.output)] == [1] * 4
    assert {one.data_type for one in made.graph.initializer} == {TensorProto.FLOAT, kind}
    x = np.abs(inputs(2).reshape(-1, 4))
    session = onnxruntime.InferenceSession(simulated(made).SerializeToString())
    h, y, z = session.run(None, {"x": x})
    rounded = (x.astype(dtype).astype(np.float32) @ weight.astype(dtype).astype(np.float32)).astype(dtype)
    np.testing.assert_array_equal(h, h.astype(dtype).astype(np.float32))
    np.testing.assert_allclose(h, rounded.astype(np.float32), rtol=2**-7)
    np.testing.assert_allclose(y, h @ weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(z, np.sqrt(x), rtol=1e-6)  # of the input itself, not of its rounded form


def test_names_keep_nodes_and_unknown_ones_are_told(tmp_path: Path) -> None:
    entry = exported(1, tmp_path)
    before = entry.read_bytes()
    with pytest.raises(ExportError, match="exclude: no node 'nothing'; nodes are"):
        quantise(entry, Scheme("bf16", exclude=("nothing",)), [inputs()])
    assert entry.read_bytes() == before
    norms = sum(node.op_type == "LayerNormalization" for node in onnx.load(entry).graph.node)
    told = quantise(entry, Scheme("bf16", exclude=("*layer_norm*",)), [inputs()])
    assert told["kept"] == []
    assert told["nodes"]["fp32"] == norms == 3
