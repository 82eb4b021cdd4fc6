"""The block after which a training-free method makes patches few."""

from __future__ import annotations

from torch import nn

from . import _vision_language
from ._encoder import find
from ._encoder.families import locate

BLOCK = {  # metadata of a Config's `block`
    "help": "the block that ends with it, counted from 1; by default the last before a projector, and the"
    " middle one of a model that classifies",
    "minimum": 1,
}


def block_of(model: nn.Module, block: int | None) -> int:
    """`block`, or where it is None the default. 0 for a model without an encoder that can be opened."""
    if block is not None:
        return block
    trunk, site = find(model), locate(model)
    depth = len(trunk.blocks) if trunk is not None else len(site.blocks) if site else 0
    return depth if _vision_language.find(model) is not None else (depth + 1) // 2
