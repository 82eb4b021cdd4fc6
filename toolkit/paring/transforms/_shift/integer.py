"""Shift layers in integer arithmetic: what a kernel that shifts, or multiplies by powers of two, computes.

ShiftAddViT (https://arxiv.org/abs/2306.06446) shifts the activations right, which floors; shift-linear
kernels of paring multiply int8 activations by the codes' integer values, which is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


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
