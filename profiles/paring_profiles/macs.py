"""Multiply-accumulates and parameters of any ONNX graph, from the shapes of a real run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paring_profiles.mac_formulas import FORMULAS, FREE_MICROSOFT, UNCOUNTED, Node, Shape
from paring_profiles.onnx_graph import open_graph, real_shapes
from paring_profiles.scan_bodies import bodies, body_of

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

_STANDARD = {"", "ai.onnx"}


@dataclass(frozen=True)
class MacCount:
    """What one call of a model costs.

    Attributes:
        total: multiply-accumulates; without those of `unknown`.
        by_operator: the same by operator, largest first.
        unknown: operators that may multiply and that no formula covers.
        parameters: elements of the weights (floats; integers of at most 8 bits with two or more
            dimensions, which are quantised weights; never index tensors).
    """

    total: int
    by_operator: dict[str, int]
    unknown: list[str]
    parameters: int


def count(
    path: str | Path, shapes: Mapping[str, Shape], feeds: Mapping[str, NDArray[Any]] | None = None
) -> MacCount:
    """Count the multiply-accumulates of one call with inputs of these shapes.

    Args:
        path: an ONNX file.
        shapes: every input's shape by name, without symbolic sizes.
        feeds: values of inputs that a graph indexes by; others are made up.

    Raises:
        ArtifactError: not an ONNX file.
        EngineError: ONNX Runtime cannot run it.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    model = open_graph(Path(path))
    counted = [node for node in model.graph.node if operator_key(node) in FORMULAS]
    names = {name for node in counted for name in (*node.input, *node.output) if name}
    repeated = bodies(model, lambda node: operator_key(node) in FORMULAS)
    real, turns = real_shapes(Path(path), model, shapes, names, feeds, repeated)
    calls = [(node, real) for node in counted]
    calls += [call for body in repeated for call in body.calls(turns)]
    by_operator: Counter[str] = Counter()
    unknown = unknown_operators(model.graph.node)
    for node, sizes in calls:
        macs = FORMULAS[operator_key(node)](with_shapes(node, sizes))
        if macs is None:
            unknown.add(_title(node))
        else:
            by_operator[node.op_type] += macs
    return MacCount(
        total=by_operator.total(),
        by_operator=dict(by_operator.most_common()),
        unknown=sorted(unknown),
        parameters=_parameters(model),
    )


def operator_key(node: onnx.NodeProto) -> tuple[str, str]:
    """Return domain and name, by which formulas are found; the standard domain is ""."""
    return ("" if node.domain in _STANDARD else node.domain), node.op_type


def _title(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}"


def with_shapes(node: onnx.NodeProto, real: Mapping[str, Shape]) -> Node:
    """Return a node with the shapes of its tensors."""
    import onnx

    return Node(
        inputs=tuple(real[name] if name else None for name in node.input),
        outputs=tuple(real[name] if name else None for name in node.output),
        attributes={a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
    )


def unknown_operators(nodes: Iterable[onnx.NodeProto], outermost: bool = True) -> set[str]:
    """Return the operators that no formula covers, with those inside of loops and branches.

    What is inside of a Scan of the outermost graph is counted turn by turn.
    """
    found = set()
    for node in nodes:
        domain, name = operator_key(node)
        if domain == "":
            if name in UNCOUNTED:
                found.add(name)
        elif (domain, name) not in FORMULAS and not (domain == "com.microsoft" and name in FREE_MICROSOFT):
            found.add(_title(node))
        repeated = outermost and node.op_type == "Scan"
        inside = unknown_operators(body_of(node).node, False) if repeated else _inside(node)
        found |= {f"{inner} in {name}" for inner in inside}
    return found


def _inside(node: onnx.NodeProto) -> set[str]:
    """Return what multiplies in a loop's or a branch's body: how often it runs is not known."""
    bodies = [g for a in node.attribute for g in ([a.g] if a.HasField("g") else a.graphs)]
    nodes = [inner for body in bodies for inner in body.node]
    return {_title(inner) for inner in nodes if operator_key(inner) in FORMULAS} | unknown_operators(
        nodes, False
    )


def _parameters(model: onnx.ModelProto) -> int:
    import onnx

    kinds = onnx.TensorProto
    floats = {kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE}
    quantised = {kinds.INT8, kinds.UINT8, kinds.INT4, kinds.UINT4}
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type in floats or (tensor.data_type in quantised and len(tensor.dims) >= 2)
    )
