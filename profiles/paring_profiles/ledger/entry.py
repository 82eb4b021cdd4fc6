"""A line of the ledger: what one node does in one call."""

from __future__ import annotations

from dataclasses import dataclass, field

# What the term of a sum of products takes. A synaptic operation selects by spikes; every connection of every
# step is counted, so that it is a bound: how many arrive depends on data, which `paring simulate` counts.
KINDS = ("mac", "shift", "add", "popcount", "synop", "elementwise")


@dataclass(frozen=True)
class Entry:
    """What one node does in one call. Modelled.

    Attributes:
        layer: the node's name.
        operator: its ONNX operator.
        arithmetic: "fp32_mac", "int8_mac", "shift_add", "select_add", "xor_popcount", ...; "elementwise" for
            the rest.
        operations: how many of each kind: "multiply", "shift", "add", "popcount".
        bits: moved at each level: "dram", "buffer", "network", "registers".
        energy_pj: of the arithmetic ("operations") and of each level.
        kind: one of `KINDS`.
        count: terms of its sums; of elementwise work, operations.
        weight_bits: those of `bits` that are of weights.
        words: bits of the weights, and of what it reads and writes besides, each counted once.
    """

    layer: str
    operator: str
    arithmetic: str
    operations: dict[str, int]
    bits: dict[str, float]
    energy_pj: dict[str, float]
    kind: str = "elementwise"
    count: int = 0
    weight_bits: dict[str, float] = field(default_factory=dict)
    words: dict[str, float] = field(default_factory=dict)

    @property
    def total_pj(self) -> float:
        """Energy of the layer, pJ."""
        return sum(self.energy_pj.values())


def together(entries: list[Entry]) -> Entry:
    """Of one node that runs once a step: the sum over its steps. The weights' words stay as they are."""
    first = entries[0]
    totals: dict[str, dict[str, float]] = {}
    for name in ("operations", "bits", "energy_pj", "weight_bits", "words"):
        parts = [getattr(entry, name) for entry in entries]
        totals[name] = {key: sum(part[key] for part in parts) for key in parts[0]}
    if "weights" in first.words:
        totals["words"]["weights"] = first.words["weights"]
    return Entry(
        layer=first.layer,
        operator=first.operator,
        arithmetic=first.arithmetic,
        operations={key: int(value) for key, value in totals["operations"].items()},
        bits=totals["bits"],
        energy_pj=totals["energy_pj"],
        kind=first.kind,
        count=sum(entry.count for entry in entries),
        weight_bits=totals["weight_bits"],
        words=totals["words"],
    )
