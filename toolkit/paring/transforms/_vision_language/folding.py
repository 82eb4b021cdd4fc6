"""Space to depth: neighbouring patches side by side in one token's channels, before the projector."""

from __future__ import annotations

import torch
from torch import nn


def fold(x: torch.Tensor, grid: tuple[int, int], r: int) -> torch.Tensor:
    """[B, H * W, C] -> [B, H/r * W/r, r * r * C]; channels are (row, column within the window, c)."""
    batch, _, width = x.shape
    rows, columns = grid[0] // r, grid[1] // r
    windows = x.reshape(batch, rows, r, columns, r, width).permute(0, 1, 3, 2, 4, 5)
    return windows.reshape(batch, rows * columns, r * r * width)


def widened(first: nn.Linear, r: int) -> nn.Linear:
    """A linear layer over r * r patches that gives what `first` gives of their mean."""
    wide = nn.Linear(first.in_features * r * r, first.out_features, first.bias is not None)
    wide = wide.to(first.weight.device, first.weight.dtype)
    with torch.no_grad():
        wide.weight.copy_(first.weight.repeat(1, r * r) / r**2)
        if first.bias is not None and wide.bias is not None:
            wide.bias.copy_(first.bias)
    return wide


class FoldedProjector(nn.Module):
    """A projector over windows of r x r patches.

    Args:
        projector: takes r * r times the tower's width.
        grid: rows and columns of the tower's patches, multiples of r.
        r: patches a side of a window.
    """

    def __init__(self, projector: nn.Module, grid: tuple[int, int], r: int) -> None:
        super().__init__()
        self.projector, self.grid, self.r = projector, grid, r

    def count(self, tokens: int) -> int:
        """Tokens that leave when `tokens` come.

        Raises:
            ValueError: they are not the grid.
        """
        if tokens != self.grid[0] * self.grid[1]:
            raise ValueError(
                f"pixel_unshuffle counts on {self.grid[0]} x {self.grid[1]} patches, and the tower gives"
                f" {tokens}: nothing may take patches out of their grid, before it or after"
            )
        return tokens // self.r**2

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B, H * W, C] -> [B, H/r * W/r, C of the language model]."""
        projected: torch.Tensor = self.projector(fold(features, self.grid, self.r))
        return projected
