"""Which positions survivors have. MustDrop's released code renumbers them; nothing else should.

After a stage, the released code numbers the survivors 0 to n - 1, though the keys cached so far were rotated
at their older positions; and a new token sits, in each layer, at that layer's own cache length. In layers
that dropped later than others a query may thus sit *before* text that it follows. `PERSISTENT` lets
every token keep its position and counts on from the prompt's full length, so that relative distances
are those of the unreduced model. It equals that model with the dropped tokens masked.
"""

from __future__ import annotations

import torch

PERSISTENT = "persistent"
PAPER_COMPAT = "paper_compat"
MODES = (PERSISTENT, PAPER_COMPAT)


def surviving_positions(
    positions: torch.Tensor, places: torch.Tensor, mode: str = PERSISTENT
) -> torch.Tensor:
    """Positions after a stage: positions [B, L], places [B, n] that stay -> [B, n]."""
    if mode == PERSISTENT:
        return positions.gather(1, places)
    return torch.arange(places.shape[1], device=places.device).expand_as(places)


def next_position(prompt_length: int, generated: int, cache_length: int, mode: str = PERSISTENT) -> int:
    """Where the next token sits in a layer.

    Args:
        prompt_length: tokens of the prompt before anything was dropped.
        generated: tokens generated so far.
        cache_length: tokens that the layer's cache holds; only `PAPER_COMPAT` asks for it.
        mode: one of MODES.
    """
    return prompt_length + generated if mode == PERSISTENT else cache_length
