"""What each CUDA kernel takes on two architectures: registers, shared memory, spills. Compiled, not run.

    python tools/check/cuda_kernels.py [--tokens 197] [--architecture sm_80 ...]

TVM writes the source, `nvcc` compiles it, `ptxas` counts. The figures say that a kernel fits, not how fast
it is: `cuda_kit.py` writes the sources for a machine with a GPU, where `run_cuda_kernels.py` runs them.
Exits 1 when anything spills or is refused.
"""

from __future__ import annotations

import argparse
import sys

from paring_exporters.tvm.binary_attention import AttentionShape
from paring_exporters.tvm.cuda import ARCHITECTURES, compile_report, cuda_functions, find_nvcc
from paring_runtimes.errors import ExportError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=197)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--architecture", nargs="+", default=ARCHITECTURES)
    arguments = parser.parse_args()
    shape = AttentionShape(1, 12, arguments.tokens, 64)
    functions = cuda_functions(shape, arguments.rows, arguments.features, arguments.features)
    print(f"compiled, not run; {find_nvcc()}; attention {shape.heads} x {shape.tokens} x {shape.dim},")
    print(f"shift-linear {arguments.features} x {arguments.features} at {arguments.rows} rows")
    print(f"{'kernel':48}{'part':>5}{'arch':>7}{'registers':>10}{'shared B':>9}{'spill B':>8}{'stack B':>8}")
    spilled = 0
    for architecture in arguments.architecture:
        try:
            report = compile_report(functions, architecture)
        except ExportError as error:
            print(error)
            return 1
        for name, uses in report.items():
            for part, use in enumerate(uses):
                spill = use.spill_store_bytes + use.spill_load_bytes
                spilled += spill
                row = f"{name:48}{part:5}{architecture:>7}{use.registers:10}{use.shared_bytes:9}"
                print(f"{row}{spill:8}{use.stack_bytes:8}")
    return int(spilled > 0)


if __name__ == "__main__":
    sys.exit(main())
