"""A shift-linear layer's weight as a kernel takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paring_exporters.tvm.shift_codes import Bytes, Order, pad_outputs, reblock
from paring_runtimes.errors import InputError


@dataclass(frozen=True)
class KernelWeights:
    """The kernel's arguments `weight` uint8 [blocks, units, bytes], `scale` and `bias` fp32 [16 * blocks]."""

    weight: Bytes
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]


def kernel_weights(
    nibbles: Bytes,
    signs: Bytes | None,
    scale: NDArray[Any],
    bias: NDArray[Any] | None,
    in_features: int,
    order: Order,
) -> KernelWeights:
    """Re-block the canonical form of a power-of-two weight.

    Args:
        nibbles: uint8 [N, ceil(K/2)], element 2j in the low nibble of byte j.
        signs: uint8 [N, ceil(K/8)] for 5-bit codes, None for 4-bit ones, whose nibble holds the sign.
        scale: fp32 [1] or [N]: the weight is scale * v * 2^-6 (4 bits) or scale * v * 2^-14 (5 bits).
        bias: fp32 [N] or None.
        in_features: K.
        order: of the kernel's tile (`tile_for(...).order`).

    Raises:
        InputError: shapes do not fit, or the scale is one a group, which the kernels do not have.
    """
    outputs, values = len(nibbles), np.asarray(scale, np.float32)
    if values.size not in (1, outputs):
        raise InputError(
            f"scale: expected 1 or {outputs} values (a tensor's or a channel's), given {list(values.shape)};"
            " the kernels have no scales by group"
        )
    if bias is not None and np.shape(bias) != (outputs,):
        raise InputError(f"bias: expected [{outputs}], given {list(np.shape(bias))}")
    unit = np.float32(2.0 ** (-6 if signs is None else -14))
    return KernelWeights(
        reblock(nibbles, signs, in_features, order),
        pad_outputs(values * unit, outputs),
        pad_outputs(bias, outputs),
    )
