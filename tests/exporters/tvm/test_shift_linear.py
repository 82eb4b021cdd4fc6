"""Shift-linear kernels against exact integers and float64, with and without the CPU's byte dot products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paring_exporters.tvm.build import Library, build, load
from paring_exporters.tvm.shift_codes import integers
from paring_exporters.tvm.shift_linear import shift_linear, tile_for
from paring_exporters.tvm.shift_problem import Schedule, ShiftShape
from paring_exporters.tvm.shift_weights import KernelWeights, kernel_weights
from paring_exporters.tvm.target import VNNI, has, host_target, portable_target
from paring_runtimes.errors import EngineError

TARGETS = {"host": host_target(2), "portable": portable_target(2), "one thread": portable_target(1)}
CASES = [
    (ShiftShape(1, 64, 16), Schedule(1, 1, 4)),
    (ShiftShape(1, 200, 33), Schedule(1, 1, 2)),
    (ShiftShape(7, 65, 48), Schedule(4, 1, 1, "rows")),
    (ShiftShape(16, 129, 64), Schedule(8, 2, 1)),
    (ShiftShape(16, 7, 5), Schedule(8, 1, 8)),
    (ShiftShape(197, 96, 32), Schedule(14, 1, 2, "rows")),
    (ShiftShape(197, 96, 32), Schedule(12, 2, 2)),
    (ShiftShape(1, 1, 1), Schedule(1, 1, 1)),
]


def planes(shape: ShiftShape, bits: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng(seed)
    outputs, inputs = shape.out_features, shape.in_features
    nibbles = rng.integers(0, 256, (outputs, -(-inputs // 2)), np.uint8)
    return nibbles, rng.integers(0, 256, (outputs, -(-inputs // 8)), np.uint8) if bits == 5 else None


def compiled(
    shape: ShiftShape, schedule: Schedule, target: Any, planes_: Any, scale: Any = 1, bias: Any = None
) -> tuple[Library, KernelWeights]:
    functions = {o: shift_linear(o, shape, schedule, target, o) for o in ("sums", "scaled")}
    order = tile_for(target, shape, schedule).order
    weights = kernel_weights(*planes_, np.asarray(scale), bias, shape.in_features, order)
    return build(functions, target), weights


def run(library: Library, output: str, x: np.ndarray, weights: KernelWeights, outputs: int) -> np.ndarray:
    shape = ((len(x), outputs), "int64" if output == "sums" else "float32")
    return library.call(output, x, weights.weight, weights.scale, weights.bias, output=shape)


def whole_numbers(shape: ShiftShape, seed: int = 1) -> np.ndarray:
    """Activations that quantise to themselves: the largest magnitude of a row is 127."""
    q = np.random.default_rng(seed).integers(-127, 128, (shape.rows, shape.in_features))
    q[:, 0] = 127
    return q


@pytest.mark.parametrize("target", ["host", "portable"])
@pytest.mark.parametrize("bits", [4, 5])
@pytest.mark.parametrize(("shape", "schedule"), CASES)
def test_sums_are_exact(shape: ShiftShape, schedule: Schedule, bits: int, target: str) -> None:
    if target == "portable" or bits == 5:  # as `candidates` does: fewer rows, for they compile for long
        schedule = Schedule(min(schedule.row_block, 4), 1, min(schedule.unroll, 2), schedule.split)
    shape = ShiftShape(shape.rows, shape.in_features, shape.out_features, bits)
    packed, q = planes(shape, bits), whole_numbers(shape)
    library, weights = compiled(shape, schedule, TARGETS[target], packed)
    exact = q.astype(np.int64) @ integers(*packed, shape.in_features).T
    found = run(library, "sums", q.astype(np.float32), weights, shape.out_features)
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("target", ["host", "portable"])
@pytest.mark.parametrize("bits", [4, 5])
def test_extreme_sums_are_exact(bits: int, target: str) -> None:
    shape = ShiftShape(2, 4096, 32, bits)
    packed = planes(shape, bits)
    for byte in (0xFF, 0x77, 0x00, 0x88):
        packed[0][:] = byte
        if packed[1] is not None:
            packed[1][:16], packed[1][16:] = 0xFF, 0
        q = np.full((2, 4096), 127)
        q[1] = -127
        library, weights = compiled(shape, Schedule(2, 1, 1), TARGETS[target], packed)
        exact = q.astype(np.int64) @ integers(*packed, 4096).T
        np.testing.assert_array_equal(run(library, "sums", q.astype(np.float32), weights, 32), exact)


@pytest.mark.parametrize("target", ["host", "portable"])
@pytest.mark.parametrize("bits", [4, 5])
def test_scaled_result_within_the_quantisation_bound(bits: int, target: str) -> None:
    """|error| <= half a step of the row * sum |w|, and what fp32 rounds."""
    rng, shape = np.random.default_rng(3), ShiftShape(7, 100, 37, bits)
    packed, x = planes(shape, bits), rng.standard_normal((7, 100)).astype(np.float32)
    x[3] = 0
    scale, bias = rng.random(37), rng.standard_normal(37)
    library, weights = compiled(shape, Schedule(4, 1, 1, "rows"), TARGETS[target], packed, scale, bias)
    found = run(library, "scaled", x, weights, 37)
    weight = scale[:, None] * integers(*packed, 100) * 2.0 ** (-6 if bits == 4 else -14)
    exact = x.astype(np.float64) @ weight.T + bias
    step = np.abs(x).max(axis=1, keepdims=True) / 127
    bound = step / 2 * np.abs(weight).sum(axis=1) + 1e-5 * (1 + np.abs(exact))
    assert (np.abs(found - exact) <= bound).all()
    assert np.abs(found - exact).max() > 0.01 * bound.max()  # the bound is not idle
    np.testing.assert_allclose(found[3], bias, rtol=1e-6)


def test_both_ways_give_the_same_numbers() -> None:
    shape = ShiftShape(5, 333, 50)
    packed = planes(shape, 4)
    x = np.random.default_rng(5).standard_normal((5, 333)).astype(np.float32)
    found = []
    for target in ("host", "portable", "one thread"):
        library, weights = compiled(shape, Schedule(4, 1, 1), TARGETS[target], packed, 0.5)
        found.append(run(library, "scaled", x, weights, 50))
    np.testing.assert_array_equal(found[1], found[2])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=1e-6)


def test_integer_check_of_the_methods() -> None:
    """x = [5, -5, 12] by powers of two: exact sums, not the release's floored shifts."""
    codes = np.array([[7, 8 | 6, 5], [8 | 5, 7, 8 | 4]])  # ±2^0, 2^-1, 2^-2 ..., times 64
    nibbles = np.stack([codes[:, 0] | codes[:, 1] << 4, codes[:, 2]], axis=1).astype(np.uint8)
    shape = ShiftShape(1, 3, 2)
    library, weights = compiled(shape, Schedule(1, 1, 1), TARGETS["host"], (nibbles, None))
    x = np.array([[5, -5, 12]], np.float32) * 127 / 12
    expected = [5 + 2.5 + 3, -1.25 - 5 - 1.5]
    found = run(library, "scaled", x, weights, 2)[0] * 12 / 127
    np.testing.assert_allclose(found, expected, atol=12 / 127 / 2 * 1.75)


def test_a_saved_library_computes_the_same(tmp_path: Path) -> None:
    shape = ShiftShape(2, 64, 16)
    packed, q = planes(shape, 4), whole_numbers(shape).astype(np.float32)
    library, weights = compiled(shape, Schedule(2, 1, 1), TARGETS["host"], packed)
    reopened = load(library.save(tmp_path / "kernels.so"))
    both = [run(one, "sums", q, weights, 16) for one in (library, reopened)]
    np.testing.assert_array_equal(*both)
    with pytest.raises(EngineError, match="no kernel"):
        reopened["absent"]


def test_the_host_uses_its_instructions() -> None:
    if not has(TARGETS["host"], *VNNI):
        pytest.skip("this CPU has no byte tables or no byte dot products")
    shape = ShiftShape(4, 64, 16)
    text = build(
        {"k": shift_linear("k", shape, Schedule(4, 1, 1), TARGETS["host"])}, TARGETS["host"]
    ).assembly()
    assert "vpdpbusd" in text
    assert "vpermb" in text
