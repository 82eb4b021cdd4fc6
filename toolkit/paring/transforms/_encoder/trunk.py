"""The encoder's blocks as one module: the place where every token transform works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, cast, runtime_checkable

import torch
from torch import nn

from .block import Block, BlockParts, Ending, Reducer
from .tokens import Tokens


@runtime_checkable
class Regridding(Protocol):
    """A reducer or ending whose tokens lie on a grid again."""

    def regrid(self, grid: tuple[int, ...]) -> tuple[int, ...] | None:
        """The grid of what leaves."""


@dataclass
class Record:
    """What one recorded forward pass of a trunk decided."""

    stages: list[Tokens] = field(default_factory=list)  # after each reducer and each ending
    stage_names: list[str] = field(default_factory=list)


class Trunk(nn.Module):
    """A stack of pre-norm blocks over [B, N, C].

    Attributes:
        prefix: how many leading tokens are no patches (class, distillation and register tokens).
        class_token: whether token 0 is a class token.
        grid: how the patches that enter lie, slowest axis first: (rows, columns), (frames, rows,
            columns), (frequencies, times) or (times,); None where that is not known.
        mean_follows: whether the model takes the plain mean over what leaves. Tokens that stand for
            several patches then leave scaled, so that this mean is the one over all patches.
    """

    def __init__(
        self,
        blocks: Sequence[BlockParts],
        prefix: int,
        class_token: bool,
        grid: tuple[int, ...] | None = None,
        mean_follows: bool = False,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(parts) for parts in blocks)
        self.prefix, self.class_token = prefix, class_token
        self.grid, self.mean_follows = grid, mean_follows
        self._record: Record | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, C] -> [B, N', C]."""
        tokens, _ = self._run(x, ())
        return self._scaled(tokens) if self.mean_follows else tokens.x

    def states(self, x: torch.Tensor, numbers: Sequence[int]) -> list[torch.Tensor]:
        """The tokens after so many blocks, 0 being those that enter: transformers' `hidden_states[number]`.

        Args:
            x: [B, N, C].
            numbers: of blocks, each from 0 to their count; the order is kept.

        Returns:
            [B, N_i, C] each: lengths differ where a block between makes the sequence shorter.

        Raises:
            ValueError: there are not so many blocks.
        """
        if not all(0 <= number <= len(self.blocks) for number in numbers):
            raise ValueError(f"states {tuple(numbers)} of a trunk that has 0 to {len(self.blocks)}")
        _, found = self._run(x, numbers)
        return [found[number] for number in numbers]

    def _run(self, x: torch.Tensor, wanted: Sequence[int]) -> tuple[Tokens, dict[int, torch.Tensor]]:
        """What leaves, and what the `wanted` numbers of blocks give."""
        tokens, found = Tokens(x), {0: x}
        if self._record is not None:
            owner = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
            tokens = Tokens(x, None, owner, torch.full_like(x[:, 0, 0], torch.inf))
        for number, block in enumerate(self.blocks, start=1):
            tokens, stages = block(tokens)
            if number in wanted:
                found[number] = tokens.x
            if self._record is not None:
                self._record.stages += stages
                self._record.stage_names += [f"block {number}"] * len(stages)
        return tokens, found

    def _scaled(self, tokens: Tokens) -> torch.Tensor:
        if tokens.size is None:
            return tokens.x
        mean = tokens.size[:, self.prefix :].mean(1, keepdim=True)
        return tokens.x * (tokens.size / mean)[..., None]

    def opened(self) -> list[Block]:
        """The blocks, with their type."""
        return [block for block in self.blocks if isinstance(block, Block)]

    @contextmanager
    def recording(self) -> Iterator[Record]:
        """Inside, a forward pass also writes what it decided into the record given."""
        self._record = record = Record()
        try:
            yield record
        finally:
            self._record = None

    def grid_after(self, number: int) -> tuple[int, ...] | None:
        """How the patches lie after `number` blocks; None where that is not known.

        A step that leaves a grid says which by its method `regrid`; any other leaves none.
        """
        grid = self.grid
        for block in self.opened()[:number]:
            for step in block.steps():
                grid = step.regrid(grid) if grid is not None and isinstance(step, Regridding) else None
        return grid

    def tokens_per_layer(self, tokens: int) -> list[int]:
        """How many tokens each block's MLP sees when `tokens` enter."""
        counts = []
        for block in self.opened():
            for reducer in block.reducers:
                tokens = cast(Reducer, reducer).count(tokens)
            counts.append(tokens)
            for ending in block.endings:
                tokens = cast(Ending, ending).count(tokens)
        return counts

    def tokens_after(self, tokens: int) -> list[int]:
        """How many tokens `states` gives for 0, 1, ... blocks when `tokens` enter."""
        counts = [tokens]
        for block in self.opened():
            for step in block.steps():
                tokens = cast(Ending, step).count(tokens)
            counts.append(tokens)
        return counts


def find(model: nn.Module) -> Trunk | None:
    """The trunk inside `model` once `open_encoder` has put one there."""
    return next((module for module in model.modules() if isinstance(module, Trunk)), None)
