"""What turns a head's queries or keys into bits, with all that was fitted in buffers.

Both ways treat every sample alone: what comes from other samples is frozen when the model is calibrated. The
authors' code takes the mean over the whole batch at run time, so that an answer depends on batch mates.
"""

from __future__ import annotations

import torch
from torch import nn

from .bits import straight_through
from .hashing import Hash, fit_hash, kernel_values

TINY = 1e-6  # a norm below this counts as this


class Binariser(nn.Module):
    """Real [B, H, N, d] -> bits [B, H, N, b]: bool, or numbers with a gradient while `straight_through`.

    A subclass says by `compared` what is compared with what, and by `fit` how its buffers are found.
    """

    straight_through = False

    def compared(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | float, torch.Tensor | float]:
        """Values, the thresholds that set a bit when exceeded, and the unit that both are in."""
        raise NotImplementedError

    def fit(self, x: torch.Tensor) -> None:
        """Find the buffers from calibration samples [B, H, N, d]."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, H, N, d] -> [B, H, N, b]."""
        value, threshold, unit = self.compared(x)
        bits = value > threshold
        return straight_through(value / unit, bits) if self.straight_through else bits

    def gap(self, x: torch.Tensor) -> torch.Tensor:
        """By how much each bit was decided, [B, H, N, b], in units."""
        value, threshold, unit = self.compared(x)
        return (value - threshold).abs() / unit


class Threshold(Binariser):
    """b = 1[x / |x| > t], t the mean of the head's normalised values over the calibration samples."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.threshold: torch.Tensor
        self.register_buffer("threshold", torch.zeros(heads, 1, 1))

    def compared(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x against t |x|: the division is spared."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(TINY)
        return x, self.threshold * norm, norm

    @torch.no_grad()
    def fit(self, x: torch.Tensor) -> None:
        """[B, H, N, d]."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(TINY)
        self.threshold.copy_((x / norm).mean((0, 2, 3)).reshape(-1, 1, 1))


class KernelHash(Binariser):
    """Kernel-supervised hashing (EcoFormer, arXiv 2209.09004): see `hashing`.

    Args:
        heads, width: of the attention.
        bits: a token's.
        anchors: tokens that the kernel compares with.
        seed: draws the anchors.
    """

    def __init__(self, heads: int, width: int, bits: int, anchors: int, seed: int) -> None:
        super().__init__()
        self.anchors: torch.Tensor
        self.mean: torch.Tensor
        self.projection: torch.Tensor
        self.register_buffer("anchors", torch.zeros(heads, anchors, width))
        self.register_buffer("mean", torch.zeros(heads, 1, anchors))
        self.register_buffer("projection", torch.zeros(heads, bits, anchors))
        self.seed = seed

    def compared(self, x: torch.Tensor) -> tuple[torch.Tensor, float, float]:
        """The projected kernel against zero."""
        values = kernel_values(x, self.anchors) - self.mean
        return values @ self.projection.transpose(-2, -1), 0.0, 1.0

    @torch.no_grad()
    def fit(self, x: torch.Tensor) -> None:
        """[B, H, N, d]."""
        bits, anchors = self.projection.shape[1:]
        found: Hash = fit_hash(x, bits, anchors, self.seed)
        self.anchors.copy_(found.anchors)
        self.mean.copy_(found.mean)
        self.projection.copy_(found.projection)
