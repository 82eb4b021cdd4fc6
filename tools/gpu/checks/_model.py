"""What the checks of engines run: a pruned ViT, converted once for each library and settings."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

_scratch = tempfile.TemporaryDirectory(prefix="paring-gpu-")


@functools.cache
def converted(library: str, **settings: Any) -> Path:
    """The artifact of the embedded ViT, pruned, for `library` (or "onnx"), with BuildOptions' settings."""
    import paring

    words = "-".join(f"{key}={value}" for key, value in settings.items())
    target = Path(_scratch.name) / f"{library}-{words or 'plain'}"
    form = (
        {"format": "onnx"}
        if library == "onnx"
        else {"format": "tensorrt", "tensorrt": {"library": library, **settings}}
    )
    done = paring.convert(
        "embedded",
        target,
        transforms=[{"token_prune": {"keep_ratio": 0.7}}],
        export={**form, "baseline": False},
    )
    assert done.manifest.parity is not None
    assert done.manifest.parity["passed"]
    assert done.manifest.format == form["format"], done.manifest.export["tensorrt"]["engine"]
    return target


def pixels(batch: int, seed: int = 0) -> np.ndarray:
    """[B, 1, 30, 30], as the embedded ViT takes them."""
    return np.random.default_rng(seed).standard_normal((batch, 1, 30, 30), dtype=np.float32)


@functools.cache
def answers(batch: int, seed: int = 0) -> np.ndarray:
    """What ONNX Runtime computes on the CPU, which was compared with PyTorch."""
    import paring_runtimes

    with paring_runtimes.load(converted("onnx"), providers=("cpu",)) as session:
        return session.run({session.inputs[0].name: pixels(batch, seed)})["logits"]


def agree(found: np.ndarray, batch: int, seed: int = 0) -> float:
    """The largest difference; an error where it leaves fp32's tolerance."""
    wanted = answers(batch, seed)
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-4)
    return float(np.abs(found - wanted).max())
