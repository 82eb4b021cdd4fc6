"""MustDrop's first stage: merge windows whose patches look alike. https://arxiv.org/abs/2411.10803

Windows of 3x3 patches do not overlap. With n patches a window, its score is the mean of the n (n - 1)
cosines between two different patches (72 for 3x3). Each of the r windows of the highest score becomes
the mean of its patches. The paper takes for r how many windows reach 0.8, the least over the batch:
`batch_budget`. A constant r exports, and leaves every sample independent of its batch mates.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from .._encoder import take
from .._grid import Grid, window_owner, window_places, windowed
from ..token_prune import rank

WINDOW = (3, 3)
THRESHOLD = 0.8


class MergedWindows(NamedTuple):
    """A sequence after `merge_windows`.

    Attributes:
        x: [B, M, C], M = P - r (n - 1).
        size: [B, M] how many patches each token stands for.
        chosen: [B, r] the merged windows, in raster count, from the most alike on.
        target: [B, P] where each patch went; None unless asked for.
        gap: [B] the score of the last window merged less that of the first one left; 1 if none is left.
    """

    x: torch.Tensor
    size: torch.Tensor
    chosen: torch.Tensor
    target: torch.Tensor | None
    gap: torch.Tensor


def window_scores(x: torch.Tensor, grid: Grid, window: Grid = WINDOW) -> torch.Tensor:
    """Mean cosine between two different patches of each window: x [B, P, C] -> [B, W] fp32.

    With u_i the patches at length 1: |sum u_i|^2 is the sum of all n^2 cosines, so no n x n matrix is made.
    """
    unit = torch.nn.functional.normalize(windowed(x, grid, window).float(), dim=-1)
    every = unit.sum(2).square().sum(-1)
    own = unit.square().sum((2, 3))
    return (every - own) / (unit.shape[2] * (unit.shape[2] - 1))


def similar(scores: torch.Tensor, threshold: float = THRESHOLD) -> torch.Tensor:
    """How many windows of each sample reach the threshold: [B, W] -> [B] int64."""
    return (scores >= threshold).sum(1)


def batch_budget(scores: torch.Tensor, threshold: float = THRESHOLD) -> int:
    """The paper's r: the least count over the batch. Depends on the values: does not export."""
    return int(similar(scores, threshold).min())


def merge_windows(
    x: torch.Tensor,
    grid: Grid,
    r: int,
    window: Grid = WINDOW,
    size: torch.Tensor | None = None,
    raster: bool = False,
    with_target: bool = False,
) -> MergedWindows:
    """Merge the r windows that are most alike; equal scores by raster order.

    Args:
        x: [B, P, C], without class token.
        grid: whose product is P.
        r: windows that merge, at most those that fit the grid.
        window: the patches of one along each axis of the grid.
        size: [B, P] how many patches each token stands for; the mean is weighted by it. None for one each.
        raster: False for the paper's order, merged windows from the most alike on and then the untouched
            patches by index; True for all tokens by index, a merged window in its central patch's place.
        with_target: whether to compute `target`.

    Raises:
        ValueError: r windows do not fit the grid.
    """
    places = window_places(grid, window, x.device)
    windows, inside = places.shape
    if not 0 <= r <= windows:
        raise ValueError(f"r is {r}, but {windows} windows of {tuple(window)} fit a grid of {tuple(grid)}")
    if r == 0:
        return _unmerged(x, size, with_target)
    ranked, order = rank(window_scores(x, grid, window))
    chosen = order[:, :r]
    weights = torch.ones_like(x[..., :1]) if size is None else size[..., None]
    sizes = windowed(weights, grid, window).sum(2)
    means = windowed(x if size is None else x * weights, grid, window).sum(2) / sizes
    rest = _untouched(chosen, window_owner(grid, window, x.device), windows, inside)
    merged = torch.cat([take(means, chosen), take(x, rest)], 1)
    merged_size = torch.cat([take(sizes, chosen), take(weights, rest)], 1)
    index = torch.cat([places[:, inside // 2][chosen], rest], 1)
    placing = index.sort(dim=1).indices if raster else None
    if placing is not None:
        merged, merged_size = take(merged, placing), take(merged_size, placing)
    target = _target(chosen, rest, places, placing) if with_target else None
    gap = ranked[:, r - 1] - ranked[:, r] if r < windows else torch.ones_like(ranked[:, 0])
    return MergedWindows(merged, merged_size[..., 0], chosen, target, gap)


def _unmerged(x: torch.Tensor, size: torch.Tensor | None, with_target: bool) -> MergedWindows:
    place = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
    size = torch.ones_like(x[..., 0]) if size is None else size
    return MergedWindows(x, size, place[:, :0], place if with_target else None, torch.ones_like(size[:, 0]))


def _untouched(chosen: torch.Tensor, owner: torch.Tensor, windows: int, inside: int) -> torch.Tensor:
    """[B, P - r n] the patches in no chosen window, ascending: distinct sort keys, so no ties anywhere."""
    count = owner.shape[0]
    merges = (chosen[:, :, None] == torch.arange(windows + 1, device=owner.device)).any(1)  # [B, W + 1]
    keys = merges[:, owner].long() * count + torch.arange(count, device=owner.device)
    return keys.sort(dim=1).values[:, : count - inside * chosen.shape[1]]


def _target(
    chosen: torch.Tensor, rest: torch.Tensor, places: torch.Tensor, placing: torch.Tensor | None
) -> torch.Tensor:
    batch, r = chosen.shape
    inside = places[chosen].flatten(1)  # [B, r n]
    merged = torch.arange(r, device=chosen.device).repeat_interleave(places.shape[1])
    alone = torch.arange(rest.shape[1], device=chosen.device) + r
    places_after = torch.cat([merged, alone]).expand(batch, -1)
    if placing is not None:  # placing[j] moves to j
        places_after = placing.argsort(dim=1).gather(1, places_after)
    index = torch.cat([inside, rest], 1)
    return torch.zeros_like(index).scatter(1, index, places_after)


def length_after(grid: Grid, r: int, window: Grid = WINDOW) -> int:
    """Tokens after r windows have merged, without class token."""
    return math.prod(grid) - r * (math.prod(window) - 1)
