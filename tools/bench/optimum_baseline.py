"""Our untransformed ViT-S export against `optimum-cli export onnx` of the same transformers model.

python tools/bench/optimum_baseline.py
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from transformers import ViTConfig, ViTForImageClassification

import paring


def main() -> None:
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_labels=1000)
    model = ViTForImageClassification(config)
    with torch.no_grad():  # zero biases would be removed by graph clean-up, on one side only
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    with TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder / "model")
        command = ["optimum-cli", "export", "onnx", "--model", str(folder / "model")]
        subprocess.run(
            [*command, "--task", "image-classification", str(folder / "optimum")],
            check=True,
            capture_output=True,
        )
        rival = folder / "optimum" / "model.onnx"
        _fix_image(rival)
        done = paring.convert(f"hf:{folder / 'model'}", folder / "ours")
        found = paring.profile(
            [rival, done.artifact],
            names=["optimum", "paring"],
            batch_sizes=(1, 8),
            threads=2,
            min_runs=64,
            max_seconds=150,
        )
    for ratio in found.comparisons:
        low, high = ratio.latency_ratio_ci95
        size, speedup = ratio.batch_size, ratio.latency_ratio
        print(f"batch {size}: optimum / paring = {speedup:.3f} ({low:.3f} to {high:.3f})")
    for sentence in found.noise:
        print(f"noise: {sentence}")


def _fix_image(path: Path) -> None:
    """Name the sizes that optimum leaves symbolic, for the profiler; the nodes stay as they are."""
    graph = onnx.load(path)
    for dim, size in zip(graph.graph.input[0].type.tensor_type.shape.dim[1:], (3, 224, 224), strict=True):
        dim.ClearField("dim_param")
        dim.dim_value = size
    onnx.save(graph, path)


if __name__ == "__main__":
    main()
