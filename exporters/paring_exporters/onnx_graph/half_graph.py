"""An ONNX graph in fp16 or bf16: casts where types meet, fp32 at the edges and in the nodes that are kept.

Engines whose networks are strongly typed (TensorRT 11) compute each node in the type that the graph gives
it, so that the graph must say which nodes are in 16 bits. `narrowed` rewrites an fp32 graph so; `simulated`
is the same graph for an engine without 16-bit kernels: every node computes in fp32 and what it hands on is
rounded, which is how GPUs compute (16 bits stored, sums in fp32). ONNX Runtime's CPU provider has no kernel
for bf16, and computes neighbouring fp16 nodes in fp32 without rounding between them, so that it shows no
overflow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from paring_runtimes.errors import ExportError

KINDS: dict[str, int] = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
LARGEST = {"fp16": 65504.0, "bf16": 3.38e38}
FLOAT = TensorProto.FLOAT
_NAMES: dict[int, str] = {FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16"}


def opset_of(model: ModelProto) -> int:
    """Opset of the default domain."""
    return next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))


def float_inputs(node: NodeProto, opset: int, kind: int) -> dict[int, str]:
    """Which of a node's inputs may be of `kind`, with the type variable each shares; empty where none may."""
    if node.domain not in ("", "ai.onnx") or any(a.type == AttributeProto.GRAPH for a in node.attribute):
        return {}
    schema = onnx.defs.get_schema(node.op_type, opset)
    wanted = "tensor(float16)" if kind == TensorProto.FLOAT16 else "tensor(bfloat16)"
    free = {one.type_param_str for one in schema.type_constraints if wanted in one.allowed_type_strs}
    formal = schema.inputs
    types = [formal[min(index, len(formal) - 1)].type_str for index in range(len(node.input))]
    return {index: name for index, name in enumerate(types) if node.input[index] and name in free}


def float_values(model: ModelProto) -> set[str]:
    """Names of the main graph's fp32 values."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    found = {one.name for one in values if one.type.tensor_type.elem_type == FLOAT}
    return found | {one.name for one in graph.initializer if one.data_type == FLOAT}


def narrowed(model: ModelProto, precision: str, kept: Collection[str]) -> ModelProto:
    """The graph in 16 bits.

    Args:
        model: in fp32.
        precision: "fp16" or "bf16".
        kept: names of the first outputs of the nodes that stay in fp32.

    Returns:
        A model whose inputs and outputs are fp32.
    """
    writer = _Writer(model, KINDS[precision])
    for node in model.graph.node:
        writer.write(node, node.output[0] in kept)
    return writer.model()


class _Writer:
    """A graph being rewritten: under which name each fp32 value lies in which type."""

    def __init__(self, model: ModelProto, kind: int) -> None:
        self._source, self._kind, self._opset = model, kind, opset_of(model)
        self._floats = float_values(model)
        self._weights = {one.name: one for one in model.graph.initializer}
        self._pinned = {one.name for one in model.graph.output} | set(_captured(model.graph))
        made = {name for node in model.graph.node for name in node.output}
        self._at: dict[tuple[str, int], str] = {(name, FLOAT): name for name in self._floats - made}
        self._nodes: list[NodeProto] = []
        self._made: list[TensorProto] = []

    def write(self, node: NodeProto, keep: bool) -> None:
        """Add a node in the type that it may have."""
        free = {} if keep else float_inputs(node, self._opset, self._kind)
        copy, variables = NodeProto(), set()
        copy.CopyFrom(node)
        for index, name in enumerate(node.input):
            if name in self._floats:
                narrow = index in free
                copy.input[index] = self._in(name, self._kind if narrow else FLOAT)
                variables |= {free[index]} if narrow else set()
        self._nodes.append(copy)
        formal = () if not variables else onnx.defs.get_schema(node.op_type, self._opset).outputs
        for index, name in enumerate(node.output):
            if name not in self._floats:
                continue
            narrow = bool(variables) and formal[min(index, len(formal) - 1)].type_str in variables
            kind = self._kind if narrow else FLOAT
            if narrow and name in self._pinned:
                copy.output[index] = f"{name}_{_NAMES[kind]}"
                self._nodes.append(helper.make_node("Cast", [copy.output[index]], [name], to=FLOAT))
                self._at[name, FLOAT] = name
            self._at[name, kind] = copy.output[index]

    def _in(self, name: str, kind: int) -> str:
        """The name under which a value is of `kind`; it is cast where it is not yet."""
        if (name, kind) not in self._at:
            made = self._at[name, kind] = f"{name}_{_NAMES[kind]}"
            if name in self._weights:
                self._made.append(_stored(self._weights[name], made, kind))
            else:
                there = self._at[name, self._kind if kind == FLOAT else FLOAT]
                self._nodes.append(helper.make_node("Cast", [there], [made], f"cast_{made}", to=kind))
        return self._at[name, kind]

    def model(self) -> ModelProto:
        """What was written, checked.

        Raises:
            ExportError: the types do not fit.
        """
        done = ModelProto()
        done.CopyFrom(self._source)
        del done.graph.node[:], done.graph.value_info[:], done.graph.initializer[:]
        done.graph.node.extend(self._nodes)
        read = set(self._pinned).union(*(node.input for node in self._nodes))
        done.graph.initializer.extend(
            one for one in (*self._source.graph.initializer, *self._made) if one.name in read
        )
        try:
            onnx.shape_inference.infer_shapes(done, check_type=True, strict_mode=True)
        except Exception as error:  # onnx's errors share no base class
            raise ExportError(
                f"{_NAMES[self._kind]}: the graph's types do not fit: {str(error)[:300]}"
            ) from error
        return done


def simulated(model: ModelProto) -> ModelProto:
    """A graph of `narrowed` in which every node computes in fp32, its 16-bit results rounded after it."""
    types = {one.name: one.data_type for one in model.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types |= {one.name: one.type.tensor_type.elem_type for one in (*inferred.value_info, *inferred.input)}
    kinds, nodes = set(KINDS.values()), list[NodeProto]()
    for number, node in enumerate(model.graph.node):
        copy, after = NodeProto(), list[NodeProto]()
        copy.CopyFrom(node)
        if node.op_type != "Cast":
            for index, name in enumerate(node.input):
                if types.get(name) in kinds:
                    copy.input[index] = f"{name}_wide_{number}"
                    nodes.append(helper.make_node("Cast", [name], [copy.input[index]], to=FLOAT))
            for index, name in enumerate(node.output):
                if types.get(name) in kinds:
                    copy.output[index] = f"{name}_unrounded"
                    after.append(helper.make_node("Cast", [copy.output[index]], [name], to=types[name]))
        nodes += [copy, *after]
    done = ModelProto()
    done.CopyFrom(model)
    del done.graph.node[:], done.graph.value_info[:]
    done.graph.node.extend(nodes)
    return done


def _captured(graph: GraphProto, inside: bool = False) -> Iterator[str]:
    """What subgraphs read, their own values among it."""
    for node in graph.node:
        if inside:
            yield from node.input
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _captured(attribute.g, True)
                yield from (one.name for one in attribute.g.output)


def _stored(weight: TensorProto, name: str, kind: int) -> TensorProto:
    values: Any = numpy_helper.to_array(weight)
    with np.errstate(over="ignore"):
        return numpy_helper.from_array(values.astype(helper.tensor_dtype_to_np_dtype(kind)), name)
