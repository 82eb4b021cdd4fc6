"""Merging of patches that hardly change between video frames. Survey: https://arxiv.org/abs/2507.20198

After the chosen block, frames 2t and 2t + 1 are compared place by place; the pairs of the highest cosine
merge into their mean, weighted by how many patches each stands for. How many merge is constant. Frames
here are those the encoder sees: tubes of two images each in VideoMAE.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from torch import nn

from ._encoder import open_encoder, why_not
from ._encoder.grid_step import grid_reasons, insert
from ._merge_step import MergeNeighbours
from .traits import Traits

TRAITS = Traits(
    title="Frame merging: patches that stay the same from frame to frame",
    paper="https://arxiv.org/abs/2507.20198",
    mechanism="similarity",
    training_free=True,
    static_shape=True,
)


@dataclass(frozen=True)
class Config:
    """How many tokens are left, and after which block."""

    keep_ratio: float = field(
        default=0.75,
        metadata={
            "help": "share of the tokens left; half at least, as frames merge in pairs (the last of an odd"
            " number of frames has none)",
            "unit": "1",
            "minimum": 0.5,
            "maximum": 1.0,
        },
    )
    block: int = field(
        default=1, metadata={"help": "the block after which frames merge, counted from 1", "minimum": 1}
    )
    proportional_attention: bool = field(
        default=True, metadata={"help": "add log(size) to the attention logits"}
    )
    grid: tuple[int, ...] | None = field(
        default=None,
        metadata={"help": "frames, rows and columns of patches, where the model does not say", "minimum": 1},
    )


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why frames of `model` cannot merge."""
    return why_not(model) or grid_reasons(model, config.block, config.grid, (3,))


def apply(model: nn.Module, config: Config) -> nn.Module:
    """End the chosen block by merging frames. The model given is changed and returned."""
    trunk = open_encoder(model)
    for block in trunk.opened():
        block.attention.proportional &= config.proportional_attention
    insert(trunk, config.block, config.grid, partial(MergeNeighbours, 0, config.keep_ratio))
    return model
