"""Average pooling of the patches, the plainest transformation. Survey: https://arxiv.org/abs/2507.20198

After the chosen block, each window of neighbouring patches becomes its mean: 2x2 patches of an image, two
times of audio, two frames of a video. No patch is scored, so the result does not depend on the input's
content, and the tokens lie on a grid again. Windows at the far edges hold what is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from ._encoder import open_encoder, why_not
from ._encoder.grid_step import GridStep, Reduced, grid_after, grid_reasons, insert
from ._grid import pool, pool_owner, pooled_grid
from .traits import Traits

TRAITS = Traits(
    title="Token pooling: the mean of neighbouring patches",
    paper="https://arxiv.org/abs/2507.20198",
    mechanism="transformation",
    training_free=True,
    static_shape=True,
)


@dataclass(frozen=True)
class Config:
    """Which windows are pooled, after which block."""

    window: tuple[int, ...] = field(
        default=(2, 2),
        metadata={
            "help": "patches pooled along each axis of the grid: rows and columns; frames, rows and columns;"
            " or times",
            "unit": "patches",
            "minimum": 1,
        },
    )
    block: int = field(
        default=1, metadata={"help": "the block after which patches are pooled, counted from 1", "minimum": 1}
    )
    proportional_attention: bool = field(
        default=True, metadata={"help": "add log(size) to the attention logits"}
    )
    grid: tuple[int, ...] | None = field(
        default=None, metadata={"help": "the grid of patches, where the model does not say", "minimum": 1}
    )


class PoolTokens(GridStep):
    """The mean of each window."""

    def __init__(self, window: tuple[int, ...], prefix: int, grid: tuple[int, ...]) -> None:
        super().__init__(prefix, grid)
        self.window = (1,) * (len(grid) - len(window)) + tuple(window)

    def regrid(self, grid: tuple[int, ...]) -> tuple[int, ...]:
        """The grid of what leaves. It follows from this step's own grid, not from what was known before."""
        return pooled_grid(self.grid, self.window)

    def left(self) -> int:
        """Patches that leave."""
        return math.prod(self.regrid(self.grid))

    def reduce(self, x: torch.Tensor, size: torch.Tensor | None, with_target: bool) -> Reduced:
        """x [B, P, C] -> [B, Q, C]."""
        x, size = pool(x, size, self.grid, self.window)
        return Reduced(x, size, self._target(x) if with_target else None, None)

    def _target(self, x: torch.Tensor) -> torch.Tensor:
        return pool_owner(self.grid, self.window, x.device).expand(x.shape[0], -1)


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why the patches of `model` cannot be pooled."""
    reasons = why_not(model) or grid_reasons(model, config.block, config.grid, (1, 2, 3))
    grid = None if reasons else config.grid or grid_after(model, config.block)
    if grid is not None and len(config.window) > len(grid):
        reasons.append(f"window {config.window} has more axes than the patches' grid {tuple(grid)}")
    return reasons


def apply(model: nn.Module, config: Config) -> nn.Module:
    """End the chosen block by pooling. The model given is changed and returned."""
    trunk = open_encoder(model)
    for block in trunk.opened():
        block.attention.proportional &= config.proportional_attention
    insert(trunk, config.block, config.grid, partial(PoolTokens, config.window))
    return model
