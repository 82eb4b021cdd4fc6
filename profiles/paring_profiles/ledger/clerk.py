"""Prices nodes: which arithmetic they take, what they move, what a chip is charged for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from paring_profiles.mac_formulas import Node

from .entry import Entry
from .evidence import Evidence, tensor_bits
from .prices import PAPER_SHIFT_BITS, Prices
from .products import Product
from .reuse import Widths, traffic
from .simple import SIMPLE

if TYPE_CHECKING:
    import onnx

_INTEGER = {"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "DynamicQuantizeMatMul",
            "MatMulIntegerToFloat", "QAttention", "QGemm"}  # fmt: skip


class Clerk:
    """Prices the nodes of one graph, or of one body of a Scan."""

    def __init__(
        self, evidence: Evidence, types: Mapping[str, int], chip: Prices, paper: bool, as_int8: bool
    ) -> None:
        self.evidence, self.types, self.chip = evidence, types, chip
        self.paper, self.as_int8 = paper, as_int8

    def product(self, node: onnx.NodeProto, product: Product) -> Entry:
        """A sum of products."""
        arithmetic, kind, widths = self._arithmetic(node, product)
        constant = self.evidence.is_constant(node.input[product.right])
        moved = traffic(product, widths, constant, self.chip)
        priced = self.chip.operations[arithmetic]
        if self.paper:
            priced = {key: priced[key] for key in list(priced)[:1]}  # the product alone
            if arithmetic.endswith(("select_add", "popcount")):
                moved = replace(moved, dram=0.0, buffer=0.0, network=0.0)
        count, memory = product.count, self.chip.access_pj
        registers = memory("register", widths.left) + memory("weight_register", widths.right)
        registers += memory("partial_sum", widths.out)
        stored = float(product.right_words * widths.right)
        passing = float(product.left_words * widths.left + product.out_words * widths.out)
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
            kind=kind,
            count=count,
            weight_bits={
                "dram": min(moved.dram, moved.weight_dram),
                "buffer": min(moved.buffer, moved.weight_buffer),
                "network": min(moved.network, moved.weight_network),
                "registers": float(count * widths.right) if constant else 0.0,
            },
            words={
                "weights": stored if constant else 0.0,
                "activations": passing if constant else passing + stored,
            },
        )

    def _arithmetic(self, node: onnx.NodeProto, product: Product) -> tuple[str, str, Widths]:
        """The price's name, the kind, and how wide the operands are."""
        left, right = node.input[product.left], node.input[product.right]
        shift, integer = self.evidence.shift_bits(right), node.op_type in _INTEGER
        if shift is not None:
            bits = PAPER_SHIFT_BITS if self.paper else 8 if integer else 32
            widths = Widths(bits, bits if self.paper else shift, bits)
            return ("int8_shift_add" if integer else "shift_add"), "shift", widths
        bits = 8 if self.as_int8 or integer else tensor_bits(self.types, left)
        found = [self.evidence.selector(name) for name in (left, right)]
        if any(found):
            first, second = (bits if one is None else one.bits for one in found)
            widths, spikes = Widths(first, second, bits), any(one and one.spikes for one in found)
            if all(found) and not spikes:
                return "xor_popcount", "popcount", widths
            return ("int8_select_add" if bits == 8 else "select_add"), "synop" if spikes else "add", widths
        weights = 4 if node.op_type == "MatMulNBits" else bits
        return {8: "int8_mac", 16: "fp16_mac"}.get(bits, "fp32_mac"), "mac", Widths(bits, weights, bits)

    def simple(self, node: onnx.NodeProto, shaped: Node) -> Entry:
        """An operator without sums of products: its operands pass the buffer once."""
        names = (*node.input, *node.output)
        shapes = (*shaped.inputs, *shaped.outputs)
        sizes = [math.prod(s) for s in shapes if s is not None]
        multiplications, additions = SIMPLE[node.op_type]
        elements = max(sizes)
        moved = {name: math.prod(s) for name, s in zip(names, shapes, strict=True) if s is not None}
        bits = {name: float(size * tensor_bits(self.types, name)) for name, size in moved.items()}
        weights = sum(size for name, size in bits.items() if self.evidence.is_constant(name))
        total = sum(bits.values())
        priced = self.chip.operations["fp32_mac"]
        energy = elements * (multiplications * priced["multiply"] + additions * priced["add"])
        return Entry(
            layer=node.name,
            operator=node.op_type,
            arithmetic="elementwise",
            operations={"multiply": elements * multiplications, "add": elements * additions},
            bits={"buffer": total},
            energy_pj={"operations": energy, "buffer": self.chip.access_pj("buffer", total)},
            count=elements * (multiplications + additions),
            weight_bits={"buffer": weights},
            words={"weights": weights, "activations": total - weights},
        )
