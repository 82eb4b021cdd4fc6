"""Write the CUDA sources with all that is needed to run them elsewhere: no TVM is needed there.

    python tools/check/cuda_kit.py KIT [--tokens 197] [--features 4096]
    python tools/check/run_cuda_kernels.py KIT         # on a machine with an NVIDIA GPU

KIT/kit.json holds, for each source, what it computes, its buffers and its launches in order.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paring_exporters.tvm.binary_attention import AttentionShape
from paring_exporters.tvm.cuda import cuda_functions, cuda_source
from paring_exporters.tvm.cuda_launch import launches, parameters, scratch_bytes

ARCHITECTURE = "sm_90"
# What each kernel of `cuda_functions` computes, as `cuda_references` reads it.
OPERATIONS: dict[str, dict[str, Any]] = {
    "popcount scores, overlap": {"kind": "scores", "metric": "overlap"},
    "popcount scores, Hamming": {"kind": "scores", "metric": "hamming"},
    "MatAdd": {"kind": "matadd"},
    "binary attention, linear": {"kind": "attention", "form": "linear", "normalise": False},
    "binary attention, linear, from fp32, normalised": {
        "kind": "attention", "form": "linear", "normalise": True,
    },
    "binary attention, quadratic": {"kind": "attention", "form": "quadratic", "normalise": False},
    "shift-linear 4 bit, fp32": {"kind": "shift", "bits": 4},
    "shift-linear 5 bit, fp32": {"kind": "shift", "bits": 5},
    "shift-linear 4 bit, int8": {"kind": "shift_int8", "bits": 4},
}  # fmt: skip


def write_kit(folder: Path, points: list[tuple[AttentionShape, int, int]]) -> int:
    """Write every kernel at each point (attention's shape, rows and features of shift-linear).

    Returns:
        How many sources there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for shape, rows, features in points:
        functions = cuda_functions(shape, rows, features, features)
        for name, function in functions.items():
            file = f"kernel_{len(entries):02d}.cu"
            source = cuda_source(function, ARCHITECTURE)
            (folder / file).write_text(source, encoding="utf-8")
            entries.append({"file": file, **facts(name, function, source, shape)})
    text = json.dumps({"schema": 1, "kernels": entries}, indent=1)
    (folder / "kit.json").write_text(text, encoding="utf-8")
    return len(entries)


def facts(name: str, function: Any, source: str, shape: AttentionShape) -> dict[str, Any]:
    """What kit.json says of one source."""
    return {
        "name": name,
        "operation": {**OPERATIONS[name], "dim": shape.dim},
        "parameters": [asdict(one) for one in parameters(function)],
        "scratch_bytes": scratch_bytes(function),
        "launches": [asdict(one) for one in launches(function, source)],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kit", type=Path)
    parser.add_argument("--tokens", type=int, default=197)
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 64], help="of attention, at each point")
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 256], help="of shift-linear, likewise")
    arguments = parser.parse_args()
    points = [
        (AttentionShape(batch, 12, arguments.tokens, 64), rows, arguments.features)
        for batch, rows in zip(arguments.batch, arguments.rows, strict=True)
    ]
    print(f"{write_kit(arguments.kit, points)} sources and kit.json in {arguments.kit}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
