"""Binary attention in ONNX: standard operators, the bits shown, parity that tells rounding from errors."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from models import build
from onnx import numpy_helper
from onnx_run import run

import paring_runtimes
from paring.transforms._additive import binarisers, binary_attention, binary_attention_quadratic
from paring.transforms.additive_attention import Config, apply
from paring_exporters import parity
from paring_exporters.formats import onnx as exporter
from paring_exporters.onnx_graph.bits import shown_bits
from paring_exporters.request import Exported, Request
from paring_exporters.torch_reference import torch_reference

KINDS = [Config(), Config(form="quadratic"), Config(binarisation="ksh", bits=8, anchors=6)]
DEPTH = 3
Written = Callable[[Config], tuple[torch.nn.Module, Exported]]
IDS = ["vanilla", "quadratic", "ksh"]


def compared(model: torch.nn.Module, exported: Exported, batches: tuple[int, ...] = (1, 3)) -> parity.Parity:
    with (
        paring_runtimes.load(exported.entry) as session,
        torch_reference(model, ["logits"], exported, "fp32") as reference,
    ):
        inputs = parity.cases(3, [(32, 32)], batches, [0])
        return parity.compare(reference, lambda x: session.run({"pixel_values": x}), inputs, "fp32")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Returns a config's model and its export, made once: read only."""

    @functools.cache
    def made(config: Config) -> tuple[torch.nn.Module, Exported]:
        model = apply(build("timm ViT", depth=DEPTH), config)
        request = Request(torch.randn(2, 3, 32, 32))
        return model, exporter.export(model, request, tmp_path_factory.mktemp("kind"))

    return made


@pytest.mark.parametrize("operator", [binary_attention, binary_attention_quadratic])
def test_the_operators_are_standard_ones_in_onnx(operator: Any, tmp_path: Path) -> None:
    def example(batch: int) -> list[torch.Tensor]:
        bits = [torch.rand(batch, 3, 7, 5) < 0.5 for _ in range(2)]
        return [*bits, torch.randn(batch, 3, 7, 4)]

    torch.manual_seed(0)
    inputs = example(5)
    (found,) = run(operator, example(2), inputs, tmp_path)
    np.testing.assert_allclose(found, operator(*inputs), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", KINDS, ids=IDS)
def test_artifacts_agree_at_every_batch_size_without_a_tie(config: Config, written: Written) -> None:
    model, exported = written(config)
    graph = onnx.load(exported.entry).graph
    assert {node.domain for node in graph.node} == {""}
    assert sum(node.op_type == "Softmax" for node in graph.node) == 0
    found = compared(model, exported, (1, 2, 5))
    assert found.passed, found.failure()
    assert found.ties == 0
    there = [path.name for path in exported.entry.parent.iterdir()]
    assert there == ["model.onnx"]  # nothing is left beside it


def test_the_bits_shown_are_those_of_pytorch_but_for_rounding(written: Written) -> None:
    model, exported = written(Config())
    model = copy.deepcopy(model)
    own: list[torch.Tensor] = []
    for module in binarisers(model):
        module.register_forward_hook(lambda module, inputs, bits: own.append(bits))
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        model(pixels)
    with shown_bits(exported.entry, len(own)) as bits:
        assert bits is not None
        theirs = bits({"pixel_values": pixels.numpy()})
    assert len(theirs) == 2 * DEPTH
    for one, two in zip(own, theirs, strict=True):
        assert (one.numpy() == two).mean() > 0.999


def test_a_graph_with_other_comparisons_than_the_model_shows_none(written: Written, tmp_path: Path) -> None:
    _, exported = written(Config())
    with shown_bits(exported.entry, 2 * DEPTH - 1) as bits:
        assert bits is None
    with shown_bits(tmp_path / "kernels.so", 2 * DEPTH) as bits:
        assert bits is None


def edited(exported: Exported, change: Any, folder: Path) -> Exported:
    """A copy whose first constant near a value is changed: what a wrong translation would have written."""
    model = onnx.load(exported.entry)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        after = change(value)
        if after is not None:
            tensor.CopyFrom(numpy_helper.from_array(after.astype(value.dtype), tensor.name))
            onnx.save(model, folder / exported.entry.name)
            return dataclasses.replace(exported, entry=folder / exported.entry.name)
    raise AssertionError("no such constant")


def scalar(near: float, after: float) -> Any:
    def change(value: np.ndarray) -> np.ndarray | None:
        return np.full_like(value, after) if value.size == 1 and np.allclose(value, near, atol=1e-5) else None

    return change


def shifted_threshold(value: np.ndarray) -> np.ndarray | None:
    return value + 1e-3 if value.shape == (3, 1, 1) else None


@pytest.mark.parametrize(
    "change",
    [scalar(1 / np.pi, 1 / 3.1), scalar(0.5, 0.49), shifted_threshold],
    ids=["1/pi", "one half", "a threshold"],
)
def test_small_errors_of_the_graph_fail(change: Any, written: Written, tmp_path: Path) -> None:
    model, exported = written(Config())
    assert compared(model, exported).passed
    assert not compared(model, edited(exported, change, tmp_path)).passed
