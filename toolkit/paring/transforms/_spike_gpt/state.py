"""What a SpikeGPT remembers between tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .wkv import EMPTY


class State(NamedTuple):
    """Seven tensors of each layer, stacked: each is [L, B, C], float32, however long the text.

    Attributes:
        attention_last: the time mixing's input at the last token.
        mixing_last: the channel mixing's input there.
        top: the exponent of the two sums that follow.
        numerator: decayed sum of values.
        denominator: decayed sum of weights.
        attention_membrane: of the neurons behind the time mixing.
        mixing_membrane: of those behind the channel mixing.
    """

    attention_last: torch.Tensor
    mixing_last: torch.Tensor
    top: torch.Tensor
    numerator: torch.Tensor
    denominator: torch.Tensor
    attention_membrane: torch.Tensor
    mixing_membrane: torch.Tensor

    @classmethod
    def empty(cls, layers: int, batch: int, width: int, like: torch.Tensor) -> State:
        """The state before any token, on the device and in the dtype of `like`."""
        zeros = like.new_zeros(len(cls._fields), layers, batch, width)
        zeros[cls._fields.index("top")] = EMPTY
        return cls(*zeros.unbind(0))

    def layer(self, index: int) -> State:
        """One layer's tensors, each [B, C]."""
        return State(*(one[index] for one in self))

    @classmethod
    def stacked(cls, layers: list[State]) -> State:
        """The state of all layers from each one's."""
        return cls(*(torch.stack(parts) for parts in zip(*layers, strict=True)))
