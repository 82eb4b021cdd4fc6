"""What every step that needs the patches' grid has in common: it works behind the prefix, on whole grids."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from .families import locate
from .tokens import Tokens
from .trunk import Trunk, find


class Reduced(NamedTuple):
    """Patches after a step.

    Attributes:
        x: [B, M, C].
        size: [B, M] how many patches each token stands for.
        target: [B, P] where each patch went; None unless asked for.
        gap: [B] by how much the closest decision was decided; None where nothing was decided.
    """

    x: torch.Tensor
    size: torch.Tensor
    target: torch.Tensor | None
    gap: torch.Tensor | None


class GridStep(nn.Module):
    """A step that reduces the patches and leaves the prefix tokens alone, by default the ending of a block.

    Args:
        prefix: leading tokens that are no patches.
        grid: how the patches that come lie.
    """

    def __init__(self, prefix: int, grid: tuple[int, ...]) -> None:
        super().__init__()
        self.prefix, self.grid = prefix, grid

    def left(self) -> int:
        """Patches that leave."""
        raise NotImplementedError

    def reduce(self, x: torch.Tensor, size: torch.Tensor | None, with_target: bool) -> Reduced:
        """Patches x [B, P, C] and their sizes [B, P] -> what leaves."""
        raise NotImplementedError

    def count(self, tokens: int) -> int:
        """Tokens after this step.

        Raises:
            ValueError: so many tokens do not lie on this step's grid.
        """
        patches = math.prod(self.grid)
        if tokens != patches + self.prefix:
            raise ValueError(
                f"{type(self).__name__} got {tokens - self.prefix} patches, which are no grid of"
                f" {' x '.join(map(str, self.grid))}: it needs the input size that the model was built"
                " for, or the field grid, and no step before it that takes patches out of their grid"
            )
        return self.prefix + self.left()

    def forward(self, tokens: Tokens) -> Tokens:
        """[B, N, C] -> [B, count(N), C]."""
        self.count(tokens.x.shape[1])
        size = None if tokens.size is None else tokens.size[:, self.prefix :]
        return self.rejoined(tokens, self.reduce(tokens.x[:, self.prefix :], size, tokens.owner is not None))

    def rejoined(self, tokens: Tokens, found: Reduced) -> Tokens:
        """What became of the patches behind the prefix tokens of `tokens`, the step's input."""
        first = tokens.x[:, : self.prefix]
        ones = torch.ones_like(first[..., 0])
        first_size = ones if tokens.size is None else tokens.size[:, : self.prefix]
        return Tokens(
            self._joined(first, found.x),
            self._joined(first_size, found.size),
            None if found.target is None else tokens.moved(self._behind_prefix(found.target)),
            tokens.margin if found.gap is None else tokens.tightened(found.gap),
        )

    def _joined(self, first: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
        return torch.cat([first, rest], 1) if self.prefix else rest

    def _behind_prefix(self, target: torch.Tensor) -> torch.Tensor:
        first = torch.arange(self.prefix, device=target.device).expand(target.shape[0], -1)
        return torch.cat([first, target + self.prefix], 1)


def grid_after(model: nn.Module, block: int) -> tuple[int, ...] | None:
    """How the patches of `model`, opened or not, lie after `block` blocks; None where that is not known."""
    trunk = find(model)
    if trunk is not None:
        return trunk.grid_after(block)
    site = locate(model)
    return None if site is None else site.grid


def grid_reasons(
    model: nn.Module, block: int, given: tuple[int, ...] | None, axes: tuple[int, ...]
) -> list[str]:
    """Why a step on the grid cannot end block `block` of `model`, whose encoder can be opened.

    Args:
        model: opened or not.
        block: counted from 1.
        given: the grid from the config, which goes before what is known of the model.
        axes: how many axes the step can do with.
    """
    trunk, site = find(model), locate(model)
    depth = len(trunk.blocks) if trunk is not None else len(site.blocks) if site else 0
    if not 1 <= block <= depth:
        return [f"block {block} does not exist: the encoder has blocks 1 to {depth}"]
    grid = given or grid_after(model, block)
    if grid is None:
        return [
            f"the patches lie on no known grid after block {block}: a step before it takes them out of their"
            " grid, or the model does not say (then give the field grid)"
        ]
    reasons = []
    if len(grid) not in axes:
        wanted = " or ".join(map(str, axes))
        reasons.append(f"the patches' grid {tuple(grid)} has {len(grid)} axes; {wanted} are needed")
    return reasons + grid_taken(model, block + 1)


def grid_taken(model: nn.Module, block: int) -> list[str]:
    """Why patches must not leave their grid in block `block` or later: a step from there on counts on it."""
    trunk = find(model)
    later = [] if trunk is None else trunk.opened()[max(0, block - 1) :]
    for number, one in enumerate(later, start=block):
        if any(isinstance(step, GridStep) for step in one.steps()):
            return [f"a step after block {number} counts on the patches' grid: drop tokens behind it only"]
    return []


def insert(
    trunk: Trunk, block: int, given: tuple[int, ...] | None, step: Callable[..., GridStep]
) -> GridStep:
    """End block `block` with `step(prefix, grid)`."""
    grid = given or trunk.grid_after(block)
    assert grid is not None  # `grid_reasons` says so
    made = step(trunk.prefix, tuple(grid))
    trunk.opened()[block - 1].endings.append(made)
    return made
