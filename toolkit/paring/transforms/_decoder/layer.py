"""One pre-norm decoder layer, the same for every model family, with a place for reducers after it.

x = x + output(attention(norm1(x)));  x = x + mlp(norm2(x));  x, positions = reduce(x, positions)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from .causal import causal_attention
from .memory import KeyValue, Memory
from .reducing import Seen, chunk_bias
from .rotary import Rotation, rotate
from .tokens import Tokens


class LayerParts(NamedTuple):
    """What a family takes out of one of its own layers. H query heads and G key heads of width D."""

    norm1: nn.Module
    query: nn.Linear  # C -> H * D
    key: nn.Linear  # C -> G * D
    value: nn.Linear  # C -> G * D
    output: nn.Linear  # H * D -> C
    heads: int
    key_heads: int
    scale: float  # of the scores, before softmax
    norm2: nn.Module
    mlp: nn.Module
    window: int | None = None  # a query sees so many rows of the cache, its own included; None is all


class Attention(nn.Module):
    """Causal grouped-query attention (https://arxiv.org/abs/2305.13245) over a cache."""

    def __init__(self, parts: LayerParts) -> None:
        super().__init__()
        self.query, self.key, self.value = parts.query, parts.key, parts.value
        self.output = parts.output
        self.heads, self.key_heads = parts.heads, parts.key_heads
        self.scale, self.window = parts.scale, parts.window

    def project(
        self, x: torch.Tensor, rotation: Rotation | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x [B, S, C], normed -> query [B, H, S, D], key and value [B, G, S, D]; rotated, not scaled."""
        batch, count, _ = x.shape
        query = self.query(x).reshape(batch, count, self.heads, -1).transpose(1, 2)
        key = self.key(x).reshape(batch, count, self.key_heads, -1).transpose(1, 2)
        value = self.value(x).reshape(batch, count, self.key_heads, -1).transpose(1, 2)
        if rotation is None:
            return query, key, value
        return rotate(query, rotation), rotate(key, rotation), value

    def mix(self, query: torch.Tensor, memory: KeyValue, bias: torch.Tensor | None) -> torch.Tensor:
        """[B, H, S, D] over the whole memory [B, G, T, D], with bias [B, 1, S, T] or None -> [B, S, C]."""
        if bias is None:
            mixed = causal_attention(query, memory.key, memory.value, self.scale, self.window)
        else:
            mixed = functional.scaled_dot_product_attention(
                query,
                memory.key,
                memory.value,
                attn_mask=bias,
                scale=self.scale,
                enable_gqa=self.heads != self.key_heads,
            )
        batch, _, count, _ = mixed.shape
        return self.output(mixed.transpose(1, 2).reshape(batch, count, -1))


class Layer(nn.Module):
    """One layer with its reducers, which run in their order."""

    def __init__(self, parts: LayerParts) -> None:
        super().__init__()
        self.norm1, self.attention = parts.norm1, Attention(parts)
        self.norm2, self.mlp = parts.norm2, parts.mlp
        self.reducers = nn.ModuleList()

    def forward(
        self, tokens: Tokens, rotation: Rotation | None, memory: Memory, index: int, reduce: bool
    ) -> tuple[Tokens, KeyValue, list[torch.Tensor]]:
        """Tokens -> tokens, this layer's keys and values, and what each reducer kept ([B, K])."""
        query, key, value = self.attention.project(self.norm1(tokens.x), rotation)
        whole = memory.extend(index, key, value)
        bias = memory.bias(index, tokens, self.attention.window)
        x = tokens.x + self.attention.mix(query, whole, bias)
        tokens = tokens._replace(x=x + self.mlp(self.norm2(x)))
        if not reduce or not len(self.reducers):
            return tokens, whole, []
        own = chunk_bias(tokens, self.attention.window)
        tokens, kept = self._reduced(tokens, Seen(query, key, own, self.attention.scale, tokens))
        return tokens, whole, kept

    def _reduced(self, tokens: Tokens, seen: Seen) -> tuple[Tokens, list[torch.Tensor]]:
        kept = []
        for reducer in self.reducers:
            index = reducer(seen)
            kept.append(index)
            renumber = bool(getattr(reducer, "renumbers", False))
            tokens, seen = tokens.kept(index, renumber), seen.kept(index, renumber)
        return tokens, kept
