"""The step that `frame_merge` and `adjacent_merge` share."""

from __future__ import annotations

import math

import torch

from ._encoder.grid_step import GridStep, Reduced
from ._neighbours import merge_neighbours, pairs_in


class MergeNeighbours(GridStep):
    """Merge the most similar pairs of neighbours along an axis, until `keep_ratio` of the tokens is left."""

    def __init__(self, axis: int, keep_ratio: float, prefix: int, grid: tuple[int, ...]) -> None:
        super().__init__(prefix, grid)
        self.axis = axis
        patches = math.prod(grid)
        self.r = min(patches - round(patches * keep_ratio), pairs_in(grid, axis))

    def regrid(self, grid: tuple[int, ...]) -> tuple[int, ...] | None:
        """A sequence stays one; a grid of several axes has gaps."""
        return (self.left(),) if len(self.grid) == 1 else self.grid if self.r == 0 else None

    def left(self) -> int:
        """Patches that leave."""
        return math.prod(self.grid) - self.r

    def reduce(self, x: torch.Tensor, size: torch.Tensor | None, with_target: bool) -> Reduced:
        """x [B, P, C] -> [B, P - r, C]."""
        return Reduced(*merge_neighbours(x, self.grid, self.axis, self.r, size, with_target))
