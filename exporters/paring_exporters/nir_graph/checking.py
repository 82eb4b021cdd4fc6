"""Does a written graph fire where its source fires? Every neuron, every step, on several inputs.

Compared in float64, with no tolerance. The file is float32, and so are all numbers of the source; sums of
float32 numbers are exact in float64 unless they lie 29 powers of two apart, so that the order of sums, which
NIR leaves open, and an initial membrane that is counted from elsewhere move no spike there: what differs is
wrong. In float32 membranes that reach the threshold within rounding may fire a step sooner or later; how
many do is told, as `float32_differing`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.fx import Node

from paring.transforms._spikes import IntegrateFire, SpikingNetwork
from paring.transforms._spikes.network import _OneStep
from paring_runtimes.errors import ParityError
from paring_runtimes.nir import read

from .network import NetworkState, NirNetwork, spiking_nodes

# How far outputs may lie apart, relative to their largest. Not 0: a mean over three values, written as a sum
# and a scale, is scaled by the float32 nearest to a third.
OUTPUTS = 1e-6
Spikes = Mapping[str, torch.Tensor]
Steps = Iterator[tuple[Spikes, torch.Tensor]]


@dataclass(frozen=True)
class Agreement:
    """What was compared. Counts are over inputs, steps and neurons."""

    inputs: int
    steps: int
    neurons: int
    spikes: int
    compared: int
    differing: int
    float32_differing: int

    def as_dict(self) -> dict[str, Any]:
        """JSON form, for the manifest."""
        return asdict(self)


def agreement(
    network: SpikingNetwork, file: Path, neurons: Mapping[str, str], example: torch.Tensor
) -> Agreement:
    """Read `file` back and compare it with `network`.

    Args:
        network: the source.
        file: what was written of it.
        neurons: the node of every layer of neurons, by its path.
        example: an input [B, ...] as the network is used to.

    Raises:
        ParityError: the first spike or output that differs: node, step, input.
    """
    graph = read(file, own=True)
    there = {node: path for path, node in neurons.items()}
    counts = {"compared": 0, "spikes": 0, "float32_differing": 0}
    given = inputs_like(example[:2].cpu().float())
    source, back = copy.deepcopy(network).cpu().eval(), NirNetwork(graph)
    missing = sorted(set(spiking_nodes(back)) ^ set(there))
    if missing:
        raise ParityError(f"{file.name}: node {missing[0]} spikes on one side only")
    for kind in (torch.float64, torch.float32):
        source, back = source.to(kind), back.to(kind)
        for name, x in given.items():
            pairs = zip(_of_source(source, x.to(kind)), _of_graph(back, x.to(kind), there), strict=True)
            for step, ((wanted, answer), (found, given_back)) in enumerate(pairs, 1):
                if kind == torch.float64:
                    _same(wanted, found, f"{file.name}, input {name!r}, step {step}", neurons)
                    _close(answer, given_back, f"{file.name}, input {name!r}, step {step}")
                    counts["compared"] += sum(value.numel() for value in wanted.values())
                    counts["spikes"] += int(sum(value.sum() for value in wanted.values()))
                else:
                    gaps = (int((wanted[path] != value).sum()) for path, value in found.items())
                    counts["float32_differing"] += sum(gaps)
    size = counts["compared"] // (network.steps * sum(len(x) for x in given.values()))
    return Agreement(len(given), network.steps, size, differing=0, **counts)


def inputs_like(example: torch.Tensor) -> dict[str, torch.Tensor]:
    """Inputs by name: the example, and what is hard: nothing, one value everywhere, large ones."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(example.shape, generator=generator)
    return {
        "example": example,
        "normal": noise,
        "zeros": torch.zeros_like(example[:1]),
        "constant": torch.full_like(example[:1], 0.5),
        "large": noise[:1] * 8,
    }


@torch.inference_mode()
def _of_source(network: SpikingNetwork, x: torch.Tensor) -> Steps:
    """Each step's spikes by the path of their layer, and the output."""
    state: dict[str, torch.Tensor] = {}
    for arriving in network.encoder(x):
        runner = _Recorded(network.body, state)
        answer = runner.run(arriving)
        state = runner.after
        yield runner.spikes, answer


class _Recorded(_OneStep):
    """One step whose spikes are kept."""

    def __init__(self, body: Any, before: Mapping[str, torch.Tensor]) -> None:
        super().__init__(body, before)
        self.spikes: dict[str, torch.Tensor] = {}

    def run_node(self, n: Node) -> Any:
        """As any step."""
        result = super().run_node(n)
        if n.op == "call_module" and isinstance(self.fetch_attr(str(n.target)), IntegrateFire):
            self.spikes[str(n.target)] = result
        return result


@torch.inference_mode()
def _of_graph(network: NirNetwork, x: torch.Tensor, there: Mapping[str, str]) -> Steps:
    """Each step's spikes by the path of the layer in the source, and the output."""
    assert network.encoder is not None
    (entrance,), (exit_,) = network.flat.inputs, network.flat.outputs
    state: NetworkState | None = None
    for arriving in network.encoder(x):
        values, state = network.step({entrance: arriving}, state)
        yield {path: values[node] for node, path in there.items()}, values[exit_]


def _same(wanted: Spikes, found: Spikes, where: str, neurons: Mapping[str, str]) -> None:
    for path, spikes in wanted.items():
        wrong = int((spikes != found[path]).sum())
        if wrong:
            raise ParityError(
                f"{where}: {wrong} of {spikes.numel()} neurons of {path} (node {neurons[path]}) do not fire"
                " as in PyTorch"
            )


def _close(wanted: torch.Tensor, found: torch.Tensor, where: str) -> None:
    gap, largest = (wanted - found).abs().max(), wanted.abs().max()
    if not gap <= OUTPUTS * (largest + 1):
        raise ParityError(f"{where}: the output differs by {gap:.3g}, of {largest:.3g}")


def replayed(network: NirNetwork, file: Path, inputs: Callable[[], Mapping[str, torch.Tensor]]) -> Agreement:
    """Read `file`, which `network` was written to, back and compare all spikes of a run.

    Args:
        network: the source, any graph.
        file: what was written of it.
        inputs: gives [T, B, ...] by Input.

    Raises:
        ParityError: spikes or outputs differ.
    """
    back = NirNetwork(read(file, own=True))
    names = spiking_nodes(network)
    with torch.inference_mode():
        given = inputs()
        wanted, spikes = network.run(given, names)
        found, again = back.run(given, names)
    for name, value in {**wanted, **spikes}.items():
        other = {**found, **again}[name]
        if not torch.equal(value, other):
            step = int((value != other).flatten(1).any(1).nonzero()[0]) + 1
            raise ParityError(f"{file.name}: node {name} differs first at step {step}")
    steps, batch = next(iter(given.values())).shape[:2]
    compared = sum(value.numel() for value in spikes.values())
    fired = int(sum(value.sum() for value in spikes.values()))
    return Agreement(1, steps, compared // (steps * batch), fired, compared, 0, 0)
