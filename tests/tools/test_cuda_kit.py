"""A kit for GPUs, run here by the CPU's emulator of CUDA: its facts are enough, its references are right."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm")

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tools" / "check"), str(ROOT / "tests" / "exporters" / "tvm")]
cuda_emulator, cuda_kit, cuda_references, run_cuda_kernels = (
    importlib.import_module(name)
    for name in ("cuda_emulator", "cuda_kit", "cuda_references", "run_cuda_kernels")
)
cuda = importlib.import_module("paring_exporters.tvm.cuda")
AttentionShape = importlib.import_module("paring_exporters.tvm.binary_attention").AttentionShape

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
POINT = (AttentionShape(2, 2, 37, 20), 5, 44)


@pytest.fixture(scope="module")
def functions() -> dict[str, Any]:
    shape, rows, features = POINT
    found: dict[str, Any] = cuda.cuda_functions(shape, rows, features, features)
    return found


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kit")
    assert cuda_kit.write_kit(folder, [POINT]) == len(cuda_kit.OPERATIONS)
    return folder


def entries(kit: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((kit / "kit.json").read_text())["kernels"]
    return found


def test_the_facts_are_whole(kit: Path, functions: dict[str, Any]) -> None:
    assert [entry["name"] for entry in entries(kit)] == list(functions)
    for entry in entries(kit):
        assert (kit / entry["file"]).read_text().count("__launch_bounds__") == 2 * len(entry["launches"])
        given = cuda_references.case(entry, exact=True).inputs
        *inputs, output = entry["parameters"]
        assert {one["name"]: (one["shape"], one["dtype"]) for one in inputs} == {
            name: (list(array.shape), str(array.dtype)) for name, array in given.items()
        }
        assert output["name"] in entry["launches"][-1]["arguments"]


@needs_compiler
@pytest.mark.parametrize("index", [0, 4, 7, 8])
def test_the_references_are_what_the_kernels_compute(
    kit: Path, functions: dict[str, Any], index: int, tmp_path: Path
) -> None:
    entry = entries(kit)[index]
    output = entry["parameters"][-1]
    source = (kit / entry["file"]).read_text()
    for exact in (True, False):
        given = cuda_references.case(entry, exact)
        found = np.full(output["shape"], 255, output["dtype"])
        buffers = {**{n: np.ascontiguousarray(a) for n, a in given.inputs.items()}, output["name"]: found}
        cuda_emulator.run(functions[entry["name"]], source, buffers, tmp_path)
        assert given.worst(found) <= 1
        found.flat[3] += 1
        assert given.worst(found) > 1
    assert given.worst(np.full(output["shape"], np.nan)) == np.inf


@pytest.mark.skipif(cuda.find_nvcc() is None, reason="nvcc is not installed")
def test_a_kit_compiles_and_says_what_does_not(kit: Path, tmp_path: Path) -> None:
    first = entries(kit)[:1]
    (cubin,) = run_cuda_kernels.compile_kit(kit, first, "sm_80", tmp_path)
    assert cubin.read_bytes()[:4] == b"\x7fELF"
    (tmp_path / "broken.cu").write_text("__global__ void broken() { return 1 }")
    with pytest.raises(SystemExit, match=r"nvcc refused broken\.cu \(no kernel\)"):
        run_cuda_kernels.compile_kit(
            tmp_path, [{"file": "broken.cu", "name": "no kernel"}], "sm_80", tmp_path
        )
