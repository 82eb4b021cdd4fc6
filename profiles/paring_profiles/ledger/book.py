"""The ledger itself: an entry a layer, and what a chip would be charged for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paring_profiles.mac_formulas import FORMULAS, Shape
from paring_profiles.macs import operator_key, unknown_operators, with_shapes
from paring_profiles.onnx_graph import open_graph, real_shapes
from paring_profiles.scan_bodies import bodies, body_of

from .clerk import Clerk
from .entry import KINDS, Entry, together
from .evidence import Evidence
from .prices import LEVELS, prices
from .products import PRODUCTS
from .simple import CONTROL, MOVES, SIMPLE

if TYPE_CHECKING:
    import onnx

_OPERATIONS = ("multiply", "shift", "add", "popcount")


@dataclass(frozen=True)
class Ledger:
    """Every layer of one call, and operators that could not be priced.

    Attributes:
        unpriced: operators that nothing here describes: their operations and traffic are missing.
    """

    entries: list[Entry]
    unpriced: list[str]
    accounting: str
    chip: str

    def operations(self) -> dict[str, int]:
        """Operations by kind."""
        return {kind: sum(e.operations.get(kind, 0) for e in self.entries) for kind in _OPERATIONS}

    def counts(self) -> dict[str, int]:
        """Terms of sums by `KINDS`: multiply-accumulates, shifts with their addition, and so on."""
        return {kind: sum(e.count for e in self.entries if e.kind == kind) for kind in KINDS}

    @property
    def terms(self) -> int:
        """Terms of all sums of products, whatever their kind: what counters of FLOPs call MACs."""
        return sum(e.count for e in self.entries if e.kind != "elementwise")

    def bits(self) -> dict[str, float]:
        """Bits moved by level."""
        return {level: sum(e.bits.get(level, 0.0) for e in self.entries) for level in LEVELS}

    def weight_bits(self) -> dict[str, float]:
        """Bits moved by level that are of weights; the rest of `bits` is of activations."""
        return {level: sum(e.weight_bits.get(level, 0.0) for e in self.entries) for level in LEVELS}

    def energy_uj(self) -> dict[str, float]:
        """Energy by part, microjoules a call."""
        parts = ("operations", *LEVELS)
        return {part: sum(e.energy_pj.get(part, 0.0) for e in self.entries) / 1e6 for part in parts}

    @property
    def total_uj(self) -> float:
        """Energy of a call, microjoules."""
        return sum(self.energy_uj().values())


def ledger(
    path: str | Path, shapes: Mapping[str, Shape], accounting: str = "full", as_int8: bool = False
) -> Ledger:
    """Account for one call of a model with inputs of these shapes.

    What runs in a Scan is counted step by step, each node's steps in one entry.

    Args:
        path: an ONNX file.
        shapes: every input's shape by name, without symbolic sizes.
        accounting: "full", or "paper": see `prices.ACCOUNTINGS`.
        as_int8: charge fp32 products as if the model were quantised to int8.

    Raises:
        ArtifactError: not an ONNX file.
        EngineError: ONNX Runtime cannot run it.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    where, chip = Path(path), prices()
    model = open_graph(where)
    evidence, types = Evidence(where, model), _types(model)
    nodes = [n for n in model.graph.node if _described(n) and not evidence.is_constant(n.output[0])]
    names = {name for node in nodes for name in (*node.input, *node.output) if name}
    repeated = bodies(model, _described)
    real, turns = real_shapes(where, model, shapes, names, repeated=repeated)
    clerk = Clerk(evidence, types, chip, accounting == "paper", as_int8)
    unpriced = _unpriced(model)
    entries = [entry for node in nodes for entry in _entries(clerk, node, real, unpriced)]
    for scan in repeated:
        inside = Evidence(where, model, body_of(model.graph.node[scan.index]))
        clerk = Clerk(inside, types, chip, accounting == "paper", as_int8)
        steps: dict[tuple[str, int], list[Entry]] = {}
        for node, sizes in scan.calls(turns):
            if not inside.is_constant(node.output[0]):
                for part, entry in enumerate(_entries(clerk, node, sizes, unpriced)):
                    steps.setdefault((node.output[0], part), []).append(entry)
        entries += [together(step) for step in steps.values()]
    return Ledger(entries, sorted(unpriced), accounting, chip.name)


def _described(node: onnx.NodeProto) -> bool:
    return operator_key(node) in PRODUCTS or node.op_type in SIMPLE


def _entries(
    clerk: Clerk, node: onnx.NodeProto, sizes: Mapping[str, Shape], unpriced: set[str]
) -> list[Entry]:
    """Of one call of a node; a form that no product describes is added to `unpriced`."""
    shaped, known = with_shapes(node, sizes), PRODUCTS.get(operator_key(node))
    products = known(shaped) if known else []
    if products is None:
        unpriced.add(node.op_type)
        return []
    if products:
        return [clerk.product(node, one) for one in products]
    return [] if clerk.paper or node.op_type not in SIMPLE else [clerk.simple(node, shaped)]


def _unpriced(model: onnx.ModelProto) -> set[str]:
    """Operators that nothing describes: unknown ones, and products in loops that run who knows how often."""
    known = MOVES | CONTROL | SIMPLE.keys()
    found = unknown_operators(model.graph.node)
    graphs = [model.graph, *(body_of(node) for node in model.graph.node if node.op_type == "Scan")]
    for graph in graphs:
        for node in graph.node:
            key = operator_key(node)
            described = key in PRODUCTS or (node.op_type in known)
            if key in FORMULAS.keys() - PRODUCTS.keys() or (not described and not key[0]):
                found.add(node.op_type)
    return found


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Element types that inference finds; of others, 32 bits are taken."""
    import onnx

    found = onnx.shape_inference.infer_shapes(model)
    values = (*found.graph.value_info, *found.graph.input, *found.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in model.graph.initializer}
