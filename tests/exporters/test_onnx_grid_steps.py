"""Window merging, pooling and merging of neighbours in ONNX Runtime, for images, sound and video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from models import FAMILIES, build
from sound_and_video import build_encoder, sample

import paring_runtimes
from paring.transforms import adjacent_merge, frame_merge, token_pool, window_merge
from paring.transforms.token_map import WithTokenMap, trace
from paring_exporters.formats.onnx import export
from paring_exporters.request import Request

EXPORTED = [
    ("timm ViT", window_merge, window_merge.Config(r=3)),
    ("timm ViT", token_pool, token_pool.Config(window=(3, 3), block=2)),
    ("transformers DINOv2", window_merge, window_merge.Config(share=1.0)),
    ("transformers CLIP vision", token_pool, token_pool.Config()),
    ("AST", adjacent_merge, adjacent_merge.Config(blocks=(2,))),
    ("AST", token_pool, token_pool.Config(window=(1, 2))),
    ("Whisper encoder", adjacent_merge, adjacent_merge.Config(blocks=(1, 2))),
    ("Whisper classifier", token_pool, token_pool.Config(window=(2,))),
    ("VideoMAE", frame_merge, frame_merge.Config(keep_ratio=0.6)),
    ("VideoMAE, first token", window_merge, window_merge.Config()),
]


def inputs(name: str, batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, 32, 32) if name in FAMILIES else sample(name, batch, seed=batch)


@pytest.mark.parametrize(("name", "transform", "config"), EXPORTED)
def test_exports_agree_with_pytorch(name: str, transform: Any, config: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(name, depth=3) if name in FAMILIES else build_encoder(name)
    transform.apply(model, config)
    found = export(model, Request(inputs(name, 2), input_name="x", output_names=("y",)), tmp_path)
    graph = onnx.load(found.entry)
    assert {item.domain for item in graph.opset_import if item.domain} == set()
    kinds = {node.op_type for node in graph.graph.node}
    assert not kinds & {"NonZero", "ScatterElements", "ScatterND", "Compress"}
    with paring_runtimes.load(found.entry) as session:
        for batch in (1, 3):
            x = inputs(name, batch)
            with torch.inference_mode():
                expected = model(x).numpy()
            y = session.run({"x": x.numpy()})["y"]
            np.testing.assert_allclose(y, expected, atol=1e-5, rtol=1e-4)


def test_the_map_of_merged_windows_is_an_output(tmp_path: Path) -> None:
    model = window_merge.apply(build("timm ViT", depth=3), window_merge.Config(r=2, order="raster"))
    names = ("logits", "token_map")
    found = export(WithTokenMap(model), Request(torch.randn(2, 3, 32, 32), output_names=names), tmp_path)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        _, expected = trace(model, pixels)
    with paring_runtimes.load(found.entry) as session:
        token_map = session.run({"pixel_values": pixels.numpy()})["token_map"]
    assert expected is not None
    np.testing.assert_array_equal(token_map, expected.owner.numpy())


@pytest.mark.parametrize(
    ("name", "transform", "config"),
    [
        ("timm ViT", window_merge, window_merge.Config(share=1.0, proportional_attention=True)),
        ("timm ViT", token_pool, token_pool.Config(window=(3, 3))),
        ("Whisper encoder", adjacent_merge, adjacent_merge.Config(keep_ratio=0.5)),
    ],
)
def test_fp16_agrees_with_the_fp32_model(name: str, transform: Any, config: Any, tmp_path: Path) -> None:
    """All windows or pairs go, so that rounding decides nothing."""
    model = build(name, depth=3) if name in FAMILIES else build_encoder(name)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.div_(3)
    transform.apply(model, config)
    request = Request(inputs(name, 2), input_name="x", output_names=("y",), precision="fp16")
    found = export(model, request, tmp_path)
    x = inputs(name, 3)
    with paring_runtimes.load(found.entry) as session, torch.inference_mode():
        y = session.run({"x": x.numpy()})["y"]
        scale = float(model(x).abs().max())
        np.testing.assert_allclose(y, model(x).numpy(), atol=0.0025 * max(1.0, scale), rtol=1e-3)
