"""What a shift-linear kernel computes, and the choices that do not change its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from paring_exporters.tvm.shift_codes import LANES, unit_features
from paring_runtimes.errors import InputError

# |low| <= 128 times |activation| <= 127, summed over the input features, must stay below 2^31.
MAX_IN_FEATURES = 131_072


@dataclass(frozen=True)
class ShiftShape:
    """The shapes of x [rows, in_features] and of the weight [out_features, in_features]; bits is 4 or 5."""

    rows: int
    in_features: int
    out_features: int
    bits: int = 4

    def __post_init__(self) -> None:
        if self.bits not in (4, 5):
            raise InputError(f"bits: expected 4 or 5, given {self.bits}")
        if min(self.rows, self.in_features, self.out_features) < 1:
            raise InputError(f"shapes must be at least 1, given {self}")
        if self.in_features > MAX_IN_FEATURES:
            given = self.in_features
            raise InputError(
                f"in_features: at most {MAX_IN_FEATURES} stay exact in 32-bit sums, given {given}"
            )

    @property
    def blocks(self) -> int:
        """How many blocks of 16 output features there are, the last one padded."""
        return -(-self.out_features // LANES)

    @property
    def units(self) -> int:
        """How many units of input features a block has, the last one padded."""
        return -(-self.in_features // unit_features(self.bits))


@dataclass(frozen=True)
class Schedule:
    """How a kernel is cut up. Every schedule of a shape gives the same numbers.

    Attributes:
        row_block: rows whose sums are held in registers at once.
        column_blocks: blocks of 16 output features held in registers at once.
        unroll: units of input features in one pass of the inner loop.
        split: what threads share out: "rows" (each quantises its own) or "columns" (each quantises all).
    """

    row_block: int = 8
    column_blocks: int = 1
    unroll: int = 1
    split: Literal["rows", "columns"] = "columns"
