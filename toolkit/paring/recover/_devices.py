"""The device to train on, or several, by accelerate."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

import torch

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
