"""Merging neighbours along one axis of a grid: adjacent frames of a video, adjacent times of audio.

Along the axis, places 2i and 2i + 1 are a pair (the last one of an odd number has none). The r pairs of the
highest cosine merge, each into its mean by size, in the place of its first token. Tokens stay in
order, so the result is again a sequence in time.
"""

from __future__ import annotations

import math
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


def pair_places(grid: Grid, axis: int, device: torch.device | None = None) -> torch.Tensor:
    """[pairs, 2] int64: the places of each pair's first and second token, in order of the first."""
    places = torch.arange(math.prod(grid), device=device).reshape(*grid).movedim(axis, 0)
    even = places[: grid[axis] // 2 * 2]
    pairs = torch.stack([even[::2].reshape(-1), even[1::2].reshape(-1)], 1)
    return pairs[pairs[:, 0].argsort()]


def pair_scores(metric: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Cosine of each pair: metric [B, P, D], places [pairs, 2] -> [B, pairs] fp32."""
    unit = F.normalize(metric.float(), dim=-1)
    return (unit[:, places[:, 0]] * unit[:, places[:, 1]]).sum(-1)


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
    places = pair_places(grid, axis, x.device)
    pairs = places.shape[0]
    if not 0 <= r <= pairs:
        raise ValueError(f"r is {r}, but a grid of {tuple(grid)} has {pairs} pairs along axis {axis}")
    ranked, order = rank(pair_scores(x, places))
    joined = (order[:, :r, None] == torch.arange(pairs, device=x.device)).any(1)  # [B, pairs]
    count, partner, pair = _constants(places, x)
    merges = joined[:, pair] & (partner != torch.arange(count, device=x.device))  # [B, P]
    size = torch.ones_like(x[..., 0]) if size is None else size
    own, other = size[..., None], size[:, partner][..., None]
    means = torch.where(merges[..., None], (x * own + x[:, partner] * other) / (own + other), x)
    sizes = torch.where(merges, size + size[:, partner], size)
    goes = merges & (partner < torch.arange(count, device=x.device))
    keys = goes.long() * count + torch.arange(count, device=x.device)
    kept = keys.sort(dim=1).values[:, : count - r]  # distinct keys: those that go sort behind
    target = _target(goes, partner) if with_target else None
    gap = ranked[:, r - 1] - ranked[:, r] if 0 < r < pairs else torch.ones_like(ranked[:, 0])
    return MergedPairs(take(means, kept), sizes.gather(1, kept), target, gap)


def _constants(places: torch.Tensor, x: torch.Tensor) -> tuple[int, torch.Tensor, torch.Tensor]:
    """How many tokens, each one's partner (itself where it has none), and the pair it is in."""
    count = x.shape[1]
    partner = torch.arange(count, device=x.device)
    partner[places[:, 0]], partner[places[:, 1]] = places[:, 1], places[:, 0]
    pair = torch.zeros_like(partner)
    pair[places] = torch.arange(places.shape[0], device=x.device)[:, None].expand_as(places)
    return count, partner, pair


def _target(goes: torch.Tensor, partner: torch.Tensor) -> torch.Tensor:
    before = (~goes).long().cumsum(1) - 1  # the place of each token that stays
    return torch.where(goes, before[:, partner], before)
