"""A NIR graph as layers of neurons and the weighted paths between them, which is what a chip is given.

A path goes from one layer (or an input) to the next through at most one node with weights; pooling,
flattening and scales on it are folded into the connections. Reset by subtraction, which NIR writes as an
integrator, a threshold and a scale back, is one layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from paring_runtimes.nir import Flat, Graph, NirRefused, flatten, node_shapes
from paring_runtimes.nir import nodes as nir
from paring_runtimes.nir.time_step import step_of

from .refusal import ChipRefused

WEIGHTS = (nir.Conv1d, nir.Conv2d, nir.Linear, nir.Affine)
FOLDED = (nir.AvgPool2d, nir.SumPool2d, nir.Flatten, nir.Scale)
SPIKING = (nir.IF, nir.LIF, nir.CubaLIF)
STATE = (*SPIKING, nir.I, nir.LI, nir.CubaLI)
SUPPORTED = (
    ", ".join(kind.__name__ for kind in (nir.Input, nir.Output, *WEIGHTS, *FOLDED, *STATE))
    + ", and a Threshold that an I is reset by"
)


@dataclass(frozen=True)
class Path:
    """What leads from a layer or an input to the next layer.

    Attributes:
        source: the layer or input it starts at.
        nodes: of the graph, in the order in which a spike passes them.
        weight: the one among them that has weights; "" where there is none.
    """

    source: str
    nodes: tuple[str, ...]
    weight: str


@dataclass(frozen=True)
class Layer:
    """Neurons of one node.

    Attributes:
        name: the node that holds the state; of a readout, the node that it reads.
        shape: of the neurons, (C, H, W), (C, L) or (N,).
        spiking: whether it sends spikes on; otherwise its state is read.
        sends: the node whose output the next layers take.
        soft: reset by subtraction, as three nodes.
        paths: what comes in.
    """

    name: str
    shape: tuple[int, ...]
    spiking: bool
    sends: str
    soft: bool
    paths: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Neurons."""
        return prod(self.shape)

    @property
    def label(self) -> str:
        """What a reader knows it by: the node that spikes rather than the one that integrates."""
        return self.sends


@dataclass(frozen=True)
class Network:
    """Layers by name in the order in which spikes reach them; `inputs` by name with their shapes.

    `step` is the time step in the unit of the graph's time constants.
    """

    flat: Flat
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    inputs: dict[str, tuple[int, ...]]
    layers: dict[str, Layer]
    step: float

    def source_shape(self, path: Path) -> tuple[int, ...]:
        """Shape of what a path starts at."""
        return self.inputs[path.source] if path.source in self.inputs else self.layers[path.source].shape


def network(graph: Graph, chip: str = "the chip") -> Network:
    """Find layers and paths.

    Args:
        graph: as read from a file.
        chip: a name for messages.

    Raises:
        ChipRefused: nodes that no such chip runs, numbers that are not finite, weights behind weights.
        NirRefused: the graph itself is wrong.
    """
    flat = flatten(graph)
    _check_nodes(flat, chip)
    shapes = node_shapes(flat)
    finder = _Finder(flat, chip)
    layers = {}
    for name in shapes:  # in the order of a step
        node = flat.nodes[name]
        if isinstance(node, STATE) or (isinstance(node, nir.Output) and finder.reads_weights(name)):
            layer = finder.layer(name, shapes[name][1])
            layers[layer.name] = layer
    if not layers:
        raise NirRefused("the graph has no neurons and no output behind weights")
    inputs = {name: shapes[name][1] for name in flat.inputs}
    return Network(flat, shapes, inputs, layers, step_of(flat, graph.metadata, None))


def _check_nodes(flat: Flat, chip: str) -> None:
    wrong: list[str] = []
    known = (nir.Input, nir.Output, nir.Threshold, *WEIGHTS, *FOLDED, *STATE)
    for name, node in flat.nodes.items():
        if not isinstance(node, known):
            kind = type(node).__name__
            wrong.append(f"{name}: a {kind} is not a node that can be placed; those are {SUPPORTED}")
        for key, value in vars(node).items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
                bad = int((~np.isfinite(value)).sum())
                wrong.append(f"{name}: {key} has {bad:,} of {value.size:,} values that are NaN or infinite")
    if wrong:
        raise ChipRefused(chip, wrong)


class _Finder:
    """Walks a graph backwards from its neurons."""

    def __init__(self, flat: Flat, chip: str) -> None:
        self.flat, self.chip = flat, chip
        self.loops = _soft_resets(flat)  # integrator -> (threshold, scale back)
        self.owner = {found[0]: name for name, found in self.loops.items()}
        self.backs = {found[1] for found in self.loops.values()}

    def reads_weights(self, output: str) -> bool:
        """Whether an output takes what weights give, with no neurons between."""
        return any(
            not isinstance(self.flat.nodes[one], STATE) and one not in self.owner
            for one in self.flat.into(output)
        )

    def layer(self, name: str, shape: tuple[int, ...]) -> Layer:
        """The layer of a node with state, or of an output."""
        node = self.flat.nodes[name]
        into = [one for one in self.flat.into(name) if one not in self.backs]
        paths = tuple(path for one in into for path in self.paths(one, (), name))
        soft = name in self.loops
        return Layer(
            name=name,
            shape=shape,
            spiking=soft or isinstance(node, SPIKING),
            sends=self.loops[name][0] if soft else name,
            soft=soft,
            paths=paths,
        )

    def paths(self, name: str, behind: tuple[str, ...], target: str) -> list[Path]:
        """Every way back from `name` to neurons or an input."""
        node = self.flat.nodes[name]
        if name in self.owner or isinstance(node, (*STATE, nir.Input)):
            weighted = [one for one in behind if isinstance(self.flat.nodes[one], WEIGHTS)]
            if len(weighted) > 1:
                told = f"{' -> '.join(weighted)}: no neurons between weights, before {target}"
                raise ChipRefused(self.chip, [told])
            return [Path(self.owner.get(name, name), behind, weighted[0] if weighted else "")]
        if isinstance(node, nir.Threshold):
            raise ChipRefused(
                self.chip,
                [f"{name}: a Threshold without an integrator that it resets is no neuron of this chip"],
            )
        if name in behind:
            raise ChipRefused(self.chip, [f"{name}: a cycle without neurons"])
        return [path for one in self.flat.into(name) for path in self.paths(one, (name, *behind), target)]


def _soft_resets(flat: Flat) -> dict[str, tuple[str, str]]:
    """Integrators whose threshold takes itself off them: by name, the threshold's and the scale's."""
    found = {}
    for name, node in flat.nodes.items():
        if not isinstance(node, nir.I):
            continue
        for threshold in (b for a, b in flat.edges if a == name and isinstance(flat.nodes[b], nir.Threshold)):
            for back in (b for a, b in flat.edges if a == threshold):
                if isinstance(flat.nodes[back], nir.Scale) and (back, name) in flat.edges:
                    found[name] = (threshold, back)
    return found
