"""A grid of patches cut into regions of s x s, padded where the grid is no multiple of s."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Regions:
    """How a grid is cut.

    Attributes:
        grid: (rows, columns) of patches.
        stride: patches a side of a region.
    """

    grid: tuple[int, int]
    stride: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of regions."""
        return -(-self.grid[0] // self.stride), -(-self.grid[1] // self.stride)

    @property
    def count(self) -> int:
        """Regions in all."""
        return self.shape[0] * self.shape[1]

    def count_of(self, patches: int) -> int:
        """Regions of so many patches.

        Raises:
            ValueError: they are not the grid.
        """
        rows, columns = self.grid
        if patches != rows * columns:
            raise ValueError(
                f"query_compressor counts on {rows} x {columns} patches, and the tower gives {patches}:"
                " nothing may take patches out of their grid"
            )
        return self.count

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Columns left and right, rows above and below: as even as can be, so that no region is empty."""
        rows, columns = (of * self.stride - size for of, size in zip(self.shape, self.grid, strict=True))
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2

    @property
    def whole(self) -> bool:
        """Whether nothing is padded."""
        return not any(self.padding)

    def image(self, x: torch.Tensor) -> torch.Tensor:
        """[B, H * W, C] -> [B, C, H', W'], zeros around the grid."""
        rows, columns = self.grid
        grid = x.transpose(1, 2).reshape(x.shape[0], x.shape[2], rows, columns)
        return grid if self.whole else F.pad(grid, self.padding)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """[B, H * W, C] -> [B, regions, s * s, C], row by row within a region."""
        (rows, columns), s, width = self.shape, self.stride, x.shape[2]
        grid = x.reshape(x.shape[0], *self.grid, width)
        whole = grid if self.whole else F.pad(grid, (0, 0, *self.padding))
        if rows * columns == 1:
            return whole.reshape(x.shape[0], 1, s * s, width)
        cut = whole.reshape(x.shape[0], rows, s, columns, s, width)  # channels stay side by side
        return cut.permute(0, 1, 3, 2, 4, 5).reshape(x.shape[0], rows * columns, s * s, width)

    def real(self) -> torch.Tensor:
        """[regions, s * s] bool: the places that hold a patch, as constants."""
        ones = torch.ones(1, self.grid[0] * self.grid[1], 1)
        return self.split(ones)[0, :, :, 0] > 0
