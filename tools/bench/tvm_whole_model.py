"""One TVM artifact of a whole model against ONNX Runtime, in turn in one process.

    python tools/bench/tvm_whole_model.py
    python tools/bench/tvm_whole_model.py --model timm:vit_tiny_patch16_224 --batch 1 --turns 9

Sides: TVM with shift layers (`shift_linear` of attention and MLPs, integer kernels where they won when it
was converted), TVM untransformed, ONNX Runtime in fp32, and ONNX Runtime with its own dynamic int8
quantisation of the same model (`onnxruntime.quantization`). Weights are random: the speed is real, the
answers are not. Printed: the median time of each side, and the ratio of ONNX Runtime's to TVM's, the median
of the turns with the quartiles.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import paring
import paring_runtimes

SETTLE_SECONDS = 0.15  # workers of the side before wait for work in a loop


def artifacts(model: str, folder: Path) -> dict[str, Path]:
    """Convert the model each way, the untransformed ones as baselines of the others."""
    verify = {"batch_sizes": [1, 2], "seeds": [0]}
    shift = [{"shift_linear": {"layers": ["attention", "mlp"]}}]
    for name in ("tvm", "onnx"):
        paring.convert(
            model, folder / name, transforms=shift, export={"format": name}, verify=verify, progress=print
        )
    quantised = folder / "int8.onnx"
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(folder / "onnx-baseline" / "model.onnx", quantised, weight_type=QuantType.QInt8)
    return {
        "TVM shift": folder / "tvm",
        "TVM fp32": folder / "tvm-baseline",
        "ONNX Runtime fp32": folder / "onnx-baseline",
        "ONNX Runtime int8": quantised,
    }


def turn_ms(call: Callable[[], object], seconds: float) -> float:
    """Run untimed until the workers of the side before sleep, then return the median of calls, ms."""
    end = time.perf_counter() + SETTLE_SECONDS
    while time.perf_counter() < end:
        call()
    times: list[int] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begin = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - begin)
    return float(np.median(times)) / 1e6


def measure(found: dict[str, Path], batch: int, threads: int, turns: int, seconds: float) -> None:
    """Print the table of one batch size."""
    sessions = {name: paring_runtimes.load(path, threads=threads) for name, path in found.items()}
    calls = {}
    for name, session in sessions.items():
        (spec,) = session.inputs
        pixels = np.random.default_rng(0).standard_normal((batch, *spec.shape[1:])).astype(np.float32)
        calls[name] = session.bind({spec.name: pixels}).run
    times = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            times[name].append(turn_ms(call, seconds))
    print(f"batch {batch}, {threads} threads, {turns} turns")
    for name, values in times.items():
        print(f"  {name:<18} {np.median(values):8.2f} ms")
    for ours in ("TVM shift", "TVM fp32"):
        for theirs in ("ONNX Runtime fp32", "ONNX Runtime int8"):
            ratios = np.array(times[theirs]) / np.array(times[ours])
            low, middle, high = np.percentile(ratios, [25, 50, 75])
            print(f"  {ours}: {middle:.2f} ({low:.2f} to {high:.2f}) times as fast as {theirs}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="timm:vit_small_patch16_224")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="a side and turn")
    parser.add_argument("--keep", type=Path, help="a folder for the artifacts, used again if it is filled")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        names = ("tvm", "tvm-baseline", "onnx-baseline", "int8.onnx")
        there = [folder / name for name in names]
        labels = ("TVM shift", "TVM fp32", "ONNX Runtime fp32", "ONNX Runtime int8")
        whole = all(path.exists() for path in there)
        found = dict(zip(labels, there, strict=True)) if whole else artifacts(args.model, folder)
        for batch in args.batch:
            measure(found, batch, args.threads, args.turns, args.seconds)


if __name__ == "__main__":
    main()
