"""Scores of packed words are exact integers, on any target and at any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from paring_exporters.tvm.binary_pack import pack_bits
from paring_exporters.tvm.build import build
from paring_exporters.tvm.popcount import KINDS, scores_function
from paring_exporters.tvm.target import POPCOUNT, has, host_target, portable_target
from paring_runtimes.errors import ExportError

TARGETS = {"host": host_target(2), "portable": portable_target(2)}
SIZES = [(3, 101, 32, 1), (2, 37, 70, 2), (1, 16, 1, 1), (2, 64, 64, 1)]  # heads, tokens, dim, batch


def expected(q: np.ndarray, k: np.ndarray, kind: str) -> np.ndarray:
    overlap = q @ k.swapaxes(-1, -2)
    return overlap if kind == "overlap" else q.sum(-1)[..., None] + k.sum(-1)[..., None, :] - 2 * overlap


def run(
    size: tuple[int, int, int, int], q: np.ndarray, k: np.ndarray, target: Any, **options: str
) -> np.ndarray:
    heads, tokens, dim, batch = size
    library = build({"scores": scores_function(heads, tokens, dim, batch, **options)}, target)
    shape = (batch, heads, tokens, tokens)
    return library.call("scores", pack_bits(q), pack_bits(k), output=(shape, options.get("dtype", "int32")))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", TARGETS)
def test_random_all_ones_and_zeros(size: tuple[int, int, int, int], kind: str, target: str) -> None:
    heads, tokens, dim, batch = size
    rng = np.random.default_rng(0)
    mixed, other = (rng.integers(0, 2, (batch, heads, tokens, dim)) for _ in range(2))
    ones, zeros = np.ones_like(mixed), np.zeros_like(mixed)
    for q, k in ((mixed, other), (ones, ones), (zeros, ones), (zeros, zeros), (mixed, mixed)):
        found = run(size, q, k, TARGETS[target], kind=kind)
        np.testing.assert_array_equal(found, expected(q, k, kind))


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
def test_scores_of_other_dtypes(dtype: str) -> None:
    q, k = (np.random.default_rng(seed).integers(0, 2, (1, 1, 33, 255)) for seed in (0, 1))
    found = run((1, 33, 255, 1), q, k, TARGETS["host"], dtype=dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected(q, k, "overlap"))


def test_a_target_with_the_instruction_gets_it() -> None:
    target = TARGETS["host"]
    if not has(target, *POPCOUNT):
        pytest.skip("this CPU has no VPOPCNTDQ")
    function = {"scores": scores_function(1, 64, 64)}
    assert "vpopcnt" in build(function, target).assembly()
    assert "vpopcnt" not in build(function, TARGETS["portable"]).assembly()


def test_what_cannot_be_scored_is_said() -> None:
    with pytest.raises(ExportError, match="kind 'cosine' is none of overlap, hamming"):
        scores_function(1, 4, 4, kind="cosine")
    with pytest.raises(ExportError, match=r"'uint8' .* holds 256"):
        scores_function(1, 4, 256, dtype="uint8")
    with pytest.raises(ExportError, match="4096 bits"):
        scores_function(1, 4, 4096)
