"""A model as the rules look at it: every node with its path, and what is known of every value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper

DEFAULT_DOMAINS = ("", "ai.onnx")
_ATTRIBUTE = onnx.AttributeProto


@dataclass(frozen=True, eq=False)
class Scope:
    """One graph: the model's own, or a branch or body inside a node."""

    graph: onnx.GraphProto
    parent: Scope | None
    inside: str  # operator of the node that holds it, "" for the model's own graph
    producers: dict[str, onnx.NodeProto] = field(default_factory=dict)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    types: dict[str, onnx.TypeProto] = field(default_factory=dict)
    inputs: frozenset[str] = frozenset()

    def home(self, name: str) -> Scope | None:
        """The scope, this one or one around it, in which a value is made."""
        if name in self.producers or name in self.initializers or name in self.inputs:
            return self
        return None if self.parent is None else self.parent.home(name)


@dataclass(frozen=True, eq=False)
class Place:
    """One node where it stands."""

    node: onnx.NodeProto
    path: str
    scope: Scope

    def attribute(self, name: str, default: object = None) -> object:
        """The value of an attribute; text for strings."""
        for one in self.node.attribute:
            if one.name == name:
                value = onnx.helper.get_attribute_value(one)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def input(self, index: int) -> str:
        """The name of an input, "" where it is left out."""
        return self.node.input[index] if index < len(self.node.input) else ""

    def constant(self, index: int) -> np.ndarray | None:
        """An input's value where it is written in the file, otherwise None."""
        return constant(self.scope, self.input(index))

    def element(self, name: str) -> int | None:
        """A value's element type, None where it is not known."""
        return element_type(self.scope, name)

    def rank(self, name: str) -> int | None:
        """A value's rank, None where it is not known."""
        shape = shape_of(self.scope, name)
        return None if shape is None else len(shape)


class View:
    """The whole model.

    Attributes:
        model: with shapes inferred where that was possible.
        opset: of the default domain, 0 where there is none.
        places: every node, subgraphs' after the node that holds them.
        main: the model's own graph.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = _inferred(model)
        self.opset = next((o.version for o in model.opset_import if o.domain in DEFAULT_DOMAINS), 0)
        self.main = _scope(self.model.graph, None, "")
        self.places = tuple(_places(self.main, ""))


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # of operators of other domains, say: the rules then know fewer types
        return model


def _scope(graph: onnx.GraphProto, parent: Scope | None, inside: str) -> Scope:
    found = Scope(graph, parent, inside, inputs=frozenset(value.name for value in graph.input))
    for node in graph.node:
        found.producers.update({name: node for name in node.output if name})
    found.initializers.update({tensor.name: tensor for tensor in graph.initializer})
    for value in (*graph.value_info, *graph.input, *graph.output):
        found.types[value.name] = value.type
    return found


def _places(scope: Scope, above: str) -> Iterator[Place]:
    for index, node in enumerate(scope.graph.node):
        path = f"{above}{node.name or f'{node.op_type}_{index}'}"
        yield Place(node, path, scope)
        for attribute in node.attribute:
            graphs = [attribute.g] if attribute.type == _ATTRIBUTE.GRAPH else list(attribute.graphs)
            for graph in graphs:
                yield from _places(_scope(graph, scope, node.op_type), f"{path}/{attribute.name}/")


def constant(scope: Scope, name: str) -> np.ndarray | None:
    """The value of an initializer or a Constant node, None for anything else or where it lies elsewhere."""
    home = scope.home(name) if name else None
    if home is None:
        return None
    tensor = home.initializers.get(name)
    node = home.producers.get(name)
    if tensor is None and node is not None and node.op_type == "Constant":
        value = onnx.helper.get_attribute_value(node.attribute[0])
        if not isinstance(value, onnx.TensorProto):
            return None if isinstance(value, onnx.SparseTensorProto) else np.asarray(value)
        tensor = value
    if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    return numpy_helper.to_array(tensor)


def element_type(scope: Scope, name: str) -> int | None:
    """ONNX's number of a value's element type, None where it is not known."""
    home = scope.home(name) if name else None
    if home is None:
        return None
    if name in home.initializers:
        return home.initializers[name].data_type
    kind = home.types.get(name)
    return kind.tensor_type.elem_type or None if kind is not None else None


def shape_of(scope: Scope, name: str) -> tuple[int | None, ...] | None:
    """A value's sizes, None for those that are open; None where even the rank is not known."""
    home = scope.home(name) if name else None
    if home is None:
        return None
    if name in home.initializers:
        return tuple(home.initializers[name].dims)
    kind = home.types.get(name)
    if kind is None or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
