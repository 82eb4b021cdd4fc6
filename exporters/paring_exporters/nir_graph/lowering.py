"""A spiking network becomes a NIR graph, module by module; see `pieces` for what each is."""

from __future__ import annotations

import copy
import operator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.fx.passes.shape_prop import ShapeProp

from paring.transforms._spikes import SpikingNetwork
from paring_runtimes.nir import Graph, NirRefused, Node
from paring_runtimes.nir import nodes as nir
from paring_runtimes.nir.nodes import Shape

from .pieces import Piece, flattened, piece_of, scaled

ADDITIONS = (operator.add, operator.iadd, torch.add)
FLATTENINGS: tuple[object, ...] = (torch.flatten, "flatten")
STEP = 1.0  # dt: time is counted in steps


@dataclass(frozen=True)
class Lowered:
    """A graph, and where things went.

    Attributes:
        graph: its metadata hold dt, steps, coding and readout.
        nodes: by a module's path in the network's body, the node that gives its output.
        neurons: by the path of a layer of neurons, the node that gives its spikes.
        rewritten: by node, what NIR has no node for and how it is written.
    """

    graph: Graph
    nodes: dict[str, str]
    neurons: dict[str, str]
    rewritten: dict[str, list[str]]


def lowered(network: SpikingNetwork, input_name: str, output_name: str) -> Lowered:
    """Lower `network`, whose image comes in at `input_name` and whose answer leaves at `output_name`.

    Raises:
        NirRefused: with every module that NIR cannot say, and why.
    """
    body = copy.deepcopy(network.body).cpu().eval()
    with torch.inference_mode():
        ShapeProp(body).propagate(torch.zeros(network.steps, *network.input_shape))
    writer = _Writer(body, input_name, output_name)
    for node in body.graph.nodes:
        writer.add(node)
    if writer.refused:
        raise NirRefused("; ".join(writer.refused))
    graph = Graph(writer.nodes, tuple(writer.edges), _metadata(network))
    neurons = {path: writer.places[path] for path in network.neurons()}
    return Lowered(graph, writer.places, neurons, writer.rewritten)


def _metadata(network: SpikingNetwork) -> dict[str, Any]:
    found: dict[str, Any] = {
        "dt": STEP,
        "steps": network.steps,
        "coding": network.coding,
        "readout": "mean",
    }
    for key in ("scale", "seed"):
        if hasattr(network.encoder, key):
            value = getattr(network.encoder, key)
            found[key] = value.item() if isinstance(value, torch.Tensor) else value
    return found


@dataclass
class _Writer:
    """Goes through the graph of a body. A value is a sum of nodes: NIR adds up the edges into a node."""

    body: fx.GraphModule
    input_name: str
    output_name: str
    nodes: dict[str, Node | Graph] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    rewritten: dict[str, list[str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    sums: dict[fx.Node, tuple[str, ...]] = field(default_factory=dict)

    def add(self, node: fx.Node) -> None:
        """Write one node of the body."""
        try:
            if node.op == "placeholder":
                self.nodes[self.input_name] = nir.Input(_shape(node))
                self.sums[node] = (self.input_name,)
            elif node.op == "output":
                self._output(node)
            elif node.op == "call_module":
                self._module(node)
            elif node.target in ADDITIONS:
                self._sum(node)
            elif node.target in FLATTENINGS:
                self._flatten(node)
            else:
                raise NirRefused(f"NIR has no {_named(node)}")
        except NirRefused as error:
            place = node.target if node.op == "call_module" else node.name
            self.refused.append(f"{place}: {error}")
            self.sums[node] = ()

    def _module(self, node: fx.Node) -> None:
        module = self.body.get_submodule(str(node.target))
        self._put(node, str(node.target), piece_of(module, _shape(_given(node)), _shape(node)))

    def _flatten(self, node: fx.Node) -> None:
        told: Any = node.args[1:]
        taken = _shape(_given(node))
        first, last = told[0] if told else 0, told[1] if len(told) > 1 else -1
        rank = len(taken) + 1
        self._put(node, node.name, flattened(first % rank, last % rank, taken))

    def _put(self, node: fx.Node, path: str, piece: Piece) -> None:
        arriving = self.sums[_given(node)]
        if not piece.nodes:
            self.sums[node] = arriving
            if len(arriving) == 1:
                self.places[path] = arriving[0]
            return
        name = self._free(path, tuple(piece.nodes))
        for ending, one in piece.nodes.items():
            self.nodes[name + ending] = one
        self.edges += [(source, name + piece.enter) for source in arriving]
        self.edges += [(name + source, name + target) for source, target in piece.edges]
        self.sums[node] = (name + piece.leave,)
        self.places.setdefault(path, name + piece.leave)
        if piece.rewritten:
            self.rewritten[name] = list(piece.rewritten)

    def _sum(self, node: fx.Node) -> None:
        """Keep the order in which the network adds: ((a + b) + c) is the edges a, b, c."""
        operands = [one for one in node.args if isinstance(one, fx.Node)]
        if len(operands) != 2 or node.kwargs.get("alpha", 1) != 1:
            raise NirRefused("adds a number; NIR adds values of nodes")
        left, right = (self.sums[one] for one in operands)
        shapes = {_shape(one) for one in node.all_input_nodes}
        if len(shapes) > 1:
            raise NirRefused(
                f"adds {' and '.join(str(list(one)) for one in sorted(shapes))}; NIR adds one shape"
            )
        if len(right) > 1:
            left, right = right, left
        if len(right) > 1 or set(left) & set(right):  # NIR joins two nodes by one edge, and sums once
            name = self._free(node.name, ("",))
            factor = torch.tensor(2.0 if left == right else 1.0)
            self.nodes[name] = scaled(factor, _shape(node)).nodes[""]
            self.edges += [(source, name) for source in right]
            left, right = (() if left == right else left), (name,)
        self.sums[node] = (*left, *right)

    def _output(self, node: fx.Node) -> None:
        (answer,) = node.args
        if not isinstance(answer, fx.Node):
            raise NirRefused(f"gives {type(answer).__name__}, expected one tensor")
        self.nodes[self.output_name] = nir.Output(_shape(answer))
        self.edges += [(source, self.output_name) for source in self.sums[answer]]

    def _free(self, path: str, endings: tuple[str, ...]) -> str:
        """A name in NIR: the path with "_" for ".", as readers need it, or with a number behind it."""
        base = name = path.replace(".", "_").replace("/", "_")
        number = 1
        taken = {*self.nodes, self.output_name}
        while any(name + ending in taken for ending in endings):
            name, number = f"{base}_{number}", number + 1
        return name


def _given(node: fx.Node) -> fx.Node:
    (given,) = node.all_input_nodes
    return given


def _shape(node: fx.Node) -> Shape:
    return tuple(int(size) for size in node.meta["tensor_meta"].shape[1:])


def _named(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))
