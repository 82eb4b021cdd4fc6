"""Shift layers in ONNX: each flavour against PyTorch, and what a weight costs in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from paring.transforms._shift import Form, ShiftLinear
from paring.transforms._shift.integer import in_integers, quantize_dynamically
from paring_exporters.formats.onnx import export
from paring_exporters.onnx_graph.shift_linear import lowered
from paring_exporters.request import Request
from paring_runtimes.errors import ExportError

FORMS = [
    Form(bits, scale, group, terms)
    for bits in (4, 5)
    for scale, group in (("tensor", 0), ("channel", 0), ("group", 7))
    for terms in (1, 2)
]


class Net(nn.Module):
    """[B, 3, 2, 7] -> [B, 6, 10], by layers of odd width, of which two share their input."""

    def __init__(self, form: Form, width: int = 21) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = ShiftLinear.from_linear(nn.Linear(7, width), form)
        self.second = ShiftLinear.from_linear(nn.Linear(width, 10), form)
        self.third = ShiftLinear.from_linear(nn.Linear(width, 10, bias=False), form)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x.flatten(1, 2)).relu()
        return self.second(hidden) + self.third(hidden)


def written(model: nn.Module, folder: Path, **options: object) -> Path:
    request = Request(torch.randn(2, 3, 2, 7), **options)
    return export(model.eval(), request, folder).entry


def answer(path: Path, x: torch.Tensor, optimized: bool = True) -> np.ndarray:
    settings = onnxruntime.SessionOptions()
    if not optimized:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return session.run(None, {"pixel_values": x.numpy()})[0]


@pytest.mark.parametrize("form", FORMS)
def test_floats_are_exact_with_and_without_the_runtimes_optimizer(form: Form, tmp_path: Path) -> None:
    model = Net(form)
    path = written(model, tmp_path)
    graph = onnx.load(path)
    assert {item.domain for item in graph.opset_import} == {""}
    assert {node.domain for node in graph.graph.node} == {""}
    x = torch.randn(5, 3, 2, 7)
    expected = model(x).detach().numpy()
    for optimized in (True, False):
        np.testing.assert_allclose(answer(path, x, optimized), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_dequantized_is_exact_as_the_graph_says(form: Form, tmp_path: Path) -> None:
    """Without fusion into MatMulNBits, which rounds activations."""
    model = Net(form)
    x = torch.randn(5, 3, 2, 7)
    path = written(model, tmp_path, opset=21, shift="dequantize")
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("DequantizeLinear") == 3 * form.terms
    np.testing.assert_allclose(answer(path, x, False), model(x).detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("form", [one for one in FORMS if one.bits == 4 and not one.group])
def test_integers_are_the_reference_in_integers(form: Form, tmp_path: Path) -> None:
    """One layer: nothing is carried on, so that only the last addition of floats rounds."""
    model = nn.Sequential(ShiftLinear.from_linear(nn.Linear(7, 10), form))
    path = written(model, tmp_path, shift="integer")
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("MatMulInteger") == form.terms
    assert kinds.count("DynamicQuantizeLinear") == 1
    x = torch.randn(5, 3, 2, 7)
    floats = model(x).detach()
    reference = in_integers(model)(x).detach()
    assert 25 < 10 * torch.log10(floats.square().sum() / (floats - reference).square().sum()) < 60
    for optimized in (True, False):
        np.testing.assert_allclose(answer(path, x, optimized), reference, atol=1e-5, rtol=1e-4)


def test_layers_over_one_input_quantise_it_once(tmp_path: Path) -> None:
    path = written(Net(Form(terms=2)), tmp_path, shift="integer")
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("DynamicQuantizeLinear") == 2
    assert kinds.count("MatMulInteger") == 6


def test_dynamic_quantization_is_onnx_s(tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    node = onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
    for x in (torch.randn(4, 9) + 0.3, torch.rand(3, 5) + 2, -torch.rand(3, 5)):
        q, s, z = ReferenceEvaluator(node).run(None, {"x": x.numpy()})
        steps, scale, zero = quantize_dynamically(x)
        assert (np.abs(steps.numpy() - q.astype(int)) <= (np.abs(x.numpy() / s % 1 - 0.5) < 1e-3)).all()
        assert scale.item() == pytest.approx(float(s), rel=1e-6)
        assert zero.item() == int(z)


def test_what_a_flavour_cannot_say_is_refused_with_what_can(tmp_path: Path) -> None:
    for form in (Form(5), Form(4, "group", 7)):
        with pytest.raises(ExportError, match=r"set export.shift=float"):
            written(Net(form), tmp_path, shift="integer")
        with pytest.raises(ExportError, match=r"set export.opset=21"):
            written(Net(form), tmp_path, shift="dequantize")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shift", "bits", "bytes_a_weight"),
    [("float", 4, 0.5), ("float", 5, 0.625), ("integer", 4, 0.5), ("dequantize", 4, 1), ("dequantize", 5, 2)],
)
@pytest.mark.parametrize("optimizer", ["auto", "onnxscript", "none"])
def test_the_file_has_so_many_bits_a_weight(
    shift: str, bits: int, bytes_a_weight: float, optimizer: str, tmp_path: Path
) -> None:
    """No optimizer folds the packed weights, however small they are."""
    width = 1024
    path = written(Net(Form(bits), width), tmp_path, opset=21, shift=shift, optimizer=optimizer)
    weights = width * (7 + 10 + 10)
    beside = 4 * 4 * (width + 20) + 12_000  # scales, biases, tables, nodes
    padding = width  # of rows of 7 codes
    size = path.stat().st_size
    assert weights * bytes_a_weight < size < weights * bytes_a_weight + beside + padding


def test_half_precision_keeps_the_codes(tmp_path: Path) -> None:
    model = Net(Form(5))
    path = written(model, tmp_path, precision="fp16")
    x = torch.randn(5, 3, 2, 7)
    np.testing.assert_allclose(answer(path, x), model(x).detach(), atol=0.0025, rtol=0.01)


def test_a_graph_without_shift_layers_is_left_alone() -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:]))
    assert lowered(model) is model
