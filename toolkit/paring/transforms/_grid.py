"""Patches that lie on a grid of any number of axes, slowest axis first: windows, pooling, unshuffling.

A grid is (rows, columns) for an image, (frames, rows, columns) for a video, (times,) for audio. All counts
follow from the grid, never from values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import torch
from torch.nn import functional as F

Grid = Sequence[int]


def windows_in(grid: Grid, window: Grid) -> tuple[int, ...]:
    """How many whole windows fit along each axis."""
    return tuple(side // edge for side, edge in zip(grid, window, strict=True))


def windowed(x: torch.Tensor, grid: Grid, window: Grid) -> torch.Tensor:
    """The whole windows of x [B, P, C], without overlap -> [B, W, window's patches, C].

    Windows and the patches within each are in raster order; patches beyond the last whole window of an
    axis are left out.
    """
    counts = windows_in(grid, window)
    x = x.reshape(x.shape[0], *grid, x.shape[-1])
    for axis, (count, edge) in enumerate(zip(counts, window, strict=True), start=1):
        x = x.narrow(axis, 0, count * edge)
    split = [size for pair in zip(counts, window, strict=True) for size in pair]
    x = x.reshape(x.shape[0], *split, x.shape[-1])
    axes = range(1, 2 * len(counts) + 1)
    x = x.permute(0, *axes[::2], *axes[1::2], len(axes) + 1)
    return x.reshape(x.shape[0], math.prod(counts), math.prod(window), x.shape[-1])


def window_places(grid: Grid, window: Grid, device: torch.device | None = None) -> torch.Tensor:
    """Which patches each whole window holds -> [W, window's patches] int64, in raster order."""
    places = torch.arange(math.prod(grid), device=device)
    return windowed(places[None, :, None], grid, window)[0, :, :, 0]


def window_owner(grid: Grid, window: Grid, device: torch.device | None = None) -> torch.Tensor:
    """Which window holds each patch -> [P] int64; W, the count of windows, where none does."""
    return torch.tensor(_owner(tuple(grid), tuple(window)), device=device)


@lru_cache
def _owner(grid: tuple[int, ...], window: tuple[int, ...]) -> tuple[int, ...]:
    """`window_owner` as numbers: a constant of the graph, where writing into a tensor would be a scatter."""
    counts = windows_in(grid, window)
    numbers = {cell: i for i, cell in enumerate(product(*map(range, counts)))}
    spots = product(*map(range, grid))
    cells = (tuple(place // edge for place, edge in zip(spot, window, strict=True)) for spot in spots)
    return tuple(numbers.get(cell, len(numbers)) for cell in cells)


def pool(
    x: torch.Tensor, size: torch.Tensor | None, grid: Grid, window: Grid
) -> tuple[torch.Tensor, torch.Tensor]:
    """Average pooling: each window becomes its mean, weighted by how many patches its tokens stand for.

    Windows at the far edges hold what is left, so that no patch is lost: the mass sum(size * x) stays.

    Args:
        x: [B, P, C].
        size: [B, P]; None where every token stands for one patch.
        grid, window: of one length.

    Returns:
        x [B, Q, C] and size [B, Q], Q = product of ceil(grid / window), in raster order.
    """
    even = all(side % edge == 0 for side, edge in zip(grid, window, strict=True))
    if even and size is None:
        inside = windowed(x, grid, window)
        return inside.mean(2), torch.full_like(inside[:, :, 0, 0], inside.shape[2])
    size = torch.ones_like(x[..., 0]) if size is None else size
    padded = pooled_grid(grid, window, scaled=True)
    weights = windowed(_padded(size[..., None], grid, padded), padded, window)
    tokens = windowed(_padded(x * size[..., None], grid, padded), padded, window)
    total = weights.sum(2)
    return tokens.sum(2) / total, total[..., 0]


def pool_owner(grid: Grid, window: Grid, device: torch.device | None = None) -> torch.Tensor:
    """Which token of `pool` each patch goes into -> [P] int64."""
    whole = pooled_grid(grid, window, scaled=True)
    owner = window_owner(whole, window, device).reshape(whole)
    for axis, side in enumerate(grid):
        owner = owner.narrow(axis, 0, side)
    return owner.flatten()


def pooled_grid(grid: Grid, window: Grid, scaled: bool = False) -> tuple[int, ...]:
    """The grid after `pool`; `scaled`, the same in patches: `grid` up to whole windows."""
    return tuple(-(-side // edge) * (edge if scaled else 1) for side, edge in zip(grid, window, strict=True))


def _padded(x: torch.Tensor, grid: Grid, padded: Grid) -> torch.Tensor:
    """x [B, P, C] with zeros behind the end of each axis of its grid."""
    missing = [0, 0]  # F.pad counts from the last axis
    for side, wanted in zip(reversed(grid), reversed(padded), strict=True):
        missing += [0, wanted - side]
    x = F.pad(x.reshape(x.shape[0], *grid, x.shape[-1]), missing)
    return x.reshape(x.shape[0], math.prod(padded), x.shape[-1])


def unshuffle(x: torch.Tensor, grid: Grid, window: Grid) -> torch.Tensor:
    """Space to depth: the patches of each window side by side, no value lost.

    x [B, P, C] -> [B, P / w, w * C], w the window's patches; the window's raster order is the order of the
    channel groups. For a projector that takes wider tokens.

    Raises:
        ValueError: a side of the grid is no multiple of the window's.
    """
    if any(side % edge for side, edge in zip(grid, window, strict=True)):
        raise ValueError(f"windows of {tuple(window)} do not tile a grid of {tuple(grid)}; use pool")
    return windowed(x, grid, window).flatten(2)


def stack(x: torch.Tensor, k: int) -> torch.Tensor:
    """`k` neighbours of a sequence as one token: x [B, N, C] -> [B, ceil(N / k), k * C].

    The last token is filled up with zeros. The usual step between an audio encoder and a language model.
    """
    batch, count, width = x.shape
    whole = -(-count // k) * k
    return _padded(x, (count,), (whole,)).reshape(batch, whole // k, k * width)
