"""The device to train on, or several, by accelerate."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import deterministic

from paring_runtimes.errors import MissingExtraError, RecoveryError

DEVICES = ("auto", "cpu", "cuda")


def accelerator_for(device: str) -> Any:
    """An `accelerate.Accelerator` in fp32; under `accelerate launch` one of several processes.

    Args:
        device: "cpu", "cuda", or "auto": a GPU where there is one.

    Raises:
        RecoveryError: there is no such device.
        MissingExtraError: accelerate is not installed.
    """
    if device not in DEVICES:
        raise RecoveryError(f"device {device!r}: one of {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise RecoveryError(
            f"device cuda: torch {torch.__version__} finds no CUDA GPU here; take --device cpu"
        )
    if importlib.util.find_spec("accelerate") is None:
        raise MissingExtraError("recovering a model", "recover")
    accelerate: Any = importlib.import_module("accelerate")
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    # A mixture's expert may get no token in a step, and so no gradient.
    wrap = [accelerate.DistributedDataParallelKwargs(find_unused_parameters=True)] if several else []
    return accelerate.Accelerator(cpu=device == "cpu", mixed_precision="no", kwargs_handlers=wrap)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Inside, arithmetic on `device` is fp32 and gives the same bits each time, as it does on CPUs by itself.

    On CUDA that takes PyTorch's deterministic algorithms where it has them (it warns where it has not), plain
    attention, whose gradient is not summed in an order that changes, and convolutions without TF32.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS may choose others each time
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        with exact, sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
