"""Words that a product moves at each level of the memory hierarchy, by an exhaustive choice of tiling.

The array of processing elements holds a tile of Tm x Tn outputs while K runs (output stationary). An
operand is read from the buffer once for each tile that needs it, and travels over the network as often;
it comes from DRAM once a call, weights always, activations when they do not fit in the buffer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .prices import Prices
from .products import Product


@dataclass(frozen=True)
class Widths:
    """Bits of an element of the left operand, the right one, and the result."""

    left: int
    right: int
    out: int


@dataclass(frozen=True)
class Traffic:
    """Bits that cross each level beyond the registers in one call; `weight_...`: how many are of weights."""

    dram: float
    buffer: float
    network: float
    weight_dram: float = 0.0
    weight_buffer: float = 0.0
    weight_network: float = 0.0


def traffic(product: Product, widths: Widths, constant: bool, prices: Prices) -> Traffic:
    """Bits that cross each level.

    Args:
        product: what is multiplied.
        widths: of the elements.
        constant: whether the right operand is weights.
        prices: of the chip, for its array and buffer.
    """
    left, right, out = (
        product.left_words * widths.left,
        product.right_words * widths.right,
        product.out_words * widths.out,
    )
    activations = [left, out] if constant else [left, right, out]
    dram = sum(bits for bits in activations if bits > prices.buffer_bits) + (right if constant else 0)
    tilings = (_tiled(product, left, right, tile, prices.elements) for tile in _tiles(prices.elements))
    lefts, rights = min(tilings, key=sum)
    # The result is written once, and what comes from DRAM is written into the buffer first.
    stored = float(right if constant else 0)
    weights = (stored, rights + stored, rights) if constant else (0.0, 0.0, 0.0)
    return Traffic(float(dram), lefts + rights + out + stored, lefts + rights + out, *weights)


def _tiles(elements: int) -> list[int]:
    """Rows of a tile: every divisor-like choice up to the whole array."""
    return sorted({elements // columns for columns in range(1, elements + 1)})


def _tiled(product: Product, left: float, right: float, rows: int, elements: int) -> tuple[float, float]:
    """Bits of either operand that are read from the buffer with tiles of `rows` rows."""
    rows = min(rows, product.m)
    columns = min(elements // rows, product.n)
    return left * math.ceil(product.n / columns), right * math.ceil(product.m / rows)
