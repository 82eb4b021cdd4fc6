"""Merging neighbours along one axis of a grid: adjacent frames of a video, adjacent times of audio.

Along the axis, places 2i and 2i + 1 are a pair (the last one of an odd number has none). The r pairs of the
highest cosine merge, each into its mean by size, in the place of its first token. Tokens stay in
order, so the result is again a sequence in time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch.nn import functional as F

from ._encoder import take
from ._grid import Grid
from .token_prune import rank


class MergedPairs(NamedTuple):
    """A sequence after `merge_neighbours`.

    Attributes:
        x: [B, P - r, C].
        size: [B, P - r] how many patches each token stands for.
        target: [B, P] where each patch went; None unless asked for.
        gap: [B] the cosine of the last pair merged less that of the first one left; 1 if none is left.
    """

    x: torch.Tensor
    size: torch.Tensor
    target: torch.Tensor | None
    gap: torch.Tensor


def pairs_in(grid: Grid, axis: int) -> int:
    """How many pairs there are along `axis`."""
    return grid[axis] // 2 * (math.prod(grid) // grid[axis])


@lru_cache
def pairs_of(grid: tuple[int, ...], axis: int) -> tuple[tuple[int, int], ...]:
    """The places of each pair's first and second token, in order of the first."""
    stride = math.prod(grid[axis % len(grid) + 1 :])
    first = [
        place
        for place in range(math.prod(grid))
        if (at := place // stride % grid[axis]) % 2 == 0 and at + 1 < grid[axis]
    ]
    return tuple((place, place + stride) for place in first)


def pair_scores(metric: torch.Tensor, pairs: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Cosine of each pair of places: metric [B, P, D] -> [B, pairs] fp32."""
    unit = F.normalize(metric.float(), dim=-1)
    first, second = torch.tensor(pairs, device=metric.device).unbind(1)
    return (unit[:, first] * unit[:, second]).sum(-1)


def merge_neighbours(
    x: torch.Tensor,
    grid: Grid,
    axis: int,
    r: int,
    size: torch.Tensor | None = None,
    with_target: bool = False,
) -> MergedPairs:
    """Merge the r most similar pairs of neighbours along `axis`; equal cosines by place.

    Args:
        x: [B, P, C].
        grid: whose product is P.
        axis: of the grid.
        r: tokens that go, at most `pairs_in(grid, axis)`.
        size: [B, P] how many patches each token stands for; None for one each.
        with_target: whether to compute `target`.

    Raises:
        ValueError: there are fewer pairs than r.
    """
    places = pairs_of(tuple(grid), axis)
    pairs, count = len(places), x.shape[1]
    if not 0 <= r <= pairs:
        raise ValueError(f"r is {r}, but a grid of {tuple(grid)} has {pairs} pairs along axis {axis}")
    size = torch.ones_like(x[..., 0]) if size is None else size
    if r == 0:
        stays = torch.arange(count, device=x.device).expand(x.shape[0], -1)
        return MergedPairs(x, size, stays if with_target else None, torch.ones_like(size[:, 0]))
    ranked, order = rank(pair_scores(x, places))
    joined = (order[:, :r, None] == torch.arange(pairs, device=x.device)).any(1)  # [B, pairs]
    partner, pair = _constants(places, count, x.device)
    merges = joined[:, pair] & (partner != torch.arange(count, device=x.device))  # [B, P]
    own, other = size[..., None], size[:, partner][..., None]
    means = torch.where(merges[..., None], (x * own + x[:, partner] * other) / (own + other), x)
    sizes = torch.where(merges, size + size[:, partner], size)
    goes = merges & (partner < torch.arange(count, device=x.device))
    keys = goes.long() * count + torch.arange(count, device=x.device)
    kept = keys.sort(dim=1).values[:, : count - r]  # distinct keys: those that go sort behind
    target = _target(goes, partner) if with_target else None
    gap = ranked[:, r - 1] - ranked[:, r] if r < pairs else torch.ones_like(ranked[:, 0])
    return MergedPairs(take(means, kept), sizes.gather(1, kept), target, gap)


def _constants(
    pairs: Sequence[tuple[int, int]], count: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each token's partner, itself where it has none, and the number of the pair that it is in: [P] each."""
    partner, number = list(range(count)), [0] * count
    for index, (first, second) in enumerate(pairs):
        partner[first], partner[second] = second, first
        number[first] = number[second] = index
    return torch.tensor(partner, device=device), torch.tensor(number, device=device)


def _target(goes: torch.Tensor, partner: torch.Tensor) -> torch.Tensor:
    before = (~goes).long().cumsum(1) - 1  # the place of each token that stays
    return torch.where(goes, before[:, partner], before)
