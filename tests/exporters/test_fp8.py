"""Graphs in fp8: the form that TensorRT takes, computed by ONNX Runtime as ONNX says."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from torch import nn

import paring_runtimes
from paring_exporters.formats.onnx import export
from paring_exporters.onnx_graph.quantize import Scheme, quantise
from paring_exporters.parity import signal_to_noise_db
from paring_exporters.request import Request
from paring_exporters.tensorrt.lint import lint_file
from paring_runtimes.errors import ExportError


class Shared(nn.Module):
    """Two layers that read one activation, and one above."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 1, 4, 16] -> [B, 4]"""
        return self.three(self.one(x) * self.two(x)).mean((1, 2))


def exported(folder: Path, opset: int = 20) -> Path:
    torch.manual_seed(0)
    return export(Shared(), Request(torch.randn(2, 1, 4, 16), opset=opset), folder).entry


def inputs() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((8, 1, 4, 16)).astype(np.float32)


@pytest.mark.parametrize("per_channel", [True, False])
def test_products_read_fp8_and_engines_agree(per_channel: bool, tmp_path: Path) -> None:
    entry, x = exported(tmp_path), inputs()
    weights = {one.name for one in onnx.load(entry).graph.initializer if len(one.dims) == 2}
    with paring_runtimes.load(entry) as session:
        (exact,) = session.run({"pixel_values": x}).values()
    told = quantise(entry, Scheme("fp8", per_channel=per_channel), [x])
    graph = onnx.load(entry).graph
    stored = [one for one in graph.initializer if one.data_type == TensorProto.FLOAT8E4M3FN]
    assert len([one for one in stored if len(one.dims) == 2]) == len(weights) == 3
    assert told["nodes"]["DequantizeLinear"] == 3 + 2  # the layers below read one activation
    scales = {one.name: one for one in graph.initializer}
    first = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "pixel_values")
    assert onnx.numpy_helper.to_array(scales[first.input[1]]) == pytest.approx(np.abs(x).max() / 448)
    with paring_runtimes.load(entry) as session:
        (found,) = session.run({"pixel_values": x}).values()
    (reference,) = ReferenceEvaluator(onnx.load(entry)).run(None, {"pixel_values": x})
    np.testing.assert_allclose(found, reference, rtol=1e-4, atol=1e-5)
    assert 20 < signal_to_noise_db(exact, found) < 45
    assert lint_file(entry).clean


def test_weights_are_rounded_to_the_nearest(tmp_path: Path) -> None:
    entry = exported(tmp_path)
    plain = {one.name: one for one in onnx.load(entry).graph.initializer if len(one.dims) == 2}
    quantise(entry, Scheme("fp8"), [inputs()])
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(entry).graph.initializer}
    for node in onnx.load(entry).graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            codes, scale = stored[node.input[0]].astype(np.float32), stored[node.input[1]]
            weight = onnx.numpy_helper.to_array(plain[node.input[0].rsplit("_fp8", 1)[0]])
            np.testing.assert_allclose(scale, np.abs(weight).max(0) / 448, rtol=1e-6)
            np.testing.assert_array_equal(codes, (weight / scale).astype(ml_dtypes.float8_e4m3fn).astype("f"))


def test_an_opset_without_fp8_is_refused(tmp_path: Path) -> None:
    entry = exported(tmp_path, opset=18)
    with pytest.raises(ExportError, match=r"fp8 needs opset 19; export\.opset is 18"):
        quantise(entry, Scheme("fp8"), [inputs()])
