"""Power-of-two weight codes: rounding, packing and their inverses.

A code is a sign and a magnitude m of `bits - 1` bits. m = 0 is zero; m = 1 .. M is 2^(m - M), with
M = 2^(bits-1) - 1: 4 bits hold 2^-6 .. 2^0, 5 bits 2^-14 .. 2^0. As an integer a code is its value
v = +-2^(m-1) in units of 2^(1-M), and a weight is w = scale * v * 2^(1-M). Rounding is in the log domain
(DeepShift, https://arxiv.org/abs/1905.13298): the border between two neighbours is their geometric mean.

Packed, a matrix [N, K] is nibbles uint8 [N, ceil(K/2)], element 2j in the low half of byte j. With 4 bits a
nibble is sign << 3 | m. With 5 bits it is m, and a plane of signs uint8 [N, ceil(K/8)] holds element 8j + i
in bit i of byte j, 1 for negative.

Scales are fp32: [1] for the tensor, [N] a row, or [N, K / group] a group of neighbours in a row.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

BITS = (4, 5)
SQRT_HALF = math.sqrt(0.5)


class Packed(NamedTuple):
    """A matrix of codes in bytes. `signs` is None where the nibbles hold them (4 bits)."""

    nibbles: torch.Tensor
    signs: torch.Tensor | None


def magnitudes(bits: int) -> int:
    """M, the number of magnitudes besides zero: 7 or 15.

    Raises:
        ValueError: codes of so many bits do not exist.
    """
    if bits not in BITS:
        raise ValueError(f"bits: codes have 4 or 5 bits, not {bits}")
    return 2 ** (bits - 1) - 1


def unit(bits: int) -> float:
    """What an integer value of 1 stands for at scale 1: 2^-6 or 2^-14."""
    return 2.0 ** (1 - magnitudes(bits))


def encode(weight: torch.Tensor, scale: torch.Tensor, bits: int, flush: bool = False) -> torch.Tensor:
    """The nearest codes in the log domain: weight [N, K] -> integer values v [N, K] int16.

    Args:
        weight: of any floating dtype.
        scale: [1], [N] or [N, K / group].
        bits: 4 or 5.
        flush: send what is below half of the smallest magnitude to zero. Otherwise zero stands for exact
            zeros only, as in DeepShift, and smaller weights become the smallest magnitude.
    """
    most = magnitudes(bits)
    relative = weight.detach().double() / spread(scale, weight.shape[1]).double()
    fraction, exponent = torch.frexp(relative.abs())  # |w| = f * 2^e, f in [1/2, 1)
    power = exponent - 1 + (fraction >= SQRT_HALF).to(exponent.dtype)  # round(log2 |w|)
    m = (power + most).clamp(1, most)
    zero = relative.abs() < unit(bits) / 2 if flush else relative == 0
    value = torch.bitwise_left_shift(torch.ones_like(m), m - 1) * relative.sign().to(m.dtype)
    return torch.where(zero, torch.zeros_like(m), value).to(torch.int16)


def decode(values: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """Integer values [N, K] -> weights [N, K] in the dtype of `scale`."""
    return values.to(scale.dtype) * unit(bits) * spread(scale, values.shape[1])


def spread(scale: torch.Tensor, columns: int) -> torch.Tensor:
    """A scale in a shape that broadcasts over [N, columns]."""
    if scale.ndim == 2:
        return scale.repeat_interleave(columns // scale.shape[1], dim=1)
    return scale.reshape(-1, 1)


def pack(values: torch.Tensor, bits: int) -> Packed:
    """Integer values [N, K] -> bytes."""
    _, m = torch.frexp(values.abs().float())  # 2^(m-1) = 1/2 * 2^m; zero has exponent 0
    negative = (values < 0).to(torch.uint8)
    nibble = m.to(torch.uint8)
    if magnitudes(bits) == 7:
        return Packed(_gathered(nibble | negative << 3, 4), None)
    return Packed(_gathered(nibble, 4), _gathered(negative, 1))


def unpack(packed: Packed, columns: int, bits: int) -> torch.Tensor:
    """Bytes -> integer values [N, columns] int16. A zero with a sign bit is zero."""
    code, most = codes(packed, columns), magnitudes(bits)
    value = torch.bitwise_left_shift(torch.ones_like(code, dtype=torch.int32), (code & most).int()) >> 1
    return torch.where(code > most, -value, value).to(torch.int16)


def codes(packed: Packed, columns: int) -> torch.Tensor:
    """Bytes -> one code a byte, [N, columns] uint8: the magnitude m, and above its bits the sign."""
    nibble = _split(packed.nibbles, 4, columns)
    return nibble if packed.signs is None else nibble | _split(packed.signs, 1, columns) << 4


def _gathered(fields: torch.Tensor, width: int) -> torch.Tensor:
    """Fields of `width` bits [N, K] uint8 -> bytes [N, ceil(K * width / 8)], the first in the lowest bits."""
    rows, columns = fields.shape
    count = 8 // width
    missing = -columns % count
    fields = torch.nn.functional.pad(fields, (0, missing)).reshape(rows, -1, count)
    shifts = torch.arange(0, 8, width, device=fields.device)
    return (fields.int() << shifts).sum(2).to(torch.uint8)


def _split(data: torch.Tensor, width: int, columns: int) -> torch.Tensor:
    """Bytes [N, B] -> fields of `width` bits [N, columns] uint8."""
    shifts = torch.arange(0, 8, width, device=data.device)
    fields = (data.int()[..., None] >> shifts) & (2**width - 1)
    return fields.flatten(1)[:, :columns].to(torch.uint8)
