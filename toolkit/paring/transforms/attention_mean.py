"""Each region of patches becomes its mean by class-token attention. Survey: https://arxiv.org/abs/2507.20198

Training-free. With a_i the head-mean attention of the class token to patch i in the chosen block, the token
of region R is sum_{i in R} a_i x_i / sum_{i in R} a_i, between attention and MLP. Regions are s x s patches;
those at the far edges hold what is left. The plain mean over a region is `token_pool`.

In a vision-language model the tokens go through the projector that it was trained with: nothing is learned
anew, and nothing of what few tokens lose is won back. `query_compressor` is the trained counterpart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import nn

from ._encoder import Attended, Tokens, find, open_encoder, why_not
from ._encoder.grid_step import GridStep, Reduced, grid_reasons
from ._grid import pool, pool_owner, pooled_grid
from ._last_block import BLOCK, block_of
from .token_prune import class_token_reasons
from .traits import Traits

TRAITS = Traits(
    title="Attention mean: regions of patches weighted by the class token",
    paper="https://arxiv.org/abs/2507.20198",
    mechanism="attention",
    training_free=True,
    static_shape=True,
)
LEAST = 1e-6  # attention: below it, patches of a region count alike, as where fp16 has none left


@dataclass(frozen=True)
class Config:
    """How large the regions are, and after which block."""

    stride: int = field(
        default=2, metadata={"help": "patches a side of a region", "unit": "patches", "minimum": 2}
    )
    block: int | None = field(default=None, metadata=BLOCK)


class AttentionMean(GridStep):
    """Each region's mean by attention, between attention and MLP.

    Args:
        stride: patches a side of a region.
        prefix: leading tokens that are no patches.
        grid: how the patches that come lie.
    """

    needs_class_scores = True

    def __init__(self, stride: int, prefix: int, grid: tuple[int, ...]) -> None:
        super().__init__(prefix, grid)
        self.window = (stride,) * len(grid)

    def regrid(self, grid: tuple[int, ...]) -> tuple[int, ...]:
        """The grid of what leaves. It follows from this step's own grid, not from what was known before."""
        return pooled_grid(self.grid, self.window)

    def left(self) -> int:
        """Patches that leave."""
        return math.prod(self.regrid(self.grid))

    def forward(self, tokens: Tokens, attended: Attended) -> Tokens:  # type: ignore[override]
        """[B, N, C] -> [B, count(N), C]."""
        assert attended.class_scores is not None
        self.count(tokens.x.shape[1])
        patches = tokens.x[:, self.prefix :]
        scores = attended.class_scores[:, self.prefix :] + LEAST
        means, _ = pool(patches, scores, self.grid, self.window)
        size = torch.ones_like(tokens.x[..., 0]) if tokens.size is None else tokens.size
        _, sizes = pool(patches[..., :1], size[:, self.prefix :], self.grid, self.window)
        target = None
        if tokens.owner is not None:
            target = pool_owner(self.grid, self.window, means.device).expand(len(means), -1)
        return self.rejoined(tokens, Reduced(means, sizes, target, None))


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why the patches of `model` cannot be weighted by class-token attention."""
    reasons = why_not(model)
    block = block_of(model, config.block)
    reasons = reasons or grid_reasons(model, block, None, (2,))
    return reasons or class_token_reasons(model, (block,))


def apply(model: nn.Module, config: Config) -> nn.Module:
    """Put the step into the chosen block. The model given is changed and returned."""
    block = block_of(model, config.block)
    trunk = find(model) or open_encoder(model)
    # The grid as it comes to this place: whatever ends the block comes behind.
    grid = trunk.grid_after(block - 1)
    assert grid is not None  # `check` says so
    trunk.opened()[block - 1].reducers.append(AttentionMean(config.stride, trunk.prefix, grid))
    return model
