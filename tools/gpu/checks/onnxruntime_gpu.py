"""ONNX Runtime's CUDA and TensorRT providers on a pruned ViT: right, and how fast."""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np

from . import Check
from ._model import agree, converted, pixels
from ._needs import first, gpu, packages, provider

PROVIDERS = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
CALLS = 100


def right_and_timed(name: str) -> dict[str, Any]:
    """The provider's answers against the CPU's, without TF32, and a bound run's latency."""
    import paring_runtimes

    settings = {name: {"use_tf32": 0}} if name.startswith("CUDA") else {}
    folder = converted("onnx")
    with paring_runtimes.load(folder, providers=(name,), provider_options=settings) as session:
        key = session.inputs[0].name
        worst = max(agree(session.run({key: pixels(batch)})["logits"], batch) for batch in (1, 8))
        bound = session.bind({key: pixels(1)})
        times = []
        for _ in range(CALLS):
            start = time.perf_counter_ns()
            bound.run()
            times.append((time.perf_counter_ns() - start) / 1e3)
    return {"max_abs": worst, "p50_us": float(np.median(times))}


def _needs(name: str) -> str | None:
    return first(gpu(), provider(name), packages("torch", "timm", "onnx", "onnxscript", "onnxslim"))


CHECKS = tuple(
    Check(f"onnxruntime: {name}", functools.partial(_needs, name), functools.partial(right_and_timed, name))
    for name in PROVIDERS
)
