"""LLaVA-NeXT's tiles for images of one shape: https://llava-vl.github.io/blog/2024-01-30-llava-next

An image is seen twice: whole, squeezed to the tower's square; and large, fitted onto a canvas of several such
squares, with black bars where the shapes differ. The tiles' patches are put together again, those of the bars
are cut away, and each row ends with a learned newline. How many tokens that is depends on the image's shape,
which is therefore fixed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Tiling:
    """Where the patches of an image lie on the canvas.

    Attributes:
        image: (height, width) of the image, in pixels; only their ratio matters.
        grid: rows and columns of tiles.
        patches: rows and columns of a tile's patches.
    """

    image: tuple[int, int]
    grid: tuple[int, int]
    patches: tuple[int, int]

    @property
    def tiles(self) -> int:
        """Tiles of the canvas, without the whole image."""
        return self.grid[0] * self.grid[1]

    def kept(self) -> tuple[slice, slice]:
        """Rows and columns of patches on the canvas that are no bars."""
        rows, columns = (tiles * patches for tiles, patches in zip(self.grid, self.patches, strict=True))
        height, width = self.image
        # Of the seventh decimal, as the model's own processing has it.
        if width / height > columns / rows:
            bar = (rows - int(round(height * (columns / width), 7))) // 2
            return slice(bar, rows - bar), slice(0, columns)
        bar = (columns - int(round(width * (rows / height), 7))) // 2
        return slice(0, rows), slice(bar, columns - bar)

    def tokens(self) -> int:
        """Tokens of an image: the whole one's patches, and those kept of the canvas with a newline a row."""
        rows, columns = (len(range(kept.start, kept.stop)) for kept in self.kept())
        return self.patches[0] * self.patches[1] + rows * (columns + 1)


def tiling_of(
    image: tuple[int, int], canvases: Sequence[Sequence[int]], side: int, patches: tuple[int, int]
) -> Tiling:
    """The canvas that LLaVA-NeXT takes for an image.

    Args:
        image: (height, width) in pixels.
        canvases: (height, width) of each that the model knows, multiples of `side`.
        side: of a tile, in pixels.
        patches: rows and columns of a tile's.
    """
    from transformers.image_processing_utils import select_best_resolution

    height, width = select_best_resolution(image, canvases)
    return Tiling(image, (height // side, width // side), patches)


class Untile(nn.Module):
    """Features of an image's views to its tokens.

    Args:
        tiling: where the patches lie.
        newline: [C], behind each row of the canvas.
    """

    def __init__(self, tiling: Tiling, newline: torch.Tensor) -> None:
        super().__init__()
        self.tiling, self.newline = tiling, nn.Parameter(newline, requires_grad=newline.requires_grad)

    def count(self, tokens: int) -> int:
        """Tokens of an image whose views have `tokens` each.

        Raises:
            ValueError: these are no tile's patches.
        """
        rows, columns = self.tiling.patches
        if tokens != rows * columns:
            raise ValueError(
                f"the image's tiles have {rows} x {columns} patches, and the tower gives {tokens} tokens:"
                " nothing may take patches out of their grid"
            )
        return self.tiling.tokens()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B, 1 + tiles, n, C], the whole image first -> [B, tokens, C]."""
        batch, width = features.shape[0], features.shape[3]
        (down, across), (rows, columns) = self.tiling.grid, self.tiling.patches
        tiles = features[:, 1:].reshape(batch, down, across, rows, columns, width)
        canvas = tiles.transpose(2, 3).reshape(batch, down * rows, across * columns, width)
        kept_rows, kept_columns = self.tiling.kept()
        canvas = canvas[:, kept_rows, kept_columns]
        newlines = self.newline.to(canvas.dtype).expand(batch, canvas.shape[1], 1, width)
        return torch.cat([features[:, 0], torch.cat([canvas, newlines], 2).flatten(1, 2)], 1)
