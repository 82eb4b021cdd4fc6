"""A trained network as a graph of few kinds of modules, whatever it was written with.

`torch.export` sees what runs: modules, functions (`F.relu`), methods, subclasses. Each operation is
recognised by itself (`operations`); what is recognised becomes a module again, under the path of the module
that ran it, and the graph of these computes what the network did.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.passes.shape_prop import ShapeProp

from .operations import Operation, recognised

Constants = Mapping[Node, torch.Tensor]
BATCH = 2  # of the example: more than 1, so that no axis of size 1 is taken for it


class NotTraced(ValueError):
    """The network cannot be seen as a graph; the message says why."""


@dataclass(frozen=True)
class Traced:
    """What a network does with inputs of one shape.

    Attributes:
        operations: in the order in which they run.
        shape: of one input, without the batch.
        result: the node whose value is the answer.
        start: the node of the input.
    """

    operations: tuple[Operation, ...]
    shape: tuple[int, ...]
    start: Node
    result: Node
    constants: Constants = field(repr=False)

    def unsupported(self) -> list[Operation]:
        """What no spiking network does."""
        return [one for one in self.operations if one.reason]


def traced(model: nn.Module, shape: tuple[int, ...]) -> Traced:
    """What `model` does with inputs [B, *shape]. The model is left as it is.

    Raises:
        NotTraced: it does not run on such inputs, or not as a graph, or gives no single tensor.
    """
    example = torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(0))
    whole = copy.deepcopy(model).eval().float().cpu()
    try:
        with torch.no_grad():
            program = torch.export.export(whole, (example,), strict=False)
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        sizes = ", ".join(str(size) for size in shape)
        raise NotTraced(f"it does not run as a graph on inputs [{BATCH}, {sizes}]: {first}") from error
    constants = _constants(program)
    inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node not in constants]
    (results,) = next(node for node in program.graph.nodes if node.op == "output").args
    if len(inputs) != 1 or len(results) != 1 or not isinstance(results[0], Node):
        raise NotTraced(f"it has {len(inputs)} inputs and {len(results)} outputs, expected one of each")
    found = []
    for node in program.graph.nodes:
        if node.op != "call_function" or _is_check(node):
            continue
        if all(given in constants for given in node.all_input_nodes):
            constants[node] = _folded(node, constants)
        else:
            found.append(recognised(node, constants))
    return Traced(tuple(found), tuple(shape), inputs[0], results[0], constants)


def _constants(program: Any) -> dict[Node, torch.Tensor]:
    signature = program.graph_signature
    places = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lifted = signature.inputs_to_lifted_tensor_constants
    found = {}
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        if node.name in places:
            name = places[node.name]
            value = program.state_dict.get(name)
            found[node] = (program.constants[name] if value is None else value).detach()
        elif node.name in lifted:
            found[node] = program.constants[lifted[node.name]].detach()
    return found


def _is_check(node: Node) -> bool:
    """Whether it only asserts something about shapes or dtypes."""
    return "_assert" in str(node.target) or "sym_" in str(node.target)


@torch.no_grad()
def _folded(node: Node, constants: Constants) -> Any:
    """What an operation on weights gives: weight standardisation and the like."""
    arguments = torch.fx.map_arg((node.args, node.kwargs), lambda given: constants[given])
    assert callable(node.target)
    return node.target(*arguments[0], **arguments[1])


def lifted(found: Traced) -> GraphModule:
    """The network as a graph of modules, with their shapes in `meta["tensor_meta"]`.

    Raises:
        ValueError: something in it is not supported.
    """
    wrong = found.unsupported()
    if wrong:
        raise ValueError(f"{wrong[0].place}: {wrong[0].reason}")
    root, graph = nn.Module(), Graph()
    values = {found.start: graph.placeholder("x")}
    names: set[str] = set()
    for operation in found.operations:
        arguments = tuple(values[given] for given in operation.inputs)
        if operation.kind == "identity":
            values[operation.node] = arguments[0]
        elif operation.kind == "add":
            values[operation.node] = graph.call_function(operator.add, arguments)
        else:
            value = arguments[0]
            for module in operation.modules:
                name = _free(operation.place, names)
                put(root, name, module)
                value = graph.call_module(name, (value,))
            values[operation.node] = value
    graph.output(values[found.result])
    return shaped(GraphModule(root, graph), found.shape)


def shaped(body: GraphModule, shape: tuple[int, ...]) -> GraphModule:
    """The graph, cleaned of what is not used and with the shape of every value told."""
    body.graph.eliminate_dead_code()
    body.delete_all_unused_submodules()
    body.recompile()
    with torch.no_grad():
        ShapeProp(body).propagate(torch.zeros(BATCH, *shape))
    return body


def shape_of(node: Node) -> tuple[int, ...]:
    """Of a value, without the batch."""
    return tuple(node.meta["tensor_meta"].shape[1:])


def _free(name: str, taken: set[str]) -> str:
    """The name, or with a number behind it where it is taken."""
    free, number = name, 1
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    taken.add(free)
    return free


def put(root: nn.Module, name: str, module: nn.Module) -> None:
    """Make `module` a descendant at a path with dots; what lies below that path stays there."""
    *parents, last = name.split(".")
    place = root
    for parent in parents:
        if parent not in dict(place.named_children()):
            place.add_module(parent, nn.Module())
        place = place.get_submodule(parent)
    old = dict(place.named_children()).get(last, nn.Module())
    for below, child in old.named_children():
        module.add_module(below, child)
    place.add_module(last, module)
