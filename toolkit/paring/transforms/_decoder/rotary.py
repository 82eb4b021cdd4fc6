"""Rotary position embedding (RoFormer, https://arxiv.org/abs/2104.09864) at explicit positions.

A head's dimensions d and d + R/2 form a pair that is turned by the angle position * frequency_d, with R
the rotary width (the head's whole width, or less). Scaled forms (linear, Llama 3, YaRN) differ in the
frequencies and in a factor on cosine and sine alone, both of which transformers computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn


class Rotation(NamedTuple):
    """Cosines and sines, [B, 1, S, R/2]."""

    cos: torch.Tensor
    sin: torch.Tensor

    def last(self) -> Rotation:
        """That of the last token."""
        return Rotation(self.cos[:, :, -1:], self.sin[:, :, -1:])


class Rotary(nn.Module):
    """Rotations from positions.

    LongRoPE (https://arxiv.org/abs/2402.13753) has two sets of frequencies. Here each row takes the long
    one when its own greatest position reaches `original_positions`; transformers decides once for a whole
    batch. Where a text is read in chunks, the caller tells how far it reaches.
    """

    def __init__(
        self,
        frequencies: torch.Tensor,
        factor: float = 1.0,
        long_frequencies: torch.Tensor | None = None,
        original_positions: int = 0,
    ) -> None:
        super().__init__()
        self.register_buffer("frequencies", frequencies.float(), persistent=False)  # [R/2]
        long = None if long_frequencies is None else long_frequencies.float()
        self.register_buffer("long_frequencies", long, persistent=False)
        self.factor, self.original_positions = factor, original_positions

    def forward(
        self, positions: torch.Tensor, dtype: torch.dtype, reach: torch.Tensor | None = None
    ) -> Rotation:
        """[B, S] int64 -> cosines and sines in `dtype`, computed in fp32.

        `reach` [B] is the greatest position of each row's text; None means that of `positions`.
        """
        frequencies = self.get_buffer("frequencies")
        if self.long_frequencies is not None:
            greatest = positions.max(1).values if reach is None else reach
            far = greatest[:, None, None] >= self.original_positions  # [B, 1, 1]
            long = self.get_buffer("long_frequencies")
            frequencies = torch.where(far, long, frequencies)
        angles = (positions[:, :, None].float() * frequencies)[:, None]  # [B, 1, S, R/2]
        cos, sin = angles.cos(), angles.sin()
        if self.factor != 1.0:
            cos, sin = cos * self.factor, sin * self.factor
        return Rotation(cos.to(dtype), sin.to(dtype))

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Rotary:
        """Move with the model, but stay in fp32: half-precision frequencies turn far positions wrongly."""
        kept = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, buffer in kept.items():
            setattr(self, name, buffer.to(self.get_buffer(name).device))
        return self


class Rotations:
    """The rotations of one pass: layers at the same positions share theirs, so that a graph holds it once."""

    def __init__(self, rotary: nn.Module | None) -> None:
        self._rotary = rotary
        self._found: list[tuple[torch.Tensor, Rotation]] = []

    def of(self, positions: torch.Tensor, dtype: torch.dtype) -> Rotation | None:
        """Those at positions [B, S]; None where positions are learned."""
        if self._rotary is None:
            return None
        for known, rotation in self._found:
            if known is positions:
                return rotation
        self._found.append((positions, self._rotary(positions, dtype)))
        return self._found[-1][1]


def rotate(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """Turn the first R dimensions of each head: [B, H, S, D] -> [B, H, S, D]."""
    half = rotation.cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    turned = [
        first * rotation.cos - second * rotation.sin,
        second * rotation.cos + first * rotation.sin,
    ]
    return torch.cat(turned if x.shape[-1] == 2 * half else [*turned, rest], dim=-1)
