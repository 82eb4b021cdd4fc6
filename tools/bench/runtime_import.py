"""What `import paring_runtimes` costs a program that imports ONNX Runtime anyway.

    python tools/bench/runtime_import.py [--rounds 21] [--limit-ms 50]

Fresh interpreters in turn: one imports `onnxruntime`, the other `paring_runtimes` and then
`onnxruntime`; each times its own imports, so that starting Python is not counted. Prints the
difference within a pair, median and quartiles. Exits 1 when the median is over the limit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

CODE = "from time import perf_counter as t; b = t(); {imports}; print((t() - b) * 1e3)"
ALONE = CODE.format(imports="import onnxruntime")
BOTH = CODE.format(imports="import paring_runtimes, onnxruntime")


def import_ms(code: str) -> float:
    """Return ms of the imports in a fresh interpreter."""
    search = os.pathsep.join(path for path in sys.path if path)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": search},
    )
    return float(ran.stdout)


def told(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:8.1f} ms   quartiles {low:.1f} to {high:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--limit-ms", type=float, default=50.0)
    arguments = parser.parse_args()
    import_ms(BOTH)  # the disk's cache and the byte code
    alone: list[float] = []
    both: list[float] = []
    for index in range(arguments.rounds):
        pair = [(ALONE, alone), (BOTH, both)]
        for code, times in pair if index % 2 else reversed(pair):
            times.append(import_ms(code))
    added = [b - a for a, b in zip(alone, both, strict=True)]
    print(f"onnxruntime alone            {told(alone)}")
    print(f"paring_runtimes, onnxruntime {told(both)}")
    print(f"added by paring_runtimes     {told(added)}   {arguments.rounds} pairs")
    return int(statistics.median(added) > arguments.limit_ms)


if __name__ == "__main__":
    sys.exit(main())
