"""Which graph clean-up wins: none, onnxslim, onnxscript, ONNX Runtime's, on the pruned and the merged model.

    python tools/bench/graph_cleanup.py [MODEL]

ONNX Runtime's transformer optimizer is measured as the bound: it writes operators of the `com.microsoft`
domain, which no other engine reads, so that it is no choice for an artifact.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

import paring

STEPS = {"token_prune": {"keep_ratio": 0.7}, "token_merge": {"r": 13}}
OPTIMIZERS = ("none", "onnxslim", "onnxscript")
BOUND = "onnxruntime.transformers"


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
            paths.append(_by_onnxruntime(paths[0] / "model.onnx", Path(folder) / f"{name}-bound.onnx"))
            found = paring.profile(
                paths, names=[*OPTIMIZERS, BOUND], batch_sizes=(1,), threads=2, min_runs=100, max_seconds=90
            )
            for ratio in found.comparisons:
                low, high = ratio.latency_ratio_ci95
                print(
                    f"{name}: none / {ratio.candidate} = {ratio.latency_ratio:.3f} ({low:.3f} to {high:.3f})"
                )
            for sentence in found.noise:
                print(f"  noise: {sentence}")


def _by_onnxruntime(source: Path, target: Path) -> Path:
    from onnxruntime.transformers.optimizer import optimize_model

    found = optimize_model(str(source), model_type="vit")
    found.save_model_to_file(str(target))
    print(f"{target.stem}: {len(found.model.graph.node)} nodes, {found.get_fused_operator_statistics()}")
    return target


if __name__ == "__main__":
    main()
