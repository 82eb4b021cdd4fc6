"""CUDA source: what it computes, by an emulator on the CPU, and what `nvcc` makes of it. No GPU is used."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paring_exporters.tvm.binary_attention import AttentionShape
from paring_exporters.tvm.binary_pack import pack_bits
from paring_exporters.tvm.build import build
from paring_exporters.tvm.cuda import (
    ARCHITECTURES,
    attention,
    compile_report,
    compile_source,
    cuda_functions,
    cuda_source,
    find_nvcc,
    parse_report,
)
from paring_exporters.tvm.target import portable_target
from paring_runtimes.errors import ExportError

sys.path.insert(0, str(Path(__file__).parent))
import cuda_emulator
from test_binary_attention import operands, reference

needs_nvcc = pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not installed")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
ROWS, IN_FEATURES, OUT_FEATURES = 5, 44, 21
SHAPE = (2, 2, 37, 20)


@pytest.fixture(scope="module")
def functions() -> dict[str, Any]:
    return cuda_functions(AttentionShape(*SHAPE), ROWS, IN_FEATURES, OUT_FEATURES)


def emulate(function: Any, buffers: dict[str, np.ndarray], folder: Path) -> None:
    cuda_emulator.run(function, cuda_source(function, "sm_90"), buffers, folder)


@needs_compiler
@pytest.mark.parametrize(
    ("form", "source", "normalise"),
    [("linear", "bool", False), ("linear", "float32", True), ("quadratic", "packed", False)],
)
def test_attention(form: str, source: str, normalise: bool, tmp_path: Path) -> None:
    given, q, k = operands(SHAPE, source)
    v = np.random.default_rng(4).standard_normal(SHAPE, dtype=np.float32)
    names = ("q", "k", "q_threshold", "k_threshold")
    out = np.full(SHAPE, np.nan, np.float32)
    buffers = {**dict(zip(names, given, strict=False)), "v": v, "out": out}
    emulate(attention(AttentionShape(*SHAPE), form, source, normalise), buffers, tmp_path)
    np.testing.assert_allclose(out, reference(q, k, v.astype(np.float64), normalise), rtol=1e-5, atol=1e-5)


@needs_compiler
def test_scores_and_matadd(functions: dict[str, Any], tmp_path: Path) -> None:
    packed, q, k = operands(SHAPE, "packed")
    overlap = q @ k.swapaxes(-1, -2)
    hamming = q.sum(-1)[..., None] + k.sum(-1)[..., None, :] - 2 * overlap
    for name, expected in (("overlap", overlap), ("Hamming", hamming)):
        scores = np.full(overlap.shape, -1, np.int32)
        buffers = {"q": packed[0], "k": packed[1], "scores": scores}
        emulate(functions[f"popcount scores, {name}"], buffers, tmp_path)
        np.testing.assert_array_equal(scores, expected)
    values = np.random.default_rng(0).integers(-9, 9, (4, 20, 20)).astype(np.float32)
    bits = q.reshape(4, 37, 20)
    out = np.full((4, 37, 20), np.nan, np.float32)
    emulate(functions["MatAdd"], {"bits_in": pack_bits(bits), "values": values, "matadd": out}, tmp_path)
    np.testing.assert_array_equal(out, bits @ values)


def weights(bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return nibbles, signs and the fp64 weight [out, in]: sign and m by element, 2^(m - top) or 0."""
    rng = np.random.default_rng(bits)
    top = 7 if bits == 4 else 15
    m = rng.integers(0, top + 1, (OUT_FEATURES, IN_FEATURES))
    negative = rng.integers(0, 2, m.shape)
    nibble = m | negative << 3 if bits == 4 else m
    nibbles = (nibble[:, ::2] | nibble[:, 1::2] << 4).astype(np.uint8)
    signs = np.packbits(negative.astype(np.uint8), axis=-1, bitorder="little")
    return nibbles, signs, np.where(m == 0, 0.0, 2.0 ** (m - top)) * (1 - 2 * negative)


@needs_compiler
@pytest.mark.parametrize("bits", [4, 5])
def test_shift_linear_of_fp32(functions: dict[str, Any], bits: int, tmp_path: Path) -> None:
    nibbles, signs, weight = weights(bits)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, IN_FEATURES), dtype=np.float32)
    scale, bias = (rng.standard_normal(OUT_FEATURES, dtype=np.float32) for _ in range(2))
    y = np.full((ROWS, OUT_FEATURES), np.nan, np.float32)
    buffers = {"x": x, "nibbles": nibbles, "signs": signs, "scale": scale, "bias": bias, "y": y}
    emulate(functions[f"shift-linear {bits} bit, fp32"], buffers, tmp_path)
    np.testing.assert_allclose(y, scale * (x @ weight.T) + bias, rtol=1e-5, atol=1e-5)


@needs_compiler
def test_shift_linear_of_int8_is_exact(functions: dict[str, Any], tmp_path: Path) -> None:
    nibbles, _, weight = weights(4)
    x = np.random.default_rng(0).integers(-127, 128, (ROWS, IN_FEATURES)).astype(np.int8)
    ones, zeros = np.ones(OUT_FEATURES, np.float32), np.zeros(OUT_FEATURES, np.float32)
    y = np.full((ROWS, OUT_FEATURES), np.nan, np.float32)
    rows = {"x": x.view(np.int32), "codes": nibbles.view(np.uint16), "row_scale": np.ones(ROWS, np.float32)}
    emulate(functions["shift-linear 4 bit, int8"], {**rows, "scale": ones, "bias": zeros, "y": y}, tmp_path)
    np.testing.assert_array_equal(y, x.astype(np.int64) @ (weight * 64).T)


@needs_nvcc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_takes_every_kernel_and_nothing_spills(functions: dict[str, Any], architecture: str) -> None:
    report = compile_report(functions, architecture)
    assert report.keys() == functions.keys()
    for uses in report.values():
        assert uses
        for use in uses:
            assert use.architecture == architecture
            assert 0 < use.registers < 128
            assert use.spill_store_bytes == use.spill_load_bytes == 0
    assert report["MatAdd"][0].shared_bytes > 0
    assert "__popc(" in cuda_source(functions["popcount scores, overlap"], architecture)
    assert "__dp4a(" in cuda_source(functions["shift-linear 4 bit, int8"], architecture)


@needs_nvcc
def test_a_source_that_nvcc_refuses() -> None:
    with pytest.raises(ExportError, match="nvcc refused a kernel for sm_80"):
        compile_source("__global__ void broken() { return 1 }", "sm_80")


def test_without_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paring_exporters.tvm.cuda.find_nvcc", lambda: None)
    with pytest.raises(ExportError, match="no nvcc"):
        compile_source("", "sm_80")


REPORT = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'second' for 'sm_80'
ptxas info    : Function properties for second
    24 bytes stack frame, 20 bytes spill stores, 36 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 8192 bytes smem, 388 bytes cmem[0]
ptxas info    : Compiling entry function 'first' for 'sm_80'
ptxas info    : Function properties for first
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 16 registers, used 0 barriers
"""


def test_what_ptxas_prints_is_read() -> None:
    first, second = parse_report(REPORT)
    assert (first.kernel, first.registers, first.shared_bytes, first.spill_store_bytes) == ("first", 16, 0, 0)
    assert (second.registers, second.shared_bytes, second.stack_bytes) == (255, 8192, 24)
    assert (second.spill_store_bytes, second.spill_load_bytes) == (20, 36)


def test_a_function_for_cpus_is_refused_by_cuda(functions: dict[str, Any]) -> None:
    with pytest.raises(ExportError):
        build({"bound": functions["MatAdd"]}, portable_target(1))
