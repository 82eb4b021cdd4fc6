"""MatAdd against float64: every method, both targets, sizes that divide nothing."""

from __future__ import annotations

import numpy as np
import pytest

from paring_exporters.tvm.binary_pack import pack_bits
from paring_exporters.tvm.build import build
from paring_exporters.tvm.matadd import METHODS, matadd_function
from paring_exporters.tvm.target import host_target, portable_target
from paring_runtimes.errors import ExportError

TARGETS = {"host": host_target(2), "portable": portable_target(2), "one thread": portable_target(1)}
SIZES = [(3, 2, 2, 1), (197, 64, 64, 2), (33, 40, 20, 2), (7, 97, 5, 1), (64, 130, 96, 1)]  # M, K, N, batch


def run(bits: np.ndarray, values: np.ndarray, target: str, method: str) -> np.ndarray:
    batch, rows, inner = bits.shape
    columns = values.shape[-1]
    function = matadd_function(rows, inner, columns, TARGETS[target], batch, method)
    output = ((batch, rows, columns), "float32")
    return build({"matadd": function}, TARGETS[target]).call("matadd", pack_bits(bits), values, output=output)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", [*METHODS, ""])
@pytest.mark.parametrize("target", TARGETS)
def test_against_float64(size: tuple[int, int, int, int], method: str, target: str) -> None:
    rows, inner, columns, batch = size
    rng = np.random.default_rng(rows)
    bits = rng.integers(0, 2, (batch, rows, inner))
    bits[0, 0], bits[-1, -1] = 0, 1
    values = rng.standard_normal((batch, inner, columns), dtype=np.float32)
    found = run(bits, values, target, method)
    # Each of up to K additions rounds by at most 2^-24 of the sum of absolute values.
    bound = bits @ np.abs(values.astype(np.float64)) * inner * 2.0**-24
    assert (np.abs(found - bits @ values.astype(np.float64)) <= bound).all()
    assert (found[0, 0] == 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_integers_are_exact(method: str) -> None:
    rng = np.random.default_rng(0)
    bits, values = rng.integers(0, 2, (1, 50, 70)), rng.integers(-1000, 1000, (1, 70, 16))
    np.testing.assert_array_equal(run(bits, values.astype(np.float32), "host", method), bits @ values)


def test_an_unknown_method_is_said() -> None:
    with pytest.raises(ExportError, match="method 'magic' is none of table, select, multiply"):
        matadd_function(4, 4, 4, TARGETS["host"], method="magic")
