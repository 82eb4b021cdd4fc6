"""What would spike, told before a conversion, and what is counted after it, by hand-computed numbers."""

from __future__ import annotations

import json

import pytest
import torch
from networks import images, made
from torch import nn

from paring.cli import app
from paring.transforms._spikes import IntegrateFire, SpikingNetwork, conversion
from paring.transforms._spikes.coding import encoder
from paring.transforms._spikes.coverage import coverage
from paring.transforms._spikes.synops import counted
from paring.transforms.spike_convert import Config


def test_the_fraction_is_of_the_macs_that_read_spikes() -> None:
    found = coverage(made("Residual"), (3, 16, 16))
    told = {row.path: (row.verdict, row.macs) for row in found.rows}
    assert told["stem"] == ("exact float", 8 * 8 * 8 * 27)  # the image
    assert told["functional_relu"] == ("spiking", 0)
    assert told["depthwise"] == ("spiking", 8 * 8 * 8 * 9)
    assert told["point"] == ("spiking", 8 * 8 * 8 * 8)
    assert told["head"] == ("spiking", 8 * 5)  # an average of spikes
    spiking = 8 * 8 * 8 * (9 + 8) + 40
    assert found.spiking_fraction == pytest.approx(spiking / (spiking + 8 * 8 * 8 * 27))
    assert found.convertible
    assert coverage(made("Residual"), (3, 16, 16), "rate").spiking_fraction == 1


class Bottleneck(nn.Module):
    """A convolution behind another without neurons between, as in MobileNetV2, and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.project, self.again = (nn.Conv2d(4, 4, 1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.again(self.project(torch.relu(self.expand(x))))
        return (y * torch.sigmoid(y)).mean((2, 3))


def test_weights_behind_weights_read_real_numbers_and_products_are_named() -> None:
    found = coverage(Bottleneck().eval(), (4, 2, 2))
    told = {row.path: row for row in found.rows}
    assert told["project"].verdict == "spiking"
    assert told["again"].verdict == "exact float"
    assert told["functional_sigmoid"].verdict == "unsupported"
    assert "ReLU6" in told["functional_sigmoid"].why
    assert "two activations" in told["functional_mul"].why
    assert found.spiking_fraction == pytest.approx(1 / 3)
    assert not found.convertible


def test_attention_products_count() -> None:
    class Attends(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    (row,) = coverage(Attends().eval(), (2, 5, 4)).rows
    assert (row.verdict, row.macs) == ("unsupported", 2 * (2 * 5 * 4 * 5))


def test_synaptic_operations_are_spikes_times_connections() -> None:
    """One spike in a corner reaches 4 of the 9 places of a 3x3 kernel, twice for two output channels."""
    body = nn.Sequential(
        IntegrateFire(torch.tensor(1.0), torch.tensor(0.0), 2), nn.Conv2d(1, 2, 3, padding=1)
    )
    with torch.no_grad():
        body[1].weight.fill_(1.0)  # type: ignore[union-attr,operator]
    graph = torch.fx.GraphModule(body, _Leaf().trace(body))
    network = SpikingNetwork(graph, encoder("constant", 2, (1, 3, 3), 1.0, 0), 2, "constant", (1, 3, 3))
    image = torch.zeros(1, 1, 3, 3)
    image[0, 0, 0, 0] = 1.0  # fires at both steps
    found = counted(network, image)
    assert found.spikes == {"0": 2.0}
    assert found.layers["1"].synops == 2 * (4 * 2)
    assert found.layers["1"].connections == 2 * (4 * 4 + 4 * 6 + 9)
    with torch.no_grad():
        body[1].weight[0].zero_()  # type: ignore[union-attr,operator,index]
    graph.get_submodule("1").load_state_dict(body[1].state_dict())
    assert counted(network, image).layers["1"].synops == 2 * 4, "a weight of zero is no connection"


class _Leaf(torch.fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, IntegrateFire) or super().is_leaf_module(m, module_qualified_name)


def test_real_inputs_are_counted_apart() -> None:
    model = made("Residual")
    network = conversion.converted(model, [images(8, model)], Config(steps=4).wanted())
    found = counted(network, images(4, model))
    assert found.layers["stem"].synops == 0
    edges = 8 * 3 * (64 * 9 - (8 * 3 + 8 * 3 - 1))  # padding above and to the left is no connection
    assert found.layers["stem"].macs == 4 * edges
    assert found.layers["depthwise"].macs == 0
    assert 0 < found.layers["depthwise"].synops < 4 * found.layers["depthwise"].connections
    assert 0 < found.rate < 1


def test_the_command_tells_the_fraction(capsys: pytest.CaptureFixture[str]) -> None:
    app()(["spike-coverage", "-m", "embedded:fashion-cnn", "--json"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert found["convertible"]
    assert 0.9 < found["spiking_fraction"] < 1
    paths = {row["path"]: row["verdict"] for row in found["operations"]}
    assert paths["middle.functional_relu"] == "spiking"
    assert paths["stem.0.0"] == "exact float"
