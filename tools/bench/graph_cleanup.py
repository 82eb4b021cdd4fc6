"""Which graph clean-up wins: none, onnxslim, onnxscript, on the pruned and the merged model, in turn.

python tools/bench/graph_cleanup.py [MODEL]
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

import paring

STEPS = {"token_prune": {"keep_ratio": 0.7}, "token_merge": {"r": 13}}
OPTIMIZERS = ("none", "onnxslim", "onnxscript")


def main() -> None:
    model = (sys.argv[1:] or ["timm:vit_small_patch16_224"])[0]
    with TemporaryDirectory() as folder:
        for name, config in STEPS.items():
            paths = []
            for optimizer in OPTIMIZERS:
                export = {"optimizer": optimizer, "baseline": False}
                path = Path(folder) / f"{name}-{optimizer}"
                done = paring.convert(model, path, transforms=[{name: config}], export=export)
                paths.append(done.artifact)
                nodes = len(onnx.load(path / "model.onnx").graph.node)
                print(f"{name} {optimizer}: {nodes} nodes", flush=True)
            found = paring.profile(
                paths, names=OPTIMIZERS, batch_sizes=(1,), threads=2, min_runs=100, max_seconds=90
            )
            for ratio in found.comparisons:
                low, high = ratio.latency_ratio_ci95
                print(
                    f"{name}: none / {ratio.candidate} = {ratio.latency_ratio:.3f} ({low:.3f} to {high:.3f})"
                )


if __name__ == "__main__":
    main()
