"""The LSTM that SpikeGPT is compared with: one layer, as many parameters, called the same way."""

from __future__ import annotations

import torch
from torch import nn

Memory = tuple[torch.Tensor, torch.Tensor]


class Lstm(nn.Module):
    """Embedding, one LSTM layer, head. `width` is that of the embedding, `hidden` of the layer."""

    def __init__(self, vocabulary: int, width: int, hidden: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, ids: torch.Tensor, state: Memory | None = None) -> tuple[torch.Tensor, Memory]:
        """Logits [B, T, V] of ids [B, T], and the state after the last."""
        out, state = self.lstm(self.emb(ids), state)
        return self.head(out), state


def of_size(parameters: int, vocabulary: int, width: int) -> Lstm:
    """The LSTM whose number of parameters is nearest to `parameters`."""

    def count(hidden: int) -> int:
        return vocabulary * width + 4 * hidden * (width + hidden + 2) + (hidden + 1) * vocabulary

    hidden = min(range(1, 8192), key=lambda one: abs(count(one) - parameters))
    return Lstm(vocabulary, width, hidden)
