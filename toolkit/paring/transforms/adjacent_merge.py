"""Merging of neighbouring times in an audio encoder. Survey: https://arxiv.org/abs/2507.20198

After each chosen block, tokens 2i and 2i + 1 in time are compared, in a spectrogram transformer within each
band of frequencies; the pairs of the highest cosine merge into their mean, weighted by size. Tokens stay in
order, so that a sequence (Whisper) can merge after several blocks; a spectrogram's grid (AST) has gaps after
the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from torch import nn

from ._encoder import open_encoder, why_not
from ._encoder.grid_step import grid_after, grid_reasons, insert
from ._merge_step import MergeNeighbours
from .traits import Traits

TRAITS = Traits(
    title="Adjacent merging: neighbouring times that sound alike",
    paper="https://arxiv.org/abs/2507.20198",
    mechanism="similarity",
    training_free=True,
    static_shape=True,
)


@dataclass(frozen=True)
class Config:
    """How many tokens are left, and after which blocks."""

    keep_ratio: float = field(
        default=0.75,
        metadata={
            "help": "share of the tokens left by each chosen block; half at least, as times merge in pairs"
            " (the last of an odd number of times has none)",
            "unit": "1",
            "minimum": 0.5,
            "maximum": 1.0,
        },
    )
    blocks: tuple[int, ...] = field(
        default=(1,),
        metadata={"help": "the blocks after which times merge, counted from 1", "minimum": 1},
    )
    proportional_attention: bool = field(
        default=True, metadata={"help": "add log(size) to the attention logits"}
    )
    grid: tuple[int, ...] | None = field(
        default=None,
        metadata={
            "help": "times, or frequencies and times, where the model does not say; for the first block",
            "minimum": 1,
        },
    )


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why times of `model` cannot merge."""
    if not config.blocks or len(set(config.blocks)) < len(config.blocks):
        return [f"blocks {config.blocks} must be one or more different numbers"]
    reasons = why_not(model)
    for block in sorted(config.blocks) if not reasons else ():
        reasons += grid_reasons(model, block, config.grid, (1, 2))
    if reasons:
        return list(dict.fromkeys(reasons))
    grid = config.grid or grid_after(model, min(config.blocks))
    if len(config.blocks) > 1 and grid is not None and len(grid) > 1:
        reasons.append(f"the grid {tuple(grid)} has gaps after the first merging: give one block")
    return reasons


def apply(model: nn.Module, config: Config) -> nn.Module:
    """End each chosen block by merging times. The model given is changed and returned."""
    trunk = open_encoder(model)
    for block in trunk.opened():
        block.attention.proportional &= config.proportional_attention
    given = config.grid
    for number in sorted(config.blocks):
        insert(trunk, number, given, partial(MergeNeighbours, -1, config.keep_ratio))
        given = None
    return model
