"""Random inputs for a kernel of a kit, and what it must answer, in NumPy: integers or float64.

With u = 2^-24, a sum of n terms in fp32 is off by at most n u times the sum of the terms' sizes, whatever
its order. Where inputs are integers that keep every partial sum below 2^24, it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

U = 2.0**-24
SMALLEST_NORM = 1e-12
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """Inputs by name; the answer; and by how much an element may miss it: 0 where it must not."""

    inputs: Arrays
    expected: np.ndarray
    bound: np.ndarray

    def worst(self, found: np.ndarray) -> float:
        """The largest error in units of its bound; infinite where an element must be exact and is not."""
        error = np.abs(found.astype(np.float64) - self.expected)
        if np.isnan(error).any():
            return math.inf
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.where(error == 0, 0.0, error / self.bound).max())


def case(entry: dict[str, Any], exact: bool, seed: int = 0) -> Case:
    """A case for an entry of kit.json; `exact`: with integers, so that sums must be exact."""
    operation = entry["operation"]
    makers: dict[str, Callable[..., Case]] = {
        "scores": _scores, "matadd": _matadd, "attention": _attention,
        "shift": _shift, "shift_int8": _shift_int8,
    }  # fmt: skip
    shapes = {one["name"]: tuple(one["shape"]) for one in entry["parameters"]}
    dtypes = {one["name"]: one["dtype"] for one in entry["parameters"]}
    rng = np.random.default_rng([seed, int(exact)])
    return makers[operation["kind"]](operation, shapes, dtypes, rng, exact)


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """0 and 1 [..., size] -> words [..., ceil(size / 32)] uint32: element 32 w + i is bit i of word w."""
    count = -(-bits.shape[-1] // 32)
    padded = np.zeros((*bits.shape[:-1], count * 32), np.uint8)
    padded[..., : bits.shape[-1]] = bits
    return np.packbits(padded, axis=-1, bitorder="little").view("<u4").astype(np.uint32)


def _values(rng: np.random.Generator, shape: tuple[int, ...], exact: bool) -> np.ndarray:
    if exact:
        return rng.integers(-8, 9, shape).astype(np.float32)
    return rng.standard_normal(shape, dtype=np.float32)


def _scores(operation: Any, shapes: Any, dtypes: Any, rng: np.random.Generator, exact: bool) -> Case:
    q, k = (rng.integers(0, 2, (*shapes["q"][:-1], operation["dim"])).astype(np.uint8) for _ in "qk")
    expected = q.astype(np.float64) @ k.astype(np.float64).swapaxes(-1, -2)
    if operation["metric"] == "hamming":
        expected = q.sum(-1)[..., None] + k.sum(-1)[..., None, :] - 2 * expected
    return Case({"q": pack_bits(q), "k": pack_bits(k)}, expected, np.zeros_like(expected))


def _matadd(operation: Any, shapes: Any, dtypes: Any, rng: np.random.Generator, exact: bool) -> Case:
    inner = shapes["values"][-2]
    bits = rng.integers(0, 2, (*shapes["bits_in"][:-1], inner)).astype(np.float64)
    values = _values(rng, shapes["values"], exact)
    wide = values.astype(np.float64)
    bound = 0.0 * bits @ wide if exact else inner * U * (bits @ np.abs(wide))
    return Case({"bits_in": pack_bits(bits), "values": values}, bits @ wide, bound)


def _attention(operation: Any, shapes: Any, dtypes: Any, rng: np.random.Generator, exact: bool) -> Case:
    given, qb, kb = _queries_and_keys(shapes["v"], dtypes["q"], rng)
    v = _values(rng, shapes["v"], exact)
    wide, (*_, tokens, dim) = v.astype(np.float64), shapes["v"]

    def attended(values: np.ndarray) -> np.ndarray:
        return qb @ (kb.swapaxes(-1, -2) @ values) / math.pi

    out, size = 0.5 * wide + attended(wide), attended(np.abs(wide))
    # Four roundings after the sums: 1/pi itself, its product, the half's and the last addition.
    bound = (0 if exact else tokens + dim) * U * size + 4 * U * (0.5 * np.abs(wide) + size)
    if operation["normalise"]:
        norm = np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), SMALLEST_NORM)
        off = np.linalg.norm(bound, axis=-1, keepdims=True) + (dim + 4) * U * norm
        bound = (bound + np.abs(out) / norm * off) / norm + 2 * U
        out = out / norm
    return Case({**given, "v": v}, out, bound)


def _queries_and_keys(
    shape: tuple[int, ...], dtype: str, rng: np.random.Generator
) -> tuple[Arrays, np.ndarray, np.ndarray]:
    """What the kernel is given, and its bits as float64."""
    q, k = (rng.standard_normal(shape, dtype=np.float32) for _ in "qk")
    thresholds = [rng.normal(0, 0.3, shape[1]).astype(np.float32) for _ in "qk"]
    bits = [one > limit[:, None, None] for one, limit in zip((q, k), thresholds, strict=True)]
    given: Arrays = {"q": q, "k": k, "q_threshold": thresholds[0], "k_threshold": thresholds[1]}
    if dtype == "bool":
        given = dict(zip("qk", bits, strict=True))
    elif dtype == "uint32":
        given = dict(zip("qk", map(pack_bits, bits), strict=True))
    return given, bits[0].astype(np.float64), bits[1].astype(np.float64)


def _codes(
    rng: np.random.Generator, outputs: int, inner: int, bits: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nibbles, signs and the weight [out, in] float64 that they stand for: ±2^(m - top), or 0 for m = 0."""
    top = 7 if bits == 4 else 15
    m, negative = rng.integers(0, top + 1, (outputs, inner)), rng.integers(0, 2, (outputs, inner))
    nibble = m | negative << 3 if bits == 4 else m
    nibble = np.pad(nibble, ((0, 0), (0, inner % 2)))
    nibbles = (nibble[:, ::2] | nibble[:, 1::2] << 4).astype(np.uint8)
    signs = np.packbits(negative.astype(np.uint8), axis=-1, bitorder="little")
    return nibbles, signs, np.where(m == 0, 0.0, 2.0 ** (m - top)) * (1 - 2 * negative)


def _shift(operation: Any, shapes: Any, dtypes: Any, rng: np.random.Generator, exact: bool) -> Case:
    (rows, inner), (outputs,) = shapes["x"], shapes["scale"]
    nibbles, signs, weight = _codes(rng, outputs, inner, operation["bits"])
    x = rng.integers(-1, 2, (rows, inner)).astype(np.float32) if exact else _values(rng, (rows, inner), False)
    scale, bias = (
        np.full(outputs, fill, np.float32) if exact else _values(rng, (outputs,), False) for fill in (1, 0)
    )
    given = {"x": x, "nibbles": nibbles, "scale": scale, "bias": bias}
    if operation["bits"] == 5:
        given["signs"] = signs
    expected = x.astype(np.float64) @ weight.T * scale + bias
    size = np.abs(x).astype(np.float64) @ np.abs(weight).T * np.abs(scale) + np.abs(bias)
    # Exact while sums are below 2^24 of the smallest magnitude: 2^-14 for 5 bits, 2^-6 for 4.
    most = 2.0 ** (24 - (14 if operation["bits"] == 5 else 6))
    bound = 0.0 * size if exact and size.max() < most else (inner + 3) * U * size
    return Case(given, expected, bound)


def _shift_int8(operation: Any, shapes: Any, dtypes: Any, rng: np.random.Generator, exact: bool) -> Case:
    (rows, words), (outputs,) = shapes["x"], shapes["scale"]
    nibbles, _, weight = _codes(rng, outputs, 4 * words, 4)
    x = rng.integers(-127, 128, (rows, 4 * words)).astype(np.int8)
    sums = x.astype(np.float64) @ (64 * weight).T
    ones = [np.ones(count, np.float32) for count in (rows, outputs)]
    row_scale, scale = ones if exact else [np.abs(_values(rng, one.shape, False)) + 0.1 for one in ones]
    bias = np.zeros(outputs, np.float32) if exact else _values(rng, (outputs,), False)
    given = {"x": x.view(np.int32), "codes": nibbles.view(np.uint16), "row_scale": row_scale}
    product = sums * (row_scale[:, None].astype(np.float64) * scale)
    # The sum's rounding to fp32, the scales' product, the product and the addition.
    bound = 4 * U * (np.abs(product) + np.abs(bias))
    if exact and np.abs(sums).max() < 2**24:
        bound = np.zeros_like(sums)
    return Case({**given, "scale": scale, "bias": bias}, product + bias, bound)
