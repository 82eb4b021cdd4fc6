"""Spiking transformers in ONNX: a Scan a layer of neurons; and the formats that refuse them."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "transforms"))
from models import timm_vit

import paring_runtimes
from paring.transforms import spike_transformer
from paring.transforms._spikes.bipolar import Neurons, SpikingTrunk, find
from paring.transforms._spikes.bipolar.adopting import Adopting
from paring_exporters import exporters, parity
from paring_exporters.onnx_graph.scans import spike_names
from paring_exporters.request import Request
from paring_exporters.torch_reference import torch_reference
from paring_runtimes.errors import ExportError


def network(steps: int) -> nn.Module:
    torch.manual_seed(0)
    config = spike_transformer.Config(steps=steps, levels=8)
    model = spike_transformer.apply(timm_vit(depth=1, patch_size=8).eval(), config)
    return spike_transformer.calibrate(model, [torch.randn(8, 3, 32, 32)])


def spikes(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """[T, B, ...] of every layer of neurons."""
    trunk, found = find(model), []
    assert isinstance(trunk, SpikingTrunk)

    class Kept(Adopting):
        def fire(self, neurons: Neurons, x: torch.Tensor, unit: torch.Tensor | float = 1.0) -> torch.Tensor:
            self.waiting = [torch.zeros(self.steps, 1)]  # a margin of 0: none is taken
            fired = super().fire(neurons, x, unit)
            found.append(fired.unflatten(0, (self.steps, -1)))
            return fired

    with torch.inference_mode(), trunk.running(Kept(trunk.steps, [], 0.0)):
        model(x)
    return found


def test_it_fires_as_the_model_and_agrees(tmp_path: Path) -> None:
    model, x = network(20), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    exported = exporters()["onnx"].export(model, Request(torch.randn(2, 3, 32, 32)), tmp_path)
    whole = onnx.load(exported.entry)
    names = spike_names(whole.graph)
    assert {node.domain for node in whole.graph.node} <= {"", "ai.onnx"}
    inputs = parity.cases(3, [(32, 32)], [1, 3], [0])
    with (
        paring_runtimes.load(exported.entry) as session,
        torch_reference(model, ["logits"], exported, "fp32") as reference,
    ):
        found = parity.compare(reference, lambda x: session.run({"pixel_values": x}), inputs, "fp32")
    assert found.passed, found.failure()
    assert found.ties == 0
    for name in names:
        whole.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    onnx.save(whole, tmp_path / "shown.onnx")
    with paring_runtimes.load(tmp_path / "shown.onnx") as session:
        shown = session.run({"pixel_values": x.numpy()}, names)
    mine = spikes(model, x)
    assert len(mine) == len(names) == 10
    for name, fired in zip(names, mine, strict=True):
        assert float((torch.from_numpy(shown[name]) != fired).float().mean()) < 1e-3, name


def test_nir_names_what_it_has_no_node_for(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        exporters()["nir"].export(network(2), Request(torch.randn(2, 3, 32, 32)), tmp_path)
    told = str(caught.value)
    assert "blocks.blocks.0.norm1 is a LayerNorm" in told
    assert "blocks.blocks.0.scores is a product of two spike trains" in told
    assert "export.format onnx" in told
    assert not list(tmp_path.iterdir())
