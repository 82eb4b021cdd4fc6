"""Vectors of 16 lanes, and the functions of one variable that LLVM would otherwise call a lane at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paring_exporters.tvm.shift_codes import LANES
from paring_exporters.tvm.tir import T, lanes, local, pure, store

VECTOR = f"float32x{LANES}"
# exp(x) = 2^n exp(r), |r| <= ln(2) / 2; the polynomial is Cephes' (expf), good to 2 units in the last place.
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.44269504088896341, 0.693359375, -2.12194440e-4
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_SMALLEST, _LARGEST = -87.0, 88.0
# Added to a float32 below 2^22 in magnitude, it leaves the rounded integer in the low bits: 1.5 * 2^23.
_ROUNDER = 12_582_912.0
# erf(x) ~ x P(x^2) / Q(x^2) on |x| <= 4, beyond which it is 1 in fp32: a minimax fit, Eigen's.
_ERF_P = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
_ERF_Q = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip


def splat(value: Any) -> Any:
    """A number, or a scalar expression, in every lane."""
    return T.broadcast(T.float32(value) if isinstance(value, (int, float)) else value, LANES)


def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c, in one instruction where the CPU has it."""
    return pure(VECTOR, "llvm.fmuladd", a, b, c)


def total(vector: Any) -> Any:
    """The sum of the lanes, by halves: LLVM would add them one after the other."""
    for width in (8, 4, 2):
        kind = f"float32x{width}"
        vector = T.Bind(T.vectorlow(kind, vector) + T.vectorhigh(kind, vector))
    pair = local((2,), "float32")
    store(pair, vector, lanes(0, 2))
    return pair[0] + pair[1]


def exponential(x: Any) -> Any:
    """e^x of each lane; 0 below -87."""
    x = T.Bind(T.min(T.max(x, splat(_SMALLEST)), splat(_LARGEST)))
    shifted = T.Bind(fma(x, splat(_LOG2_E), splat(_ROUNDER)))
    whole = T.Bind(shifted - splat(_ROUNDER))
    rest = T.Bind(fma(whole, splat(-_LN2_LOW), fma(whole, splat(-_LN2_HIGH), x)))
    found = _polynomial(rest, _EXP)
    found = T.Bind(fma(found, rest * rest, rest + splat(1.0)))
    # The rounded integer stands in the low bits of `shifted`: moved to where a float32's exponent is.
    exponent = T.reinterpret(f"int32x{LANES}", shifted) << T.broadcast(T.int32(23), LANES)
    bits = T.reinterpret(f"int32x{LANES}", found) + exponent
    return T.Bind(T.reinterpret(VECTOR, bits))


def error_function(x: Any) -> Any:
    """erf(x) of each lane."""
    x = T.Bind(T.min(T.max(x, splat(-4.0)), splat(4.0)))
    square = T.Bind(x * x)
    return T.Bind(x * _polynomial(square, _ERF_P) / _polynomial(square, _ERF_Q))


def gelu(x: Any) -> Any:
    """x (1 + erf(x / sqrt 2)) / 2."""
    x = T.Bind(x)
    return T.Bind(splat(0.5) * x * (splat(1.0) + error_function(x * splat(0.7071067811865476))))


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    return splat(1.0) / (splat(1.0) + exponential(splat(0.0) - x))


def _polynomial(x: Any, coefficients: tuple[float, ...]) -> Any:
    found = splat(coefficients[0])
    for number in coefficients[1:]:
        found = T.Bind(fma(found, x, splat(number)))
    return found


def loaded(buffer: Any, row: Any, column: Any) -> Any:
    """16 neighbours of a row."""
    return buffer[row, lanes(column, LANES)]


def tail_of(buffer: Any, row: Any, column: Any, count: int, fill: float = 0.0) -> Any:
    """The last `count` of a row, then `fill`, as one vector."""
    kept = local((LANES,), "float32")
    store(kept, splat(fill), lanes(0, LANES))
    with T.serial(0, count) as lane:
        store(kept, buffer[row, column + lane], lane)
    return kept[lanes(0, LANES)]


def store_some(buffer: Any, value: Any, row: Any, column: Any, count: int) -> None:
    """Store the first `count` lanes."""
    if count == LANES:
        store(buffer, value, row, lanes(column, LANES))
        return
    kept = local((LANES,), "float32")
    store(kept, value, lanes(0, LANES))
    with T.serial(0, count) as lane:
        store(buffer, kept[lane], row, column + lane)


def shared(count: Any, threads: int, emit: Callable[[Any], None]) -> None:
    """A parallel loop of `threads` shares over `count` items, neighbours together; `count` may be open."""
    each = (count + (threads - 1)) // threads
    with T.parallel(0, threads) as thread, T.serial(0, each) as step:
        item = T.Bind(thread * each + step)
        with T.If(item < count), T.Then():
            emit(item)
