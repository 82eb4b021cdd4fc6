"""The sizes of a SpikeGPT, given or read off a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Config:
    """What a SpikeGPT is built from.

    Attributes:
        vocabulary: token ids.
        width: channels C of the residual stream; the channel mixing is 4 C wide.
        layers: blocks, at least 1.
        binary_embedding: token embeddings become spikes (1 where at least 0), as in the authors' training.
            Their generation does so for their model of 77 characters only, and reads plain embeddings
            elsewhere.
        dropout: behind each block while training.
    """

    vocabulary: int
    width: int
    layers: int
    binary_embedding: bool = True
    dropout: float = 0.03

    def __post_init__(self) -> None:
        for name in ("vocabulary", "width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, given {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected 0 to below 1, given {self.dropout}")


def from_weights(weights: Mapping[str, torch.Tensor], binary_embedding: bool = True) -> Config:
    """The config that a checkpoint's tensors were made by.

    Raises:
        ValueError: they are not a SpikeGPT's; the message names what is missing or wrong.
    """
    embedding = weights.get("emb.weight")
    if embedding is None or embedding.dim() != 2:
        raise ValueError("not a SpikeGPT: no matrix 'emb.weight' [vocabulary, width]")
    if any(name.startswith("blocks.0.ffnPre.") for name in weights):
        raise ValueError("a model of type 'RWKV-ffnPre' (blocks.0.ffnPre): only type 'RWKV' is known")
    found = {int(match[1]) for name in weights if (match := re.match(r"blocks\.(\d+)\.", name))}
    if not found:
        raise ValueError("not a SpikeGPT: no tensors 'blocks.0...'")
    vocabulary, width = embedding.shape
    return Config(vocabulary, width, max(found) + 1, binary_embedding)
