"""Shift-linear on CUDA: power-of-two codes in their canonical packing, decoded in registers.

- `shift_float`: a code becomes the bits of an fp32 power of two, exponent and sign put in place, and the
  sum is of fused multiply-adds; 4 and 5 bits.
- `shift_dot`: int8 activations, four codes a byte permutation (`__byte_perm`), four products an
  instruction (`__dp4a`), exact in int32; 4 bits.
"""

from __future__ import annotations

from typing import Any

from tvm import te, tirx

POSITIVE = (0x04020100, 0x40201008)  # 0, 1, 2, 4 and 8, 16, 32, 64: a byte each
NEGATIVE = (0xFCFEFF00, 0xC0E0F0F8)  # the same, negated
SIGN_BYTES = 0x0000FF00  # byte 0 of a positive code, byte 1 of a negative one


def shift_float(rows: int, in_features: int, out_features: int, bits: int) -> tuple[list[Any], Any]:
    """Define y [rows, out] = scale [out] * x [rows, in] @ decoded weight^T + bias [out], all fp32.

    The weight is nibbles [out, ceil(in / 2)] uint8 and, for 5 bits, signs [out, ceil(in / 8)] uint8. The
    decoded weight of magnitude code m is 2^(m - 7), or 2^(m - 15) for 5 bits.
    """
    x = te.placeholder((rows, in_features), "float32", name="x")
    nibbles = te.placeholder((out_features, -(-in_features // 2)), "uint8", name="nibbles")
    signs = te.placeholder((out_features, -(-in_features // 8)), "uint8", name="signs")
    weight = te.compute(
        (out_features, in_features),
        lambda n, k: _decode(nibbles, signs, n, k, bits),
        name="weight",
    )
    k = te.reduce_axis((0, in_features), name="k")
    sums = te.compute((rows, out_features), lambda m, n: te.sum(x[m, k] * weight[n, k], axis=k), name="sums")
    scale, bias = (te.placeholder((out_features,), "float32", name=name) for name in ("scale", "bias"))
    y = te.compute((rows, out_features), lambda m, n: sums[m, n] * scale[n] + bias[n], name="y")
    return [x, nibbles, *([signs] if bits == 5 else []), scale, bias], y


def shift_dot(rows: int, in_features: int, out_features: int) -> tuple[list[Any], Any]:
    """Define y = row_scale [rows] * scale [out] * sums + bias [out], the sums exact in int32; 4 bits.

    x is [rows, in / 4] int32, four int8 activations each; codes is [out, in / 4] uint16, four nibbles each:
    the canonical bytes, two at a time. `scale` is the code's scale times 2^-6, `in_features` a multiple of 4.
    """
    count = in_features // 4
    x = te.placeholder((rows, count), "int32", name="x")
    codes = te.placeholder((out_features, count), "uint16", name="codes")
    decoded = te.compute((out_features, count), lambda n, w: _four_bytes(codes[n, w]), name="weight")
    w = te.reduce_axis((0, count), name="w")
    sums = te.compute(
        (rows, out_features),
        lambda m, n: te.sum(_pure("int32", "__dp4a", x[m, w], decoded[n, w], tirx.const(0, "int32")), axis=w),
        name="sums",
    )
    row_scale = te.placeholder((rows,), "float32", name="row_scale")
    scale, bias = (te.placeholder((out_features,), "float32", name=name) for name in ("scale", "bias"))
    y = te.compute(
        (rows, out_features),
        lambda m, n: tirx.Cast("float32", sums[m, n]) * (row_scale[m] * scale[n]) + bias[n],
        name="y",
    )
    return [x, codes, row_scale, scale, bias], y


def _decode(nibbles: Any, signs: Any, n: Any, k: Any, bits: int) -> Any:
    """The fp32 value of one code."""
    byte = tirx.Cast("uint32", nibbles[n, k // 2])
    nibble = _masked(tirx.shift_right(byte, tirx.Cast("uint32", k % 2 * 4)), 15)
    if bits == 4:
        m, negative, below = _masked(nibble, 7), tirx.shift_right(nibble, _word(3)), 7
    else:
        plane = tirx.Cast("uint32", signs[n, k // 8])
        m, negative, below = nibble, _masked(tirx.shift_right(plane, tirx.Cast("uint32", k % 8)), 1), 15
    exponent = tirx.shift_left(m + _word(127 - below), _word(23))
    number = tirx.bitwise_or(exponent, tirx.shift_left(negative, _word(31)))
    return tirx.reinterpret("float32", tirx.Select(m == _word(0), _word(0), number))


def _four_bytes(codes: Any) -> Any:
    """Four signed bytes, as one int32, of four codes of 4 bits."""
    word = tirx.Cast("uint32", codes)
    magnitudes = _masked(word, 0x7777)
    positive = _permute(*POSITIVE, magnitudes)
    negative = _permute(*NEGATIVE, magnitudes)
    mask = _permute(SIGN_BYTES, 0, _masked(tirx.shift_right(word, _word(3)), 0x1111))
    chosen = tirx.bitwise_xor(positive, tirx.bitwise_and(tirx.bitwise_xor(positive, negative), mask))
    return tirx.reinterpret("int32", chosen)


def _permute(low: int, high: int, selector: Any) -> Any:
    return _pure("uint32", "__byte_perm", _word(low), _word(high), selector)


def _pure(dtype: str, name: str, *arguments: Any) -> Any:
    return tirx.call_pure_extern(dtype, name, *arguments)


def _masked(value: Any, mask: int) -> Any:
    return tirx.bitwise_and(value, _word(mask))


def _word(value: int) -> Any:
    return tirx.const(value, "uint32")
