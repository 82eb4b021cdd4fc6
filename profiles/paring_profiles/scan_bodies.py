"""Shapes inside of Scan: its body runs once a slice, perhaps with other shapes every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from paring_profiles.mac_formulas import Shape


@dataclass(frozen=True)
class ScanBody:
    """The nodes of one Scan's body that are counted.

    Attributes:
        index: of the Scan among the graph's nodes.
        nodes: those that count.
        shapes: output's name -> the tensor in the body whose shape it tells, turn by turn.
    """

    index: int
    nodes: list[onnx.NodeProto]
    shapes: dict[str, str]

    def calls(self, turns: Mapping[str, NDArray[Any]]) -> Iterator[tuple[onnx.NodeProto, dict[str, Shape]]]:
        """Yield each counted node with the shapes of each turn; `turns` is [turns, rank] by output."""
        count = min((len(turns[output]) for output in self.shapes), default=0)
        for turn in range(count):
            sizes = {name: tuple(map(int, turns[output][turn])) for output, name in self.shapes.items()}
            yield from ((node, sizes) for node in self.nodes)


def body_of(scan: onnx.NodeProto) -> onnx.GraphProto:
    """Return a Scan's body."""
    found: onnx.GraphProto = next(a.g for a in scan.attribute if a.name == "body")
    return found


def bodies(model: onnx.ModelProto, counts: Callable[[onnx.NodeProto], bool]) -> list[ScanBody]:
    """Return every Scan of the graph whose body holds nodes that count."""
    found = []
    for index, scan in enumerate(model.graph.node):
        nodes = [node for node in body_of(scan).node if counts(node)] if scan.op_type == "Scan" else []
        if nodes:
            names = dict.fromkeys(name for node in nodes for name in (*node.input, *node.output) if name)
            outputs = {f"paring_scan_{index}_{i}": name for i, name in enumerate(names)}
            found.append(ScanBody(index, nodes, outputs))
    return found


def expose(model: onnx.ModelProto, found: list[ScanBody]) -> None:
    """Make the shapes inside of the Scans outputs of the graph, [turns, rank] int64 each."""
    import onnx

    for own in found:
        scan = model.graph.node[own.index]
        body = body_of(scan)
        for output, name in own.shapes.items():
            body.node.append(onnx.helper.make_node("Shape", [name], [output]))
            body.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.INT64, None))
            scan.output.append(output)
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(output, onnx.TensorProto.INT64, None)
            )
        for attribute in scan.attribute:
            if attribute.name in ("scan_output_axes", "scan_output_directions"):
                attribute.ints.extend([0] * len(own.shapes))
