"""Exports of real modules, run in ONNX Runtime against PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from models import FAMILIES, build
from torch import nn

import paring_runtimes
from paring.transforms import token_merge, token_prune
from paring.transforms._encoder import open_encoder
from paring.transforms.token_map import WithTokenMap, trace
from paring_exporters import parity
from paring_exporters.formats.onnx import export
from paring_exporters.onnx_graph import weights
from paring_exporters.onnx_graph.difference import first_difference, locate
from paring_exporters.request import Request
from paring_runtimes.errors import ExportError

DEPTH = 3  # as many blocks as `token_prune` prunes in
STEPS = {
    "open": lambda model: (open_encoder(model), model)[1],
    "prune": lambda model: token_prune.apply(model, token_prune.Config(keep_ratio=0.6)),
    "merge": lambda model: token_merge.apply(model, token_merge.Config(r=5)),
}


def compared(model: nn.Module, entry: Path, precision: str = "fp32") -> parity.Parity:
    def reference(pixels: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        with torch.inference_mode():
            outputs, found = trace(model, torch.from_numpy(pixels))
        return {"logits": outputs.numpy()}, None if found is None else found.margin.numpy()

    with paring_runtimes.load(entry) as session:
        return parity.compare(
            reference,
            lambda pixels: session.run({"pixel_values": pixels}),
            parity.cases(3, [(32, 32)], [1, 4], [0, 1]),
            precision,
        )


EXPORTED = [(name, "open") for name in FAMILIES] + [
    (name, step)
    for name in ("timm ViT", "transformers DINOv2", "transformers CLIP vision")
    for step in ("prune", "merge")
]


@pytest.mark.parametrize(("name", "step"), EXPORTED)
def test_every_family_exports_and_agrees(name: str, step: str, tmp_path: Path) -> None:
    model = STEPS[step](build(name, depth=DEPTH))
    found = export(model, Request(torch.randn(2, 3, 32, 32)), tmp_path)
    result = compared(model, found.entry)
    assert result.passed, result.failure()
    graph = onnx.load(found.entry)
    assert {item.domain for item in graph.opset_import if item.domain} == set()  # no custom operators
    assert found.inputs[0].shape == ("batch", 3, 32, 32)
    assert not [node for node in graph.graph.node if node.op_type in ("NonZero", "ScatterElements")]


@pytest.mark.parametrize("step", STEPS)
def test_fp16_agrees_with_the_fp32_model(step: str, tmp_path: Path) -> None:
    model = STEPS[step](build("timm ViT", depth=DEPTH))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.div_(3)
    found = export(model, Request(torch.randn(2, 3, 32, 32), precision="fp16"), tmp_path)
    result = compared(model, found.entry, "fp16")
    assert result.passed, result.failure()
    assert found.inputs[0].dtype == "float32"
    weights = [w for w in onnx.load(found.entry).graph.initializer if len(w.dims) == 2 and min(w.dims) >= 48]
    assert weights
    assert all(weight.data_type == onnx.TensorProto.FLOAT16 for weight in weights)


def test_the_token_map_is_an_output(tmp_path: Path) -> None:
    model = STEPS["prune"](build("timm ViT", depth=DEPTH))
    request = Request(torch.randn(2, 3, 32, 32), output_names=("logits", "token_map"))
    found = export(WithTokenMap(model), request, tmp_path)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        _, expected = trace(model, pixels)
    with paring_runtimes.load(found.entry) as session:
        token_map = session.run({"pixel_values": pixels.numpy()})["token_map"]
    assert expected is not None
    np.testing.assert_array_equal(token_map, expected.owner.numpy())


def test_image_size_stays_open_where_the_model_allows(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    request = Request(torch.randn(2, 3, 32, 32), dynamic=("batch", "image_size"), size_step=2)
    found = export(model, request, tmp_path)
    with paring_runtimes.load(found.entry) as session:
        for height, width in ((16, 48), (64, 20)):
            pixels = torch.randn(3, 3, height, width)
            logits = session.run({"pixel_values": pixels.numpy()})["logits"]
            np.testing.assert_allclose(logits, model(pixels).detach(), atol=1e-5, rtol=1e-4)


class DropBelowThreshold(nn.Module):
    """Keeps what exceeds a threshold: how many is known only from the values."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens = pixels.flatten(1)
        kept = tokens[tokens > 0.5]
        if kept.shape[0] > 3:
            return kept * 2
        return kept


def test_data_dependent_shapes_are_refused_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as refused:
        export(DropBelowThreshold(), Request(torch.rand(2, 3, 8, 8)), tmp_path)
    message = str(refused.value)
    assert "depends on the values of another" in message
    assert "test_onnx.py" in message
    assert not list(tmp_path.iterdir())


def test_a_wrong_weight_is_found_by_its_node(tmp_path: Path) -> None:
    model = STEPS["open"](build("timm ViT", depth=DEPTH))
    found = export(model, Request(torch.randn(2, 3, 32, 32), optimizer="none"), tmp_path)
    graph = onnx.load(found.entry)
    makers = {output: node for node in graph.graph.node for output in node.output}
    third = [node for node in graph.graph.node if node.op_type == "MatMul"][14]
    name = next(item for item in third.input if item not in makers)
    weight = next(item for item in graph.graph.initializer if item.name == name)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0] += 0.5
    weight.CopyFrom(onnx.numpy_helper.from_array(values, name))
    onnx.save(graph, found.entry)
    result = compared(model, found.entry)
    assert not result.passed
    assert "normal, seed 0" in str(result.failure())
    where = locate(found.program, found.entry, np.ones((1, 3, 32, 32), np.float32), (1e-5, 1e-4))
    assert where is not None
    assert where.value == third.output[0]
    assert where.op_type == "MatMul"


def test_equal_graphs_have_no_first_difference(tmp_path: Path) -> None:
    model = STEPS["open"](build("timm ViT", depth=DEPTH))
    graph = onnx.load(export(model, Request(torch.randn(2, 3, 32, 32)), tmp_path).entry)
    feeds = {"pixel_values": np.ones((1, 3, 32, 32), np.float32)}
    assert first_difference(graph, graph, feeds, (1e-5, 1e-4)) is None


def test_weights_beyond_a_protobuf_message_lie_in_a_file_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_MESSAGE_BYTES", 1000)
    model = STEPS["prune"](build("timm ViT", depth=DEPTH))
    found = export(model, Request(torch.randn(2, 3, 32, 32)), tmp_path)
    assert found.facts["optimizer"] == "none"  # onnxslim would serialise it
    assert found.entry.with_name("model.onnx.data").stat().st_size > 1000
    result = compared(model, found.entry)
    assert result.passed, result.failure()
    with pytest.raises(ExportError, match=r"onnxslim: it cannot hold .* use auto"):
        export(model, Request(torch.randn(2, 3, 32, 32), optimizer="onnxslim"), tmp_path)
