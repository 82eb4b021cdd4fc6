"""The tokens that travel through an encoder, and the bookkeeping that travels with them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch


class Tokens(NamedTuple):
    """A sequence of tokens between two blocks.

    Attributes:
        x: [B, N, C] the tokens.
        size: [B, N] how many patches each token stands for; None while every one stands for one.
        owner: [B, P] for each original token the index of the token that holds it now, -1 when it was
            dropped; None unless a map is asked for.
        margin: [B] the smallest gap by which any selection so far was decided, relative to the scores;
            None unless a map is asked for. Below rounding error, another backend may select otherwise.
    """

    x: torch.Tensor
    size: torch.Tensor | None = None
    owner: torch.Tensor | None = None
    margin: torch.Tensor | None = None

    def moved(self, target: torch.Tensor) -> torch.Tensor | None:
        """`owner` after token i went to index `target[b, i]` ([B, N], -1 for dropped)."""
        if self.owner is None:
            return None
        held = target.gather(1, self.owner.clamp(min=0))
        return torch.where(self.owner < 0, self.owner, held)

    def tightened(self, gap: torch.Tensor) -> torch.Tensor | None:
        """`margin` after a selection that was decided by `gap` ([B])."""
        return None if self.margin is None else torch.minimum(self.margin, gap)


@torch.library.custom_op("paring::take", mutates_args=())
def take(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows of each sequence: x [B, N, C], index [B, K] or [B, K, 1] int64 -> [B, K, C].

    An operator of its own, because backends differ in how they gather whole rows best: ONNX does by
    GatherND with a batch dimension, while `torch.gather` would repeat the index C times.
    """
    return x.gather(1, _every_channel(index, x.shape[2]))


def _every_channel(index: torch.Tensor, channels: int) -> torch.Tensor:
    return index.reshape(*index.shape[:2], 1).expand(-1, -1, channels)


@take.register_fake
def _(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[0], index.shape[1], x.shape[2])


def _take_backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
    (index,) = ctx.saved_tensors
    empty = gradient.new_zeros(gradient.shape[0], ctx.count, gradient.shape[2])
    return empty.scatter_add(1, _every_channel(index, gradient.shape[2]), gradient), None


def _take_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor) -> None:
    ctx.save_for_backward(inputs[1])
    ctx.count = inputs[0].shape[1]


take.register_autograd(_take_backward, setup_context=_take_context)
