"""The ledger itself: an entry a layer, and what a chip would be charged for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from paring_profiles.mac_formulas import FORMULAS, Node, Shape
from paring_profiles.macs import operator_key, with_shapes
from paring_profiles.onnx_graph import open_graph, real_shapes

from .evidence import Evidence, tensor_bits
from .prices import LEVELS, PAPER_SHIFT_BITS, Prices, prices
from .products import PRODUCTS, Product
from .reuse import Widths, traffic
from .simple import SIMPLE

if TYPE_CHECKING:
    import onnx

_INTEGER = {"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "DynamicQuantizeMatMul",
            "MatMulIntegerToFloat"}  # fmt: skip
_OPERATIONS = ("multiply", "shift", "add")


@dataclass(frozen=True)
class Entry:
    """What one node does in one call. Modelled.

    Attributes:
        layer: the node's name.
        operator: its ONNX operator.
        arithmetic: "fp32_mac", "int8_mac", "shift_add", "select_add", ...; "elementwise" for the rest.
        operations: how many of each kind: "multiply", "shift", "add".
        bits: moved at each level: "dram", "buffer", "network", "registers".
        energy_pj: of the arithmetic ("operations") and of each level.
    """

    layer: str
    operator: str
    arithmetic: str
    operations: dict[str, int]
    bits: dict[str, float]
    energy_pj: dict[str, float]

    @property
    def total_pj(self) -> float:
        """Energy of the layer, pJ."""
        return sum(self.energy_pj.values())


@dataclass(frozen=True)
class Ledger:
    """Every layer of one call, and operators that could not be priced."""

    entries: list[Entry]
    unpriced: list[str]
    accounting: str
    chip: str

    def operations(self) -> dict[str, int]:
        """Operations by kind."""
        return {kind: sum(e.operations.get(kind, 0) for e in self.entries) for kind in _OPERATIONS}

    def bits(self) -> dict[str, float]:
        """Bits moved by level."""
        return {level: sum(e.bits.get(level, 0.0) for e in self.entries) for level in LEVELS}

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
    evidence = Evidence(where, model)
    nodes = [node for node in model.graph.node if operator_key(node) in PRODUCTS or node.op_type in SIMPLE]
    nodes = [node for node in nodes if not evidence.is_constant(node.output[0])]  # done once, at load
    names = {name for node in nodes for name in (*node.input, *node.output) if name}
    real, _ = real_shapes(where, model, shapes, names)
    clerk = _Clerk(evidence, _types(model), chip, accounting == "paper", as_int8)
    entries, unpriced = [], _unpriced(model)
    for node in nodes:
        shaped = with_shapes(node, real)
        products = PRODUCTS[operator_key(node)](shaped) if operator_key(node) in PRODUCTS else []
        if products is None:
            unpriced.add(node.op_type)
        elif products:
            entries += [clerk.product(node, one) for one in products]
        elif accounting == "full":
            entries.append(clerk.simple(node, shaped))
    return Ledger(entries, sorted(unpriced), accounting, chip.name)


class _Clerk:
    """Prices nodes."""

    def __init__(
        self, evidence: Evidence, types: Mapping[str, int], chip: Prices, paper: bool, as_int8: bool
    ) -> None:
        self.evidence, self.types, self.chip = evidence, types, chip
        self.paper, self.as_int8 = paper, as_int8

    def product(self, node: onnx.NodeProto, product: Product) -> Entry:
        arithmetic, widths = self._arithmetic(node, product)
        constant = self.evidence.is_constant(node.input[product.right])
        moved = traffic(product, widths, constant, self.chip)
        priced = self.chip.operations[arithmetic]
        if self.paper:
            priced = {kind: priced[kind] for kind in list(priced)[:1]}  # the product alone
            if arithmetic.endswith("select_add"):
                moved = replace(moved, dram=0.0, buffer=0.0, network=0.0)
        count = product.count
        memory = self.chip.access_pj
        registers = memory("register", widths.left) + memory("weight_register", widths.right)
        registers += memory("partial_sum", widths.out)
        return Entry(
            layer=node.name,
            operator=node.op_type,
            arithmetic=arithmetic,
            operations=dict.fromkeys(priced, count),
            bits={
                "dram": moved.dram,
                "buffer": moved.buffer,
                "network": moved.network,
                "registers": float(count * (widths.left + widths.right + widths.out)),
            },
            energy_pj={
                "operations": count * sum(priced.values()),
                "dram": memory("dram", moved.dram),
                "buffer": memory("buffer", moved.buffer),
                "network": memory("network", moved.network),
                "registers": count * registers,
            },
        )

    def _arithmetic(self, node: onnx.NodeProto, product: Product) -> tuple[str, Widths]:
        left, right = node.input[product.left], node.input[product.right]
        shift, integer = self.evidence.shift_bits(right), node.op_type in _INTEGER
        if shift is not None:
            bits = PAPER_SHIFT_BITS if self.paper else 8 if integer else 32
            widths = Widths(bits, bits if self.paper else shift, bits)
            return ("int8_shift_add" if integer else "shift_add"), widths
        binary = [self.evidence.is_binary(name) for name in (left, right)]
        bits = 8 if self.as_int8 or integer else tensor_bits(self.types, left)
        if any(binary):
            first, second = (1 if one else bits for one in binary)
            widths = Widths(first, second, bits)
            return ("int8_select_add" if bits == 8 else "select_add"), widths
        weights = 4 if node.op_type == "MatMulNBits" else bits
        return {8: "int8_mac", 16: "fp16_mac"}.get(bits, "fp32_mac"), Widths(bits, weights, bits)

    def simple(self, node: onnx.NodeProto, shaped: Node) -> Entry:
        """An operator without sums of products: its operands pass the buffer once."""
        sizes = [math.prod(s) for s in (*shaped.inputs, *shaped.outputs) if s is not None]
        multiplications, additions = SIMPLE[node.op_type]
        elements, bits = max(sizes), float(32 * sum(sizes))
        priced = self.chip.operations["fp32_mac"]
        energy = elements * (multiplications * priced["multiply"] + additions * priced["add"])
        return Entry(
            layer=node.name,
            operator=node.op_type,
            arithmetic="elementwise",
            operations={"multiply": elements * multiplications, "add": elements * additions},
            bits={"buffer": bits},
            energy_pj={"operations": energy, "buffer": self.chip.access_pj("buffer", bits)},
        )


def _unpriced(model: onnx.ModelProto) -> set[str]:
    """Operators that multiply and sum, and that no product describes."""
    unknown = FORMULAS.keys() - PRODUCTS.keys()
    return {node.op_type for node in model.graph.node if operator_key(node) in unknown}


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Element types that inference finds; of others, 32 bits are taken."""
    import onnx

    found = onnx.shape_inference.infer_shapes(model)
    values = (*found.graph.value_info, *found.graph.input, *found.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in model.graph.initializer}
