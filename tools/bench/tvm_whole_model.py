"""One TVM artifact of a whole model against ONNX Runtime, in turn in one process.

    python tools/bench/tvm_whole_model.py
    python tools/bench/tvm_whole_model.py --model embedded --batch 1 --tune 120 \\
        --sides "TVM fp32" "TVM tuned" "ONNX Runtime fp32"

Sides: TVM with shift layers (`shift_linear` of attention and MLPs, integer kernels where they won when it
was converted), TVM untransformed (one library for all batch sizes), the same compiled for one batch size,
the same with its linear layers and attention tuned for `--tune` seconds at each batch size
(`export.tune`, a library each), ONNX Runtime in fp32, and ONNX Runtime with its own dynamic int8
quantisation of the same model. Weights of timm's models are random: the speed is real, the answers are
not. Printed: what tuning found, the median time of each side, and the ratio of the other sides' to each
TVM side's, the median of the turns with the quartiles.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

import paring_runtimes
from paring.sources import load_model
from paring.transforms import shift_linear
from paring_exporters import exporters
from paring_exporters.request import Request
from paring_exporters.tune_options import TuneOptions
from paring_exporters.tvm.turns import turn_ms

SETTLE_SECONDS = 0.15  # workers of the side before wait for work in a loop
FILES = {
    "TVM shift": "shift/model.so",
    "TVM fp32": "plain/model.so",
    "TVM fixed": "fixed-{batch}/model.so",
    "TVM tuned": "tuned-{batch}/model.so",
    "ONNX Runtime fp32": "plain/model.onnx",
    "ONNX Runtime int8": "plain/int8.onnx",
}
AGAINST = {"TVM fp32": ("TVM fixed", "TVM tuned")}  # beside ONNX Runtime
BY_DEFAULT = [side for side in FILES if side not in AGAINST["TVM fp32"]]


def opened(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A model and the shape of its input."""
    if name.startswith("embedded"):
        source = load_model(name)
        return source.model, source.input_shape
    model = timm.create_model(name).eval()
    return model, (3, *model.patch_embed.img_size)


def write(name: str, side: str, path: Path, tune: TuneOptions) -> None:
    """Export the model for one side; `paring convert` is what compares such files with PyTorch."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path.parent.mkdir(parents=True, exist_ok=True)
    if side == "ONNX Runtime int8":
        return quantize_dynamic(path.with_name("model.onnx"), path, weight_type=QuantType.QInt8)
    torch.manual_seed(0)
    model, shape = opened(name)
    if side == "TVM shift":
        model = shift_linear.apply(model, shift_linear.Config(layers=("attention", "mlp")))
    fixed = side == "TVM fixed"
    request = Request(
        torch.randn(tune.batch if fixed else 2, *shape),
        dynamic=() if fixed else ("batch",),
        tune=tune if side == "TVM tuned" else TuneOptions(),
    )
    made = exporters()["tvm" if side.startswith("TVM") else "onnx"].export(model, request, path.parent)
    print(f"{side}: {made.facts.get('shift', {}).get('choices', '')}", flush=True)
    tuning = made.facts.get("tuning")
    if tuning:
        print(f"  {tuning['measured']} tilings timed in {tuning['spent_s']} of {tuning['budget_s']} s")
        for kernel in tuning["kernels"]:
            print(f"  {kernel['kernel']}: {kernel['tiling']}, in turn {kernel['ratio']} ({kernel['low']} to"
                  f" {kernel['high']}) times as fast")  # fmt: skip
    return None


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
    for ours in (name for name in times if name.startswith("TVM")):
        for theirs in (n for n in times if n.startswith("ONNX") or ours in AGAINST.get(n, ())):
            ratios = np.array(times[theirs]) / np.array(times[ours])
            low, middle, high = np.percentile(ratios, [25, 50, 75])
            print(f"  {ours}: {middle:.2f} ({low:.2f} to {high:.2f}) times as fast as {theirs}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="vit_small_patch16_224", help="a ViT of timm, or embedded")
    parser.add_argument("--sides", nargs="+", choices=FILES, default=BY_DEFAULT)
    parser.add_argument("--tune", type=float, default=120.0, help="seconds, for the side TVM tuned")
    parser.add_argument("--database", help="a folder for tuning's measurements; default: the user's cache")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=7, help="0 writes the artifacts alone, for --keep")
    parser.add_argument("--seconds", type=float, default=0.4, help="a side and turn")
    parser.add_argument("--keep", type=Path, help="a folder for the artifacts, used again if it is filled")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        for batch in args.batch:
            found = {side: folder / FILES[side].format(batch=batch) for side in args.sides}
            for side, path in found.items():
                if not path.exists():
                    write(args.model, side, path, TuneOptions(args.tune, args.database, batch))
            if args.turns:
                measure(found, batch, args.threads, args.turns, args.seconds)


if __name__ == "__main__":
    main()
