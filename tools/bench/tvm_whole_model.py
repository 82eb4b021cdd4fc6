"""One TVM artifact of a whole model against ONNX Runtime, in turn in one process.

    python tools/bench/tvm_whole_model.py
    python tools/bench/tvm_whole_model.py --model vit_tiny_patch16_224 --batch 1 --turns 9

Sides: TVM with shift layers (`shift_linear` of attention and MLPs, integer kernels where they won when it
was converted), TVM untransformed, ONNX Runtime in fp32, and ONNX Runtime with its own dynamic int8
quantisation of the same model (`onnxruntime.quantization`). Weights are random: the speed is real, the
answers are not. Printed: the median time of each side, and the ratio of ONNX Runtime's to TVM's, the median
of the turns with the quartiles.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch

import paring_runtimes
from paring.transforms import shift_linear
from paring_exporters import exporters
from paring_exporters.request import Request
from paring_exporters.tvm.turns import turn_ms

SETTLE_SECONDS = 0.15  # workers of the side before wait for work in a loop
FILES = {
    "TVM shift": "shift/model.so",
    "TVM fp32": "plain/model.so",
    "ONNX Runtime fp32": "plain/model.onnx",
    "ONNX Runtime int8": "plain/int8.onnx",
}


def write(name: str, folder: Path) -> None:
    """Export the model each way; `paring convert` is what compares such files with PyTorch."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = timm.create_model(name).eval()
    request = Request(torch.randn(2, 3, *model.patch_embed.img_size))
    formats = exporters()
    shifted = shift_linear.apply(copy.deepcopy(model), shift_linear.Config(layers=("attention", "mlp")))
    for part, module, kinds in (("plain", model, ("tvm", "onnx")), ("shift", shifted, ("tvm",))):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            made = formats[kind].export(copy.deepcopy(module), request, folder / part)
            print(f"{part}, {kind}: {made.facts.get('shift', {}).get('choices', '')}", flush=True)
    quantize_dynamic(folder / "plain/model.onnx", folder / "plain/int8.onnx", weight_type=QuantType.QInt8)


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
            times[name].append(turn_ms(call, seconds, SETTLE_SECONDS))
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
    parser.add_argument("--model", default="vit_small_patch16_224", help="a ViT of timm")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="a side and turn")
    parser.add_argument("--keep", type=Path, help="a folder for the artifacts, used again if it is filled")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        found = {side: folder / file for side, file in FILES.items()}
        if not all(path.exists() for path in found.values()):
            write(args.model, folder)
        for batch in args.batch:
            measure(found, batch, args.threads, args.turns, args.seconds)


if __name__ == "__main__":
    main()
