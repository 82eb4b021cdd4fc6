"""MustDrop's spatial merging in an encoder: windows of similar patches. https://arxiv.org/abs/2411.10803

After the chosen block, the r windows whose patches are most alike (mean cosine between two different patches
of a window) become one token each, their mean; all other patches stay. The paper merges once, after the
first layer, the 3x3 windows that reach a similarity of 0.8; here r is constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from ._encoder import open_encoder, why_not
from ._encoder.grid_step import GridStep, Reduced, grid_after, grid_reasons, insert
from ._grid import windows_in
from ._must_drop.spatial import length_after, merge_windows
from .traits import Traits

TRAITS = Traits(
    title="MustDrop, first stage: merging windows of similar patches",
    paper="https://arxiv.org/abs/2411.10803",
    mechanism="similarity",
    training_free=True,
    static_shape=True,
)


@dataclass(frozen=True)
class Config:
    """How many windows merge, of what size, and after which block."""

    share: float = field(
        default=0.5,
        metadata={"help": "share of the windows that merge", "unit": "1", "minimum": 0.0, "maximum": 1.0},
    )
    r: int | None = field(
        default=None,
        metadata={"help": "windows that merge, in place of share", "unit": "windows", "minimum": 0},
    )
    block: int = field(
        default=1, metadata={"help": "the block after which windows merge, counted from 1", "minimum": 1}
    )
    window: tuple[int, ...] = field(
        default=(3, 3), metadata={"help": "rows and columns of a window", "unit": "patches", "minimum": 1}
    )
    order: str = field(
        default="paper",
        metadata={
            "help": "order of the tokens: 'paper', merged windows from the most alike on, then the other"
            " patches; or 'raster', a merged window in its central patch's place",
            "choices": ("paper", "raster"),
        },
    )
    proportional_attention: bool = field(
        default=False,
        metadata={"help": "add log(size) to the attention logits, which the paper does not"},
    )
    grid: tuple[int, ...] | None = field(
        default=None,
        metadata={"help": "rows and columns of patches, where the model does not say", "minimum": 1},
    )


class MergeWindows(GridStep):
    """Merge the most similar windows: `r` of them, or `share` of all."""

    def __init__(self, config: Config, prefix: int, grid: tuple[int, ...]) -> None:
        super().__init__(prefix, grid)
        self.window = over(grid, config.window)
        self.r = windows_merged(config, grid)
        self.raster = config.order == "raster"

    def left(self) -> int:
        """Patches that leave."""
        return length_after(self.grid, self.r, self.window)

    def reduce(self, x: torch.Tensor, size: torch.Tensor | None, with_target: bool) -> Reduced:
        """x [B, P, C] -> [B, P - r (n - 1), C] for n patches a window."""
        found = merge_windows(x, self.grid, self.r, self.window, size, self.raster, with_target)
        return Reduced(found.x, found.size, found.target, found.gap)


def over(grid: tuple[int, ...], window: tuple[int, ...]) -> tuple[int, ...]:
    """The window for every axis of the grid: one frame deep in a video."""
    return (1,) * (len(grid) - len(window)) + tuple(window)


def windows_merged(config: Config, grid: tuple[int, ...]) -> int:
    """How many windows of a grid merge."""
    fit = math.prod(windows_in(grid, over(grid, config.window)))
    return round(config.share * fit) if config.r is None else config.r


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why windows of patches of `model` cannot merge."""
    reasons = why_not(model) or grid_reasons(model, config.block, config.grid, (2, 3))
    if len(config.window) != 2 or math.prod(config.window) < 2:
        reasons.append(f"window {config.window} must be rows and columns, with two patches at least")
    if reasons:
        return reasons
    grid = config.grid or grid_after(model, config.block)
    assert grid is not None  # `grid_reasons` says so
    fit = math.prod(windows_in(grid, over(grid, config.window)))
    if (config.r or 0) > fit or fit == 0:
        reasons.append(f"{fit} windows of {config.window} fit the grid {tuple(grid)}, but r is {config.r}")
    return reasons


def apply(model: nn.Module, config: Config) -> nn.Module:
    """End the chosen block by merging windows. The model given is changed and returned."""
    trunk = open_encoder(model)
    for block in trunk.opened():
        block.attention.proportional &= config.proportional_attention
    insert(trunk, config.block, config.grid, partial(MergeWindows, config))
    return model
