"""The patches become k of them that stand for clusters. Survey: https://arxiv.org/abs/2507.20198

Training-free. After the chosen block, with d(i, j) = 1 - cos(x_i, x_j) and medoids that begin evenly spaced
in raster order, so many times: each patch joins its nearest medoid, and each cluster's medoid becomes its
member of the least sum of distances to the others. Their number is fixed, so that the graph is static;
nothing is drawn, so that the same image gives the same patches. A medoid gives way only for a gain of
`GAIN` a cluster: members of a pair are equally good, and rounding would decide between them.

In a vision-language model the medoids go through the projector that it was trained with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from ._encoder import Tokens, find, open_encoder, take, why_not
from ._encoder.families import locate
from ._encoder.grid_step import grid_taken
from ._last_block import BLOCK, block_of
from .traits import Traits

TRAITS = Traits(
    title="k-medoids: patches that stand for clusters",
    paper="https://arxiv.org/abs/2507.20198",
    mechanism="similarity",
    training_free=True,
    static_shape=True,
)
GAIN = 1e-3  # of a sum of distances, each from 0 to 2


@dataclass(frozen=True)
class Config:
    """How many patches stay, after which block."""

    tokens: int = field(default=36, metadata={"help": "patches that stay", "unit": "tokens", "minimum": 1})
    iterations: int = field(default=5, metadata={"help": "rounds of joining and choosing", "minimum": 1})
    block: int | None = field(default=None, metadata=BLOCK)


class Clusters(NamedTuple):
    """Medoids [B, k], ascending; each patch's cluster [B, P]; how little decided the closest choice [B]."""

    medoids: torch.Tensor
    owner: torch.Tensor
    gap: torch.Tensor


def cluster(x: torch.Tensor, k: int, iterations: int) -> Clusters:
    """k medoids of x [B, P, C]."""
    batch, count, _ = x.shape
    unit = F.normalize(x.float(), dim=2)
    distance = 1 - unit @ unit.transpose(1, 2)  # [B, P, P]
    start = [math.floor((number + 0.5) * count / k) for number in range(k)]
    medoids = torch.tensor(start, device=x.device).expand(batch, -1)
    gap = torch.full_like(distance[:, 0, 0], torch.inf)
    for _ in range(iterations):
        owner, closest = _joined(distance, medoids)
        medoids, chosen = _chosen(distance, owner, medoids)
        gap = torch.minimum(gap, torch.minimum(closest, chosen))
    medoids = medoids.sort(1).values
    owner, closest = _joined(distance, medoids)
    return Clusters(medoids, owner, torch.minimum(gap, closest))


def _joined(distance: torch.Tensor, medoids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each patch's nearest medoid [B, P], as its number; and the closest choice [B]. A medoid has itself."""
    places = torch.arange(distance.shape[1], device=distance.device)
    itself = medoids[:, :, None] == places  # [B, k, P]
    away = take(distance, medoids).masked_fill(itself, -1.0)
    return away.argmin(1), _gap(away, 1)


def _chosen(
    distance: torch.Tensor, owner: torch.Tensor, medoids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each cluster's member of the least sum [B, k]; and the closest choice [B]."""
    numbers = torch.arange(medoids.shape[1], device=distance.device)
    inside = numbers[None, :, None] == owner[:, None]  # [B, k, P]
    cost = inside.to(distance.dtype) @ distance  # of each patch to each cluster's members
    places = torch.arange(distance.shape[1], device=distance.device)
    cost = cost + GAIN * (medoids[:, :, None] != places).to(cost.dtype)
    cost = cost.masked_fill(~inside, torch.inf)
    return cost.argmin(2), _gap(cost, 2)


def _gap(values: torch.Tensor, dim: int) -> torch.Tensor:
    """By how little the least of `values` [B, k, P] was the least along `dim`: [B]."""
    if values.shape[dim] == 1:
        return torch.full_like(values[:, 0, 0], torch.inf)
    first, second = values.topk(2, dim, largest=False).values.unbind(dim)
    return (second - first).amin(1)


class Medoids(nn.Module):
    """Keep the medoids of the patches."""

    def __init__(self, tokens: int, iterations: int, prefix: int) -> None:
        super().__init__()
        self.tokens, self.iterations, self.prefix = tokens, iterations, prefix

    def count(self, tokens: int) -> int:
        """Tokens after this step.

        Raises:
            ValueError: fewer patches come than are to stay.
        """
        if tokens - self.prefix < self.tokens:
            raise ValueError(f"k_medoids keeps {self.tokens} patches, and {tokens - self.prefix} come")
        return self.prefix + self.tokens

    def forward(self, tokens: Tokens) -> Tokens:
        """[B, N, C] -> [B, prefix + k, C]."""
        self.count(tokens.x.shape[1])
        found = cluster(tokens.x[:, self.prefix :], self.tokens, self.iterations)
        first = torch.arange(self.prefix, device=tokens.x.device).expand(tokens.x.shape[0], -1)
        stay = torch.cat([first, found.medoids + self.prefix], 1)
        target = torch.cat([first, found.owner + self.prefix], 1)
        size = torch.ones_like(tokens.x[..., 0]) if tokens.size is None else tokens.size
        joined = target[:, None] == torch.arange(stay.shape[1], device=stay.device)[None, :, None]
        return Tokens(
            take(tokens.x, stay),
            (joined.to(size.dtype) @ size[..., None])[..., 0],
            tokens.moved(target),
            None if tokens.margin is None else tokens.tightened(found.gap.to(tokens.margin.dtype)),
        )


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why the patches of `model` cannot be clustered."""
    reasons = why_not(model)
    if reasons:
        return reasons
    block, trunk, site = block_of(model, config.block), find(model), locate(model)
    depth = len(trunk.blocks) if trunk is not None else len(site.blocks) if site else 0
    if not 1 <= block <= depth:
        return [f"block {block} does not exist: the encoder has blocks 1 to {depth}"]
    grid = trunk.grid if trunk is not None else site.grid if site else None
    if grid is not None and config.tokens > math.prod(grid):
        reasons.append(f"tokens: {config.tokens} cannot stay of {math.prod(grid)} patches")
    return reasons + grid_taken(model, block + 1)


def apply(model: nn.Module, config: Config) -> nn.Module:
    """End the chosen block by it. The model given is changed and returned."""
    block = block_of(model, config.block)
    trunk = find(model) or open_encoder(model)
    trunk.opened()[block - 1].endings.append(Medoids(config.tokens, config.iterations, trunk.prefix))
    return model
