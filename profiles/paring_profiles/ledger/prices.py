"""The prices of operations and memory accesses, from a data file, and the two ways to account for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

# "full": every operation and access that the model knows. "paper": as ShiftAddViT's released code
# counts (arXiv 2306.06446): a product without its accumulation, a shift without its addition, data of
# shift layers at 10 bits, layers that only add with nothing to move beyond registers, the rest free.
ACCOUNTINGS = ("full", "paper")
PAPER_SHIFT_BITS = 10
LEVELS = ("dram", "buffer", "network", "registers")


@dataclass(frozen=True)
class Prices:
    """Of one chip.

    Attributes:
        name: the chip, in words.
        sources: where the figures are from, by kind.
        operations: pJ by arithmetic and kind of operation ("multiply", "shift", "add").
        memory: pJ for 16 bits by level.
        elements: outputs that the array of processing elements holds at once.
        buffer_bits: capacity of the on-chip buffer.
    """

    name: str
    sources: dict[str, str]
    operations: dict[str, dict[str, float]]
    memory: dict[str, float]
    elements: int
    buffer_bits: int

    def access_pj(self, level: str, bits: float) -> float:
        """Energy to move `bits` at a level, pJ."""
        return self.memory[level] * bits / 16


@cache
def prices() -> Prices:
    """The 45 nm accelerator that the literature on shift and add uses."""
    read: dict[str, Any] = YAML(typ="safe").load(Path(__file__).with_name("asic_45nm.yaml"))
    return Prices(
        name=read["name"],
        sources=read["sources"],
        operations=read["operations"],
        memory=read["memory"],
        elements=read["array"]["elements"],
        buffer_bits=16 * read["array"]["buffer_words"],
    )
