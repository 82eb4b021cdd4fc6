"""Shift layers in integer arithmetic: what a kernel that shifts, or multiplies by powers of two, computes.

ShiftAddViT (https://arxiv.org/abs/2306.06446) shifts the activations right, which floors; shift-linear
kernels of paring multiply int8 activations by the codes' integer values, which is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from .codes import Packed, unit, unpack
from .layer import PackedTerm, ShiftLinear
from .surgery import replaced


class Rows(NamedTuple):
    """Activations by row: integers [M, K] int8 in -127 .. 127, and the scale of each row [M, 1]."""

    values: torch.Tensor
    scale: torch.Tensor


def mat_shift(x: torch.Tensor, shifts: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """sum_k sign * (x >> shift): x [M, K] integers, shifts and signs [N, K] -> [M, N] int64.

    A right shift floors: (-5) >> 1 is -3. The result differs from that of exact powers of two by up to K.
    """
    moved = x.long()[:, None] >> shifts.long()[None]
    return (moved * signs.long()[None]).sum(2)


def quantize_rows(x: torch.Tensor) -> Rows:
    """Symmetric int8 by row: x [M, K] -> round(x / scale), scale = max|x| / 127 of the row, 1 for zeros.

    Rounding is to the nearest, ties to even.
    """
    top = x.abs().amax(1, keepdim=True)
    scale = torch.where(top > 0, top / 127, torch.ones_like(top))
    return Rows((x / scale).round().clamp(-127, 127).to(torch.int8), scale)


def multiply(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Exact integer product: x [M, K] int8, values [N, K] int16 -> [M, N] int64.

    int32 holds it for 4-bit codes up to K = 264,208 and for 5-bit codes up to K = 1,032.
    """
    return x.long() @ values.long().T


def quantize_dynamically(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ONNX's DynamicQuantizeLinear: the whole of x by one scale, onto 0 .. 255 with zero on a step.

    Returns:
        Steps in the shape of x, int32; the scale; the zero point, int32.
    """
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = torch.where(high > low, (high - low) / 255, torch.ones_like(high))
    zero = (-low / scale).round().clamp(0, 255)
    return ((x / scale).round() + zero).clamp(0, 255).int(), scale, zero.int()


class IntegerShiftLinear(nn.Module):
    """What a `ShiftLinear` of 4-bit codes becomes when it is exported in integer arithmetic.

    y = step * scale * 2^-6 * sum_k (q - zero) v + bias, for each term; the sum is exact.

    Args:
        layer: what it was.
        by_row: round each row of x by a step of its own (`quantize_rows`), not all of x by one.
    """

    def __init__(self, layer: ShiftLinear, by_row: bool = False) -> None:
        super().__init__()
        self.layer, self.by_row = layer, by_row

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., K] -> [..., N]."""
        if self.by_row:
            flat = quantize_rows(x.flatten(0, -2))
            steps, step = flat.values.int().reshape(x.shape), flat.scale.reshape(*x.shape[:-1], 1)
            zero = torch.zeros((), dtype=torch.int32)
        else:
            steps, step, zero = quantize_dynamically(x)
        y: torch.Tensor | float = 0.0
        for term in self.layer.packed():
            # float64 holds every partial sum, and its product is faster than int64's.
            total = (steps - zero).double() @ _values(term).double().T
            y = y + total.float() * (step * (term.scale * unit(term.bits)))
        assert isinstance(y, torch.Tensor)
        return y if self.layer.bias is None else y + self.layer.bias


def _values(term: PackedTerm) -> torch.Tensor:
    return unpack(Packed(term.nibbles, term.signs), term.in_features, term.bits)


def in_integers(model: nn.Module, by_row: bool = False) -> nn.Module:
    """Each `ShiftLinear` in integer arithmetic, in place: the reference of that export.

    By row, layers of 5-bit codes or of scales by group stay as they are: no kernel has them in integers.
    """

    def made(path: str, layer: nn.Module) -> nn.Module:
        assert isinstance(layer, ShiftLinear)
        odd = any(term.bits != 4 or term.group for term in layer.packed())
        return layer if by_row and odd else IntegerShiftLinear(layer, by_row)

    return replaced(model, lambda path, module: isinstance(module, ShiftLinear), made)
