"""Accuracy and speed over the keep ratio, from exported artifacts; writes the report with the curve.

    python tools/bench/accuracy_curve.py MODEL DATA OUT [key=value ...]

MODEL and DATA as `paring convert` takes them, key=value for the recipe's `data` (mean=0.5). Each keep
ratio of each transform becomes an artifact; all are measured in turn against the untransformed one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import paring
from paring.recipe import build_recipe

RATIOS = (1.0, 0.9, 0.7, 0.5, 0.3)


def main() -> None:
    model, source, output, *keys = sys.argv[1:]
    points: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        paths: list[Path] = []
        names = ["untransformed"]
        for transform in ("token_prune", "token_merge"):
            for keep in RATIOS:
                values = {
                    "model": model,
                    "transforms": [{transform: {"keep_ratio": keep}}],
                    "data": {"source": source},
                }
                recipe = build_recipe(values, overrides=[f"data.{key}" for key in keys])
                done = paring.convert(recipe, Path(folder) / f"{transform}-{keep}", overwrite=True)
                paths += [done.artifact] if paths else [done.baseline, done.artifact]
                names.append(f"{transform} {keep}")
                points.append(_point(transform, keep, done.manifest.quality))
                print(points[-1], flush=True)
        found = paring.profile(paths, names=names, batch_sizes=(1,), min_runs=64, max_seconds=200)
        for point, ratio in zip(points, found.comparisons, strict=True):
            point["latency_ratio"] = ratio.latency_ratio
            point["latency_ratio_ci95"] = ratio.latency_ratio_ci95
            low, high = point["accuracy_ci95"]
            print(
                f"{point['label']}: accuracy {point['accuracy']:.4f} ({low:.4f} to {high:.4f}), drop"
                f" {point['drop']:.4f}, faster {ratio.latency_ratio:.3f}"
                f" ({ratio.latency_ratio_ci95[0]:.3f} to {ratio.latency_ratio_ci95[1]:.3f})"
            )
        curve = {"metric": "top-1 accuracy", "points": points}
        print(paring.report(found, output, curve=curve).html)
        for sentence in found.noise:
            print(f"noise: {sentence}")


def _point(transform: str, keep: float, quality: dict[str, Any]) -> dict[str, Any]:
    return {
        "label": f"{transform} {keep}",
        "transform": transform,
        "keep_ratio": keep,
        "accuracy": quality["after"],
        "accuracy_ci95": quality["after_ci95"],
        "drop": quality["drop"],
        "samples": quality["samples"],
    }


if __name__ == "__main__":
    main()
