"""The same file in snnTorch and SpikingJelly, in float32 and unquantised: the same spikes at every step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from spiking_graphs import chain, convolution, fires, flatten, given, pool, taken

from paring_runtimes.spiking import open_spiking

torch = pytest.importorskip("torch")
Draw, Write = Callable[..., np.ndarray], Callable[..., Path]
STEPS, BATCH = 40, 3
LEAK = 0.8


def lif(n: int) -> Any:
    """snnTorch's Leaky(beta=0.8) and SpikingJelly's LIFNode(tau=5, decay_input=False), with dt = 1e-4."""
    tau = 1e-4 / (1 - LEAK)
    return nir.LIF(np.full(n, tau), np.full(n, tau / 1e-4), np.zeros(n), np.ones(n))


def networks(draw: Draw) -> dict[str, Any]:
    size = (12, 8, 8)
    return {
        "leaky": chain(
            given(60), nir.Affine(draw(100, 60), draw(100, by=0.1)), lif(100),
            nir.Linear(draw(50, 100)), lif(50), taken(50),
        ),
        "convolution": chain(
            given(2, 10, 10), convolution(draw(12, 2, 3, 3), draw(12, by=0.1), size=(10, 10)), fires(*size),
            pool(nir.AvgPool2d, 2, 2), flatten(12, 4, 4), nir.Linear(draw(20, 192)), fires(20), taken(20),
        ),
    }  # fmt: skip


def ours(path: Path, inputs: np.ndarray, names: list[str], dt: float) -> dict[str, np.ndarray]:
    with open_spiking(path, threads=2, dt=dt) as session:
        traces = session.run(inputs, trace=names).traces
    return {name: events.dense() for name, events in traces.items()}


def neurons_of(network: Any) -> list[str]:
    return [name for name, node in network.nodes.items() if isinstance(node, (nir.IF, nir.LIF))]


def with_torch(
    network: Any, inputs: np.ndarray, neuron: Callable[[Any], Any], call: Any
) -> dict[str, np.ndarray]:
    """Run a chain of nodes with a framework's neurons between torch's layers, step by step."""
    layers: dict[str, Any] = {}
    for name, node in network.nodes.items():
        if isinstance(node, (nir.Affine, nir.Linear)):
            layers[name] = torch.nn.Linear(node.weight.shape[1], node.weight.shape[0], hasattr(node, "bias"))
        elif isinstance(node, nir.Conv2d):
            layers[name] = torch.nn.Conv2d(node.weight.shape[1], node.weight.shape[0], node.weight.shape[2])
        elif isinstance(node, nir.AvgPool2d):
            layers[name] = torch.nn.AvgPool2d(2, 2)
        elif isinstance(node, nir.Flatten):
            layers[name] = torch.nn.Flatten()
        elif isinstance(node, (nir.IF, nir.LIF)):
            layers[name] = neuron(node)
        if hasattr(node, "weight"):
            layers[name].weight.data = torch.from_numpy(np.asarray(node.weight, np.float32))
        if hasattr(node, "bias"):
            layers[name].bias.data = torch.from_numpy(np.asarray(node.bias, np.float32))
    kept: dict[str, list[np.ndarray]] = {name: [] for name in neurons_of(network)}
    with torch.no_grad():
        for x in torch.from_numpy(inputs):
            for name, layer in layers.items():
                x = call(layer, x) if name in kept else layer(x)
                if name in kept:
                    kept[name].append(x.numpy())
    return {name: np.stack(found) for name, found in kept.items()}


@pytest.mark.parametrize("name", ["leaky", "convolution"])
@pytest.mark.parametrize("framework", ["snntorch", "spikingjelly"])
def test_the_same_spikes(framework: str, name: str, draw: Draw, write: Write) -> None:
    library = pytest.importorskip(framework)
    network = networks(draw)[name]
    dt = 1e-4 if name == "leaky" else 1.0
    shape = tuple(int(n) for n in network.nodes["n0"].input_type["input"])
    inputs = (np.random.default_rng(5).random((STEPS, BATCH, *shape)) < 0.2).astype(np.float32)
    if framework == "snntorch":

        def neuron(node: Any) -> Any:
            beta = LEAK if isinstance(node, nir.LIF) else 1.0
            return library.Leaky(beta=beta, init_hidden=True, reset_mechanism="zero", reset_delay=False)

        told = with_torch(network, inputs, neuron, lambda layer, x: layer(x))
    else:
        from spikingjelly.activation_based import neuron as kinds

        def neuron(node: Any) -> Any:
            if isinstance(node, nir.IF):
                return kinds.IFNode(v_reset=0.0)
            return kinds.LIFNode(tau=1 / (1 - LEAK), decay_input=False, v_reset=0.0)

        told = with_torch(network, inputs, neuron, lambda layer, x: layer(x))
    found = ours(write(network), inputs, list(told), dt)
    for one, spikes in told.items():
        assert 0.01 < spikes.mean() < 0.6, (one, spikes.mean())
        np.testing.assert_array_equal(found[one], spikes, one)


def test_a_file_that_snntorch_wrote(tmp_path: Path) -> None:
    """Their exporter, their weights, their spikes; `dt` is theirs."""
    snn = pytest.importorskip("snntorch")
    torch.manual_seed(0)
    kind = {"beta": 0.9, "init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    net = torch.nn.Sequential(
        torch.nn.Linear(30, 50), snn.Leaky(**kind), torch.nn.Linear(50, 10), snn.Leaky(**kind, output=True),
    )  # fmt: skip
    torch.nn.init.normal_(net[0].weight, std=0.5)
    torch.nn.init.normal_(net[2].weight, std=0.5)
    try:
        from snntorch.export_nir import export_to_nir

        written = export_to_nir(net, torch.zeros(1, 30))
        nir.write(str(tmp_path / "theirs.nir"), written)
    except Exception as error:  # their exporter needs a nir of its own time
        pytest.skip(f"snntorch's exporter fails with this nir: {error}")
    inputs = (np.random.default_rng(0).random((25, 1, 30)) < 0.3).astype(np.float32)
    for layer in net:
        if isinstance(layer, snn.Leaky):
            layer.reset_mem()
    with torch.no_grad():
        told = np.stack([net(x)[0].numpy() for x in torch.from_numpy(inputs)])
    with open_spiking(tmp_path / "theirs.nir", dt=1e-4) as session:
        (found,) = session.run(inputs).outputs.values()
    np.testing.assert_array_equal(found, told)
    assert told.sum() > 10
