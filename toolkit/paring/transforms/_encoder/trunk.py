"""The encoder's blocks as one module: the place where every token transform works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import nn

from .block import Block, BlockParts, Reducer
from .tokens import Tokens


@dataclass
class Record:
    """What one recorded forward pass of a trunk decided."""

    stages: list[Tokens] = field(default_factory=list)  # after each reducer
    stage_names: list[str] = field(default_factory=list)


class Trunk(nn.Module):
    """A stack of pre-norm blocks over [B, N, C].

    Attributes:
        prefix: how many leading tokens are no patches (class, distillation and register tokens).
        class_token: whether token 0 is a class token.
    """

    def __init__(self, blocks: Sequence[BlockParts], prefix: int, class_token: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(parts) for parts in blocks)
        self.prefix, self.class_token = prefix, class_token
        self._record: Record | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, N, C] -> [B, N', C]."""
        tokens = Tokens(x)
        if self._record is not None:
            owner = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
            tokens = Tokens(x, None, owner, torch.full_like(x[:, 0, 0], torch.inf))
        for number, block in enumerate(self.blocks, start=1):
            tokens, stages = block(tokens)
            if self._record is not None:
                self._record.stages += stages
                self._record.stage_names += [f"block {number}"] * len(stages)
        return tokens.x

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

    def tokens_per_layer(self, tokens: int) -> list[int]:
        """How many tokens each block's MLP sees when `tokens` enter."""
        counts = []
        for block in self.opened():
            for reducer in block.reducers:
                tokens = cast(Reducer, reducer).count(tokens)
            counts.append(tokens)
        return counts
