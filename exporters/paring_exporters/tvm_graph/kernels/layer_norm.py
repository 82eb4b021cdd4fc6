"""Layer normalisation over the last dimension, a row at a time: the mean, then the variance about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paring_exporters.tvm.shift_codes import LANES
from paring_exporters.tvm.tir import T, function, lanes, local, store

from .rows import rows_of
from .vectors import fma, loaded, shared, splat, total


@dataclass(frozen=True)
class LayerNorm:
    """Extents [batch, *middle, width]; batch is None where it stays open."""

    middle: tuple[int, ...]
    width: int
    epsilon: float
    batch: int | None = None


def layer_norm(name: str, norm: LayerNorm, threads: int) -> Any:
    """Return the PrimFunc: x, weight [width], bias [width], y."""

    def emit() -> None:
        rows = rows_of(norm.batch, norm.middle)
        x = rows.argument("x", norm.width)
        weight, bias = (T.arg(name, T.buffer((norm.width,), "float32")) for name in ("weight", "bias"))
        y = rows.argument("y", norm.width)
        x, y = rows.seen(x), rows.seen(y)
        shared(rows.count, threads, lambda row: _row(norm, x, weight, bias, y, row))

    return function(name, emit)


def _row(norm: LayerNorm, x: Any, weight: Any, bias: Any, y: Any, row: Any) -> None:
    full, rest = divmod(norm.width, LANES)
    share = T.float32(1.0 / norm.width)
    mean = T.Bind(_sum(norm.width, lambda k, one: one(x, row, k)) * share)

    def square(k: Any, one: Callable[..., Any]) -> Any:
        gap = one(x, row, k) - (splat(mean) if one is loaded else mean)
        gap = T.Bind(gap)
        return gap * gap

    variance = T.Bind(_sum(norm.width, square) * share)
    factor = T.Bind(T.float32(1.0) / T.sqrt(variance + T.float32(norm.epsilon)))
    if full:
        with T.serial(0, full) as block:
            at = lanes(block * LANES, LANES)
            scaled = (loaded(x, row, block * LANES) - splat(mean)) * splat(factor)
            store(y, fma(scaled, weight[at], bias[at]), row, at)
    if rest:
        with T.serial(full * LANES, norm.width) as k:
            store(y, (x[row, k] - mean) * factor * weight[k] + bias[k], row, k)


def _sum(width: int, term: Callable[[Any, Callable[..., Any]], Any]) -> Any:
    """Add a term over a row: by vectors, and what is left by numbers."""
    full, rest = divmod(width, LANES)
    sums, single = local((LANES,), "float32"), local((1,), "float32")
    whole = lanes(0, LANES)
    store(sums, splat(0.0), whole)
    store(single, T.float32(0.0), 0)
    if full:
        with T.serial(0, full) as block:
            store(sums, sums[whole] + term(block * LANES, loaded), whole)
    if rest:
        with T.serial(full * LANES, width) as k:
            store(single, single[0] + term(k, _number), 0)
    return total(T.Bind(sums[whole])) + single[0]


def _number(buffer: Any, row: Any, column: Any) -> Any:
    return buffer[row, column]
