"""A spiking network in PyTorch, written as NIR, fires here at every step as it did there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import paring_runtimes
from paring_runtimes.nir import write
from paring_runtimes.spiking import encode, open_spiking

torch = pytest.importorskip("torch")
STEPS, SHAPE, SCALE, SEED = 16, (3, 10, 10), 2.0, 5


def _network(coding: str) -> object:
    """Soft and hard reset, thresholds and initial membranes by channel, a sum, a pool."""
    from torch import nn

    from paring.transforms._spikes import IntegrateFire, SpikingNetwork
    from paring.transforms._spikes.coding import encoder

    torch.manual_seed(0)

    def fires(reset: str) -> nn.Module:
        return IntegrateFire(torch.rand(24, 1, 1) / 2 + 0.5, torch.rand(24, 1, 1) * 0.3, STEPS, reset)

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c1, self.f1 = nn.Conv2d(3, 24, 3, padding=1), fires("soft")
            self.c2, self.f2 = nn.Conv2d(24, 24, 3, padding=1), fires("hard")
            self.pool, self.head = nn.AvgPool2d(2), nn.Linear(24 * 25, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.f1(self.c1(x))
            x = self.f2(self.c2(x) + x)
            return self.head(torch.flatten(self.pool(x), 1))

    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            return not isinstance(module, Body)

    body = Body()
    traced = torch.fx.GraphModule(body, Tracer().trace(body))
    coder = encoder(coding, STEPS, SHAPE, SCALE, SEED)
    return SpikingNetwork(traced, coder, STEPS, coding, SHAPE).eval()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("coding", ["constant", "rate", "latency"])
def test_the_same_spikes_as_in_pytorch(coding: str, fused: bool, tmp_path: Path) -> None:
    from paring_exporters.nir_graph.lowering import lowered

    network = _network(coding)
    found = lowered(network, "pixels", "logits")
    write(tmp_path / "graph.nir", found.graph)
    images = torch.randn(3, *SHAPE)
    with torch.no_grad():
        told, spikes = network(images), network.trace(images)
    coded = encode(images.numpy(), coding, STEPS, SCALE, SEED)
    with open_spiking(tmp_path / "graph.nir", threads=2, fuse_resets=fused) as session:
        result = session.run(coded, STEPS, trace=list(found.neurons.values()))
    for path, name in found.neurons.items():
        np.testing.assert_array_equal(result.traces[name].dense(), spikes[path].numpy(), path)
        assert result.traces[name].count > 1000
    with paring_runtimes.load(tmp_path / "graph.nir", threads=2) as session:
        logits = session.run({"pixels": images.numpy()})["logits"]
    np.testing.assert_allclose(logits, told.numpy(), atol=1e-5)
