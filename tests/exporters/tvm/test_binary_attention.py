"""Binary attention as one kernel against float64: forms, sources, targets, head counts and odd sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paring_exporters.tvm.binary_attention import FORMS, SOURCES, AttentionShape, attention_function
from paring_exporters.tvm.binary_pack import pack_bits
from paring_exporters.tvm.build import build
from paring_exporters.tvm.matadd import matadd_function
from paring_exporters.tvm.target import host_target, portable_target
from paring_runtimes.errors import ExportError

TARGETS = {"host": host_target(2), "portable": portable_target(2)}
# The embedded ViT; odd sizes, batch 2; more words than one pass takes; less than one word of anything.
SHAPES = [(1, 3, 101, 32), (2, 2, 50, 20), (2, 1, 37, 96), (1, 1, 5, 7), (1, 2, 197, 64)]


def operands(shape: tuple[int, ...], source: str) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return the kernel's arguments before v, and the bits that they stand for."""
    rng = np.random.default_rng(sum(shape))
    q, k = (rng.standard_normal(shape, dtype=np.float32) for _ in "qk")
    q_threshold, k_threshold = (rng.normal(0, 0.3, shape[1]).astype(np.float32) for _ in "qk")
    bits = q > q_threshold[:, None, None], k > k_threshold[:, None, None]
    given = {
        "bool": list(bits),
        "uint8": [b.astype(np.uint8) for b in bits],
        "packed": [pack_bits(b) for b in bits],
        "float32": [q, k, q_threshold, k_threshold],
    }
    return given[source], bits[0].astype(np.float64), bits[1].astype(np.float64)


def reference(q: np.ndarray, k: np.ndarray, v: np.ndarray, normalise: bool = False) -> np.ndarray:
    out = 0.5 * v + q @ (k.swapaxes(-1, -2) @ v) / math.pi
    return out / np.linalg.norm(out, axis=-1, keepdims=True) if normalise else out


def run(
    shape: tuple[int, ...], inputs: list[np.ndarray], target: str, *options: str, **more: bool
) -> np.ndarray:
    function = attention_function(AttentionShape(*shape), *options, **more)
    library = build({"attention": function}, TARGETS[target])
    return library.call("attention", *inputs, output=(shape, "float32"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("form", FORMS)
def test_against_float64(shape: tuple[int, ...], source: str, form: str) -> None:
    given, q, k = operands(shape, source)
    v = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    for target in TARGETS if source == "bool" else ("host",):
        found = run(shape, [*given, v], target, form, source)
        expected = reference(q, k, v.astype(np.float64))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", FORMS)
def test_rows_of_length_one(shape: tuple[int, ...], form: str) -> None:
    given, q, k = operands(shape, "uint8")
    v = np.random.default_rng(2).standard_normal(shape, dtype=np.float32)
    v[0, 0, 0] = 0
    q[0, 0, 0], given[0][0, 0, 0] = 0, 0  # a row of zeros stays zero
    found = run(shape, [*given, v], "host", form, "uint8", normalise=True)
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(reference(q, k, v.astype(np.float64), normalise=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)
    assert (found[0, 0, 0] == 0).all()


Q, K = np.array([[1, 0], [0, 1], [1, 1]]), np.array([[1, 1], [0, 1], [1, 0]])
V = np.array([[1, 2], [3, -1], [0.5, 4]], np.float32)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("target", TARGETS)
def test_the_numbers_of_the_methods_check(form: str, target: str) -> None:
    function = matadd_function(2, 3, 2, TARGETS[target], method="table")
    inputs = pack_bits(K.T[None]), V[None]
    kv = build({"kv": function}, TARGETS[target]).call("kv", *inputs, output=((1, 2, 2), "float32"))
    np.testing.assert_array_equal(kv[0], [[1.5, 6], [4, 1]])
    given = [a[None, None].astype(np.uint8) for a in (Q, K)]
    found = run((1, 1, 3, 2), [*given, V[None, None]], target, form, "uint8")
    np.testing.assert_allclose(found[0, 0, 0], [0.977465, 2.909859], atol=1e-6)


def test_a_batch_is_its_samples() -> None:
    shape = (2, 3, 45, 32)
    given, *_ = operands(shape, "bool")
    v = np.random.default_rng(3).standard_normal(shape, dtype=np.float32)
    both = run(shape, [*given, v], "host")
    for i in range(2):
        one = run((1, *shape[1:]), [a[i : i + 1] for a in (*given, v)], "host")
        np.testing.assert_array_equal(both[i : i + 1], one)


def test_what_cannot_be_built_is_said() -> None:
    with pytest.raises(ExportError, match="form 'cubic' is none of linear, quadratic"):
        attention_function(AttentionShape(1, 1, 4, 4), "cubic")
    with pytest.raises(ExportError, match="source 'int4' is none of"):
        attention_function(AttentionShape(1, 1, 4, 4), source="int4")
    with pytest.raises(ExportError, match="must be positive"):
        AttentionShape(1, 0, 4, 4)
