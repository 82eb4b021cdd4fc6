"""Accuracy and speed over the keep ratio, from exported artifacts; writes the report with the curve.

    python tools/bench/accuracy_curve.py MODEL DATA OUT [key=value ...]

MODEL and DATA as `paring convert` takes them, key=value for the recipe (export.image_size=112). Each keep
ratio of each transform becomes an artifact in OUT, or is found there; all are measured in turn against the
untransformed one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import paring
from paring.recipe import build_recipe
from paring_runtimes import read_manifest

RATIOS = (1.0, 0.9, 0.7, 0.5, 0.3)


def main() -> None:
    model, source, output, *overrides = sys.argv[1:]
    points: list[dict[str, Any]] = []
    paths: list[Path] = []
    for transform in ("token_prune", "token_merge"):
        for keep in RATIOS:
            path = Path(output) / f"{transform}-{keep}"
            if not path.exists():
                step = {transform: {"keep_ratio": keep}}
                values = {"model": model, "transforms": [step], "data": {"source": source}}
                values["export"] = {"baseline": not paths}
                paring.convert(build_recipe(values, overrides=overrides), path)
            paths += [path] if paths else [Path(f"{path}-baseline"), path]
            quality = read_manifest(path).quality
            assert quality is not None
            points.append(_point(transform, keep, quality))
            print(points[-1], flush=True)
    names = ["untransformed", *(point["label"] for point in points)]
    found = paring.profile(paths, names=names, batch_sizes=(1,), threads=2, min_runs=64, max_seconds=200)
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
    print(paring.report(found, Path(output) / "report", curve=curve).html)
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
