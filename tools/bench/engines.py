"""One model on every engine that is installed here: parity with PyTorch, and latency in turn in one process.

    paring convert -m timm:vit_small_patch16_224 -t token_prune -s export.format=onnx -o vit_onnx
    paring convert -m timm:vit_small_patch16_224 -t token_prune -s export.format=tvm -o vit_tvm
    paring convert -m timm:vit_small_patch16_224 -t token_prune -s export.format=executorch -o vit_pte
    python tools/bench/engines.py vit_onnx vit_tvm vit_pte --batch 1 8

The artifacts are of one recipe in several formats; the PyTorch model is built again from the first one's.
Printed for each engine: the largest difference from PyTorch, the signal-to-noise ratio and how often the
largest output is at the same place, over `--samples` random batches of each size; then the median latency,
and how many times as fast as the first engine it is, with the 95 % interval of the ratio over turns.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import paring
import paring_runtimes
from paring.opening import open_source
from paring.recipe import build_recipe
from paring.transforming import transform
from paring_profiles.agreement import of_outputs
from paring_profiles.result import Agreement, Profile
from paring_runtimes.engines import engines


def sides(artifacts: list[Path]) -> list[tuple[Path, str]]:
    """Every artifact with every engine that runs it here."""
    found = []
    for path in artifacts:
        form = paring_runtimes.read_manifest(path).format
        working = [name for name, one in engines().items() if form in one.FORMATS and one.why_not() is None]
        found += [(path, name) for name in working]
    return found


def parity(chosen: list[tuple[Path, str]], batches: list[int], samples: int) -> dict[str, Agreement]:
    """How near each side comes to PyTorch, by the engine's name."""
    recipe = build_recipe(dict(paring_runtimes.read_manifest(chosen[0][0]).recipe))
    source = open_source(recipe, frozenset(), lambda stage: None)
    model = transform(source.model, recipe).eval()
    images = [
        np.random.default_rng(seed).standard_normal((batch, *source.input_shape)).astype(np.float32)
        for batch in batches
        for seed in range(samples)
    ]
    with torch.inference_mode():
        values = [model(torch.from_numpy(pixels)) for pixels in images]
    wanted = [
        dict(zip(source.output_names, v if isinstance(v, tuple) else (v,), strict=True)) for v in values
    ]
    expected = [{name: value.numpy() for name, value in one.items()} for one in wanted]
    near = {}
    for path, engine in chosen:
        with paring_runtimes.load(path, engine=engine, threads=2) as session:
            found = [session.run({source.input_name: pixels}) for pixels in images]
        near[engine] = of_outputs(list(zip(expected, found, strict=True)))
    return near


def tell(near: dict[str, Agreement], found: Profile | None, batches: list[int]) -> None:
    """Print the table."""
    for engine, one in near.items():
        ratio = "equal" if one.snr_db is None else f"{one.snr_db:.1f} dB"
        print(
            f"{engine:<12} max abs {one.max_abs:.2g}, signal-to-noise {ratio}, argmax alike"
            f" {one.argmax_alike:.1%} over {one.samples} batches",
            flush=True,
        )
    if found is None:
        return
    ratios = {(one.candidate, one.batch_size): one for one in found.comparisons}
    for batch in batches:
        for candidate in found.candidates:
            ms = next(one.p50_ms for one in candidate.latency if one.batch_size == batch)
            against = ratios.get((candidate.name, batch))
            low, high = (1.0, 1.0) if against is None else against.latency_ratio_ci95
            times = 1.0 if against is None else against.latency_ratio
            print(f"batch {batch}: {candidate.name:<12} {ms:9.3f} ms, {times:.2f} ({low:.2f} to {high:.2f})")
    for sentence in found.noise:
        print(f"  noise: {sentence}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifacts", type=Path, nargs="+", help="of one recipe, in several formats")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--runs", type=int, default=60, help="timed runs a side, at least; 0: parity alone")
    parser.add_argument("--seconds", type=float, default=60, help="a batch size, at most")
    args = parser.parse_args()
    chosen = sides(args.artifacts)
    near = parity(chosen, args.batch, args.samples)
    found = None
    if args.runs:
        found = paring.profile(
            [path for path, _ in chosen], names=[name for _, name in chosen], engines=[n for _, n in chosen],
            batch_sizes=tuple(args.batch), threads=2, min_runs=args.runs, max_seconds=args.seconds,
        )  # fmt: skip
    tell(near, found, args.batch)


if __name__ == "__main__":
    main()
