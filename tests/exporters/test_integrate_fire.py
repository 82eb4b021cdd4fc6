"""Spiking networks in ONNX: a Scan a layer of neurons, and spikes that hang by rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import paring_runtimes
from paring.transforms._spikes import IntegrateFire, SpikingNetwork, conversion
from paring.transforms._spikes.adopting import adopted
from paring.transforms.spike_convert import Config
from paring_exporters import exporters, parity
from paring_exporters.onnx_graph.scans import spike_names
from paring_exporters.request import Request
from paring_exporters.torch_reference import torch_reference

SHAPE = (2, 8, 8)


def network(config: Config) -> SpikingNetwork:
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU())
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(24, 5)).eval()
    return conversion.converted(model, [torch.randn(16, *SHAPE)], config.wanted())


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("coding", ["constant", "rate", "latency"])
def test_it_runs_with_the_same_spikes(reset: str, coding: str, tmp_path: Path) -> None:
    model = network(Config(steps=6, reset=reset, coding=coding))
    exported = exporters()["onnx"].export(model, Request(torch.randn(2, *SHAPE)), tmp_path)
    graph = onnx.load(exported.entry).graph
    assert len(spike_names(graph)) == 2
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
    inputs = parity.cases(2, [(8, 8)], [1, 3], [0])
    with (
        paring_runtimes.load(exported.entry) as session,
        torch_reference(model, ["logits"], exported, "fp32") as reference,
    ):
        found = parity.compare(reference, lambda x: session.run({"pixel_values": x}), inputs, "fp32")
    assert found.passed, found.failure()
    assert found.ties == 0


def test_the_graph_does_not_grow_with_the_steps(tmp_path: Path) -> None:
    sizes = []
    for steps in (2, 50):
        model = network(Config(steps=steps))
        exported = exporters()["onnx"].export(model, Request(torch.randn(2, *SHAPE)), tmp_path)
        sizes.append(exported.facts["nodes"]["cleaned"])
    assert sizes[0] == sizes[1]


def test_another_spike_is_taken_only_within_the_margin() -> None:
    layer = IntegrateFire(torch.tensor(1.0), torch.tensor(0.0), 2)
    current = torch.tensor([[1.0 - 1e-7, 0.9], [0.5, 0.5]])
    others = torch.ones(2, 1, 2)
    found = adopted(layer, current, others, 1e-5).unflatten(0, (2, 1))
    # neuron 0 hangs: its spike is taken, and the membrane goes on from there; neuron 1 is decided by itself
    assert found[:, 0, 0].tolist() == [1.0, 0.0]
    assert found[:, 0, 1].tolist() == [0.0, 1.0]
    assert np.array_equal(layer(current).numpy(), np.array([[0.0, 0.0], [1.0, 1.0]]))
