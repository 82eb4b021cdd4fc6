"""Repairs that cannot change what a model computes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from .narrowing import narrowed
from .origins import Origin, Origins
from .rules.restrictions import MUST_BE_CONSTANT
from .view import DEFAULT_DOMAINS, Place, View, constant

# Operators of which only the first output is given; an unused further one is left out.
_FIRST_ONLY = ("LayerNormalization", "MaxPool", "Dropout")
_LARGEST_FOLD = 1 << 16  # elements: what must be a constant are axes, counts and sizes


def repaired(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy with every safe repair made, and a line for each.

    - `sorted=0` of TopK becomes 1: whoever asked for no order takes any.
    - Outputs that nothing reads, of operators that give only their first, are left out.
    - Values that TensorRT wants as constants and that are computed from constants are computed now.
    - TopK of INT64 indices ranks them as INT32: no tensor has more elements than that counts.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    done = [*_sorted(copy), *_unread(copy), *_folded(copy), *narrowed(copy)]
    return copy, tuple(done)


def _sorted(model: onnx.ModelProto) -> list[str]:
    done = []
    for node in _nodes(model.graph):
        for attribute in node.attribute:
            if node.op_type == "TopK" and attribute.name == "sorted" and attribute.i == 0:
                attribute.i = 1
                done.append(f"{node.name or node.output[0]}: sorted set to 1")
    return done


def _unread(model: onnx.ModelProto) -> list[str]:
    read = {value.name for value in model.graph.output}
    for node in _nodes(model.graph):
        read.update(node.input)
    done = []
    for node in _nodes(model.graph):
        while node.op_type in _FIRST_ONLY and len(node.output) > 1 and node.output[-1] not in read:
            done.append(f"{node.name or node.output[0]}: unread output {node.output[-1]!r} left out")
            del node.output[-1]
    return done


def _folded(model: onnx.ModelProto) -> list[str]:
    view = View(model)
    origins = Origins(view)
    done = []
    for place in view.places:
        index = MUST_BE_CONSTANT.get(place.node.op_type)
        if index is None or place.scope is not view.main or place.node.domain not in DEFAULT_DOMAINS:
            continue
        name = place.input(index)
        made = view.main.producers.get(name)
        if made is None or made.op_type == "Constant" or origins.of(view.main, name) != Origin.CONSTANT:
            continue
        if _fold(model, view, place, name):
            done.append(f"{place.path}: {name!r} computed now")
    return done


def _fold(model: onnx.ModelProto, view: View, place: Place, name: str) -> bool:
    """Put the value of `name` into the file; whether that was possible."""
    value = _value(view, name)
    if value is None or value.size > _LARGEST_FOLD:
        return False
    stored = numpy_helper.from_array(value, f"{name}_folded")
    if all(one.name != stored.name for one in model.graph.initializer):
        model.graph.initializer.append(stored)
    for node in model.graph.node:
        for index, read in enumerate(node.input):
            if read == name and node.op_type == place.node.op_type:
                node.input[index] = stored.name
    return True


def _value(view: View, name: str) -> Any:
    """What the nodes before `name` compute from constants, None where a constant lies in another file."""
    needed: list[onnx.NodeProto] = []
    wanted, constants = [name], dict[str, Any]()
    while wanted:
        one = wanted.pop()
        node = view.main.producers.get(one)
        if node is not None and node.op_type != "Constant":
            if node not in needed:
                needed.append(node)
                wanted += [read for read in node.input if read]
            continue
        value = constant(view.main, one)
        if value is None or value.size > _LARGEST_FOLD:
            return None
        constants[one] = value
    order = [node for node in view.main.graph.node if node in needed]
    output = onnx.helper.make_empty_tensor_value_info(name)
    stored = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    graph = onnx.helper.make_graph(order, "fold", [], [output], stored)
    part = onnx.helper.make_model(graph, opset_imports=view.model.opset_import)
    return next(iter(ReferenceEvaluator(part).run(None, {})))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)
