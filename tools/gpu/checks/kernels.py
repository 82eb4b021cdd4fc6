"""The CUDA kernels: all compile, and compute what their references do."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import Check
from ._needs import first, gpu, nvcc, package, packages

_TOOLS = Path(__file__).resolve().parents[2] / "check"


def compiled() -> dict[str, Any]:
    """Every kernel through nvcc, for the oldest and the newest architecture that are claimed."""
    found = _tool("cuda_kernels.py")
    return {"told": " ".join(found.split())[-200:]}


def right_and_timed() -> dict[str, Any]:
    """A kit of every kernel, run on this GPU against its references."""
    with tempfile.TemporaryDirectory() as folder:
        kit, out = Path(folder) / "kit", Path(folder) / "out.json"
        _tool("cuda_kit.py", str(kit))
        _tool("run_cuda_kernels.py", str(kit), "--json", str(out))
        return {"kernels": len(json.loads(out.read_text())["kernels"])}


def tests_on_cuda() -> dict[str, Any]:
    """The other tests that are marked `gpu`: transforms, recovery, devices, ONNX Runtime's providers."""
    root = _TOOLS.parents[1]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-x"]
    command += ["tests/transforms", "tests/recover", "tests/profiles", "tests/runtimes"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600, check=False)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode:
        raise AssertionError(f"{last}: {done.stdout[-1500:]}")
    return {"told": last}


def _tool(name: str, *arguments: str) -> str:
    command = [sys.executable, str(_TOOLS / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise AssertionError(f"{name}: {done.stdout[-500:]} {done.stderr[-500:]}")
    return done.stdout


def _needs_compiler() -> str | None:
    return first(gpu(), nvcc(), package("tvm"))


CHECKS = (
    Check("kernels: all compile", _needs_compiler, compiled),
    Check("kernels: right, and timed", lambda: first(_needs_compiler(), package("cupy")), right_and_timed),
    Check(
        "tests: all that are marked gpu",
        lambda: first(gpu(), packages("pytest", "torch", "timm", "transformers", "onnx", "onnxruntime")),
        tests_on_cuda,
    ),
)
