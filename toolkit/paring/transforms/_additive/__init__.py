"""Binary linear attention (ShiftAddViT, arXiv 2306.06446), without surgery."""

from __future__ import annotations

from torch import nn

from .attention import AdditiveAttention, with_hash, with_thresholds
from .binarisers import Binariser, KernelHash, Threshold
from .calibration import fit_default, fit_to
from .operators import binary_attention, binary_attention_quadratic
from .watching import adopting, binarisers, watching

__all__ = [
    "AdditiveAttention",
    "Binariser",
    "KernelHash",
    "Threshold",
    "adopting",
    "binarisers",
    "binary_attention",
    "binary_attention_quadratic",
    "fit_default",
    "fit_to",
    "frozen",
    "trainable",
    "watching",
    "with_hash",
    "with_thresholds",
]


def trainable(model: nn.Module) -> nn.Module:
    """Let gradients through every binariser of `model`, straight through; the answers stay the same."""
    return _straight_through(model, True)


def frozen(model: nn.Module) -> nn.Module:
    """Bits again, for inference and export. The model given is changed and returned."""
    return _straight_through(model, False)


def _straight_through(model: nn.Module, wanted: bool) -> nn.Module:
    for binariser in binarisers(model):
        binariser.straight_through = wanted
    return model
