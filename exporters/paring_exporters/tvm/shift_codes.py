"""Power-of-two codes as kernels read them: their integers, and the order of a weight's bytes.

A 4-bit code is sign << 3 | m, its integer v = ±2^(m-1), or 0 for m = 0: an int8. A 5-bit code has a 4-bit
m and a sign in a plane of its own, v = ±2^(m-1) up to 2^14, and is read as two int8, v = low + 256 high.

A kernel's *unit* is what it loads at once: 16 output features (lanes) by 8 input features of 4 bits in 64
bytes, or by 32 input features of 5 bits in four times 64 bytes of nibbles and 64 bytes of signs. 64 bytes
of nibbles hold two *registers* of 16 lanes by 4 input features, one in the low and one in the high nibbles.
The byte of lane c and input feature j stands at 4c + j for dot products of four bytes ("dot"), at 16j + c
for vectors of 16 lanes ("lanes"). Bit i of a byte of signs belongs to the unit's i-th register.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from paring.transforms._shift.codes import Packed
from paring.transforms._shift.codes import codes as unpacked
from paring_runtimes.errors import InputError

LANES = 16
REGISTER_BYTES = 64
Order = Literal["dot", "lanes"]
Bytes = NDArray[np.uint8]

_FOUR = np.array([0, *(1 << m for m in range(7))], np.int64)
_FIVE = np.array([0, *(1 << m for m in range(15))], np.int64)


def unit_features(bits: int) -> int:
    """How many input features a unit holds."""
    return 8 if bits == 4 else 32


def unit_bytes(bits: int) -> int:
    """How many bytes a unit has."""
    return REGISTER_BYTES if bits == 4 else 5 * REGISTER_BYTES


def values(bits: int) -> NDArray[np.int64]:
    """Return the integer of every code, sign above m: 16 of 4 bits, 32 of 5 bits."""
    positive = _FOUR if bits == 4 else _FIVE
    return np.concatenate([positive, -positive])


def split(integers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (low, high) with v = low + 256 high; low in -128..127, high in -64..64 for 5-bit codes."""
    low = (integers + 128) % 256 - 128
    return low, (integers - low) // 256


def codes(nibbles: Bytes, signs: Bytes | None, in_features: int) -> Bytes:
    """Return one code a byte, [N, K], from canonical nibbles [N, ceil(K/2)] and signs [N, ceil(K/8)].

    Raises:
        InputError: the planes are too narrow for `in_features`.
    """
    _check_width("nibbles", nibbles, -(-in_features // 2))
    if signs is not None:
        _check_width("signs", signs, -(-in_features // 8))
    planes = Packed(torch.tensor(nibbles), None if signs is None else torch.tensor(signs))
    return np.asarray(unpacked(planes, in_features))


def integers(nibbles: Bytes, signs: Bytes | None, in_features: int) -> NDArray[np.int64]:
    """Return the weights' integers v, [N, K], from the canonical form (4 bits without signs, 5 with)."""
    return values(4 if signs is None else 5)[codes(nibbles, signs, in_features)]


def reblock(nibbles: Bytes, signs: Bytes | None, in_features: int, order: Order) -> Bytes:
    """Return the units of a weight, [ceil(N/16), units, bytes of a unit]; padding is the code of 0."""
    bits = 4 if signs is None else 5
    found = codes(nibbles, signs, in_features)
    outputs, width = len(found), unit_features(bits)
    blocks, units = -(-outputs // LANES), -(-in_features // width)
    padded = np.zeros((blocks * LANES, units * width), np.uint8)
    padded[:outputs, :in_features] = found
    # [block, lane, unit, register, feature of the register]
    split_up = padded.reshape(blocks, LANES, units, width // 4, 4)
    axes = (0, 2, 3, 1, 4) if order == "dot" else (0, 2, 3, 4, 1)
    registers = split_up.transpose(axes).reshape(blocks, units, width // 4, REGISTER_BYTES)
    packed = registers[:, :, 0::2] & 15 | (registers[:, :, 1::2] & 15) << 4
    if bits == 5:
        bit = np.left_shift(registers >> 4, np.arange(8, dtype=np.uint8)[:, None])
        packed = np.concatenate([packed, bit.sum(axis=2, keepdims=True, dtype=np.uint8)], axis=2)
    return np.ascontiguousarray(packed.reshape(blocks, units, -1))


def pad_outputs(values_: NDArray[Any] | None, outputs: int) -> NDArray[np.float32]:
    """Return scale or bias, one value a lane of the kernel: repeated if it is one value, zeros if None."""
    padded = np.zeros(-(-outputs // LANES) * LANES, np.float32)
    if values_ is not None:
        padded[:outputs] = np.asarray(values_, np.float32).reshape(-1)
    return padded


def _check_width(name: str, plane: Bytes, width: int) -> None:
    if plane.ndim != 2 or plane.shape[1] != width:
        raise InputError(f"{name}: expected [out_features, {width}], given {list(plane.shape)}")
