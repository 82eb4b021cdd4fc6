"""Shift and add end to end on the embedded ViT: accuracy, speed and modelled energy of finished artifacts.

    for variant in original shift mixture additive both; do
        paring convert ... -o FOLDER/$variant/onnx
        paring convert ... -o FOLDER/$variant/tvm -s export.format=tvm -s export.dynamic=[]
    done
    OMP_NUM_THREADS=2 python tools/bench/shift_add_vit.py FOLDER

`original` is converted without transforms, the others by `-t shift_linear` or by `--recovered` and a folder
of `paring recover`. A variant's folder may lack one of the two. Beside them stands ONNX Runtime's own dynamic
int8 quantisation of the original (`onnxruntime.quantization`).

Printed: the accuracy of every artifact on the 2,000 held-out images with Wilson's 95 % interval; the median
time of one image, all sides in turn in one process; the ratio of ONNX Runtime's fp32 and int8 times of the
original to each side's, the median over the turns with the quartiles: above 1 the side is faster. Then,
apart from what was measured, the modelled energy that the ledger saves on the original in fp32, in both
accountings.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import paring_runtimes
from paring.data import ImageData, Preprocess
from paring.opening import open_images, open_source, preprocessing
from paring.quality import correct, wilson_interval
from paring.recipe import build_recipe
from paring_exporters.tvm.turns import turn_ms
from paring_profiles.ledger import ACCOUNTINGS, Ledger, ledger

SETTLE_SECONDS = 0.1  # workers of the side before wait for work in a loop
FORMATS = {"onnx": "ONNX Runtime", "tvm": "TVM"}
FP32, INT8 = "original, ONNX Runtime", "original as int8, ONNX Runtime"
PUBLISHED_SAVING = 0.429  # ShiftAddViT, arXiv 2306.06446: its largest saving of energy, on its own models


def quantised(folder: Path, scratch: Path) -> Path:
    """The original in ONNX Runtime's dynamic int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = scratch / "int8.onnx"
    quantize_dynamic(folder / "original/onnx/model.onnx", path, weight_type=QuantType.QInt8)
    return path


def sides(folder: Path, variants: list[str], scratch: Path) -> dict[str, Path]:
    """What is compared, by name."""
    found = {
        f"{variant}, {shown}": folder / variant / kind
        for kind, shown in FORMATS.items()
        for variant in variants
        if (folder / variant / kind / "manifest.json").is_file()
    }
    if FP32 not in found:
        raise SystemExit(f"{folder}/original/onnx: no artifact: everything is compared with it")
    return {**found, INT8: quantised(folder, scratch)}


def held_out() -> tuple[ImageData, Preprocess]:
    """The images that come with paring, and how the embedded model takes them."""
    recipe = build_recipe({"model": "embedded", "data": {"source": "embedded"}})
    preprocess = preprocessing(recipe, open_source(recipe, frozenset(), lambda stage: None))
    return open_images("embedded", None, preprocess, "embedded", lambda stage: None), preprocess


def times_ms(sessions: dict[str, Any], turns: int, seconds: float) -> dict[str, np.ndarray]:
    """Median milliseconds of one image by side, [turns] each."""
    calls = {}
    for name, session in sessions.items():
        (spec,) = session.inputs
        pixels = np.random.default_rng(0).standard_normal((1, *spec.shape[1:])).astype(np.float32)
        calls[name] = session.bind({spec.name: pixels}).run
    found = [[turn_ms(call, seconds, SETTLE_SECONDS) for call in calls.values()] for _ in range(turns)]
    return dict(zip(calls, np.array(found).T, strict=True))


def ratio(theirs: np.ndarray, ours: np.ndarray) -> str:
    """The median of the turns' ratios with the quartiles."""
    low, middle, high = np.percentile(theirs / ours, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def tell(right: dict[str, np.ndarray], times: dict[str, np.ndarray]) -> None:
    """Print what was measured."""
    print("| side | top-1 | ms | against ONNX Runtime fp32 | against ONNX Runtime int8 |")
    print("| --- | --- | --- | --- | --- |")
    for name, own in times.items():
        low, high = wilson_interval(right[name])
        against = f"{ratio(times[FP32], own)} | {ratio(times[INT8], own)}"
        shown = f"{right[name].mean():.4f} ({low:.4f} to {high:.4f})"
        print(f"| {name} | {shown} | {np.median(own):.3f} | {against} |", flush=True)


def account(folder: Path, variants: list[str], shape: tuple[int, ...], name: str) -> None:
    """Print what is modelled: of the arithmetic and memory of one image."""
    print(
        f"modelled energy saved on the original in fp32; published, on other models: {PUBLISHED_SAVING:.1%}"
    )
    original = folder / "original/onnx/model.onnx"
    for accounting in ACCOUNTINGS:
        books: dict[str, Ledger] = {
            variant: ledger(folder / variant / "onnx/model.onnx", {name: shape}, accounting)
            for variant in variants
            if (folder / variant / "onnx/model.onnx").is_file()
        }
        books["original as int8"] = ledger(original, {name: shape}, accounting, as_int8=True)
        base = books["original"].total_uj
        for variant, book in books.items():
            saved = 1 - book.total_uj / base
            print(f"  {accounting}: {variant:<17} {book.total_uj:9.1f} uJ, saved {saved:.1%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds VARIANT/onnx and VARIANT/tvm")
    parser.add_argument("--variants", nargs="+", default=["original", "shift", "mixture", "additive", "both"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.3, help="a side and turn")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        found = sides(args.folder, args.variants, Path(scratch))
        opened = {
            name: stack.enter_context(paring_runtimes.load(path, threads=args.threads))
            for name, path in found.items()
        }
        times = times_ms(opened, args.turns, args.seconds)
        images = held_out()
        right = {name: correct(session, *images) for name, session in opened.items()}
        tell(right, times)
        (spec,) = opened[FP32].inputs
        account(args.folder, args.variants, (1, *spec.shape[1:]), spec.name)


if __name__ == "__main__":
    main()
